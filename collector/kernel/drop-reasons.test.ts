import { describe, expect, it } from 'vitest'
import { DROP_REASONS } from '../../model/drop-reasons.ts'
import { hubbleReasonAt, hubbleReasonOf, KernelDropReasons } from './drop-reasons.ts'

const ENUMS: Readonly<Record<string, ReadonlyMap<string, number>>> = {
  skb_drop_reason: new Map([
    ['SKB_NOT_DROPPED_YET', 0],
    ['SKB_CONSUMED', 1],
    ['SKB_DROP_REASON_NOT_SPECIFIED', 2],
    ['SKB_DROP_REASON_NO_SOCKET', 3],
    ['SKB_DROP_REASON_TCP_OLD_SEQUENCE', 41],
  ]),
  skb_drop_reason_subsys: new Map([
    ['SKB_DROP_REASON_SUBSYS_CORE', 0],
    ['SKB_DROP_REASON_SUBSYS_OPENVSWITCH', 2],
  ]),
}

describe('KernelDropReasons', () => {
  it.each([
    [3, 'NO_SOCKET', 178],
    [2, 'NOT_SPECIFIED', 0],
    [41, 'TCP_OLD_SEQUENCE', 134],
    [999, '999', 0],
    [0x2003, 'OPENVSWITCH_3', 0],
    [0x7003, '28675', 0],
  ])('reason() names %d %s', (number, name, hubble) => {
    expect(new KernelDropReasons((enumName) => ENUMS[enumName]).reason(number)).toEqual({ name, hubble })
  })

  it('reason() gives the same object again', () => {
    const reasons = new KernelDropReasons((name) => ENUMS[name])
    expect(reasons.reason(3)).toBe(reasons.reason(3))
  })

  it('reason() gives numbers, and failure says why, when the kernel has no BTF', () => {
    const reasons = new KernelDropReasons(() => {
      throw new Error('Cannot read the kernel’s BTF')
    })
    expect(reasons.reason(3)).toEqual({ name: '3', hubble: 0 })
    expect(reasons.failure).toBe('Cannot read the kernel’s BTF')
  })
})

describe('hubbleReasonOf()', () => {
  it.each([
    ['NETFILTER_DROP', 133],
    ['IP_OUTNOROUTES', 169],
    ['IP_RPFILTER', 132],
    ['TCP_CSUM', 134],
    ['TCP_INVALID_SEQUENCE', 134],
    ['TCP_ZEROWINDOW', 0],
    ['TCP_LISTEN_OVERFLOW', 0],
    ['TCP_MINTTL', 196],
    ['QDISC_DROP', 198],
    ['SOCKET_RCVBUFF', 0],
    ['SOMETHING_NEW', 0],
    ['constructor', 0],
  ])('maps %s to %d, which Hubble knows', (name, reason) => {
    expect(hubbleReasonOf(name)).toBe(reason)
    expect(DROP_REASONS[reason]).toBeDefined()
  })
})

describe('hubbleReasonAt()', () => {
  it.each([
    ['NOT_SPECIFIED', 'ip_error+0x94', 169],
    ['IP_INHDR', 'ip_forward+0x2c0', 196],
    ['IP_INHDR', 'ip_rcv_core+0x10', 0],
    ['NOT_SPECIFIED', '', 0],
    ['NO_SOCKET', 'ip_error', 0],
  ])('says of %s at %s: %d', (name, place, wanted) => {
    expect(hubbleReasonAt(name, place)).toBe(wanted)
  })
})
