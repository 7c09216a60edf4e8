import { expect, it } from 'vitest'
import { isLinkScope } from '../../collector/world.ts'
import {
  ConsumerFlag,
  EndpointKind,
  EventKind,
  EventType,
  FilterClassId,
  SubjectFlag,
} from '../../model/layouts.gen.ts'
import { ipBytes, kernelPrefix, type TableSet } from '../helpers/filter-tables.ts'
import {
  DEVICE,
  egress,
  FLAGS,
  from4,
  ingress,
  OTHER,
  OWN,
  PEER,
  POD,
  POD6,
  plain,
  type Seen,
  sharedDevice,
  to4,
  web,
  webReply,
} from '../helpers/filtered-device.ts'
import type { KernelRecord } from '../helpers/kernel-records.ts'
import { ethernet, ipv4, ipv6, packet, TcpFlag, tcp, udp } from '../helpers/packets.ts'
import { describeKernel } from '../helpers/privileged.ts'

/** Each class of a source is a consumer, and each of a destination: a record says both. */
const CLASSES = 8
const byClass: TableSet = {
  rules: Array.from({ length: CLASSES }, (_, id) => [
    { consumer: id, from: [id] },
    { consumer: CLASSES + id, to: [id] },
  ]).flat(),
  classes: CLASSES,
}

/** `[class, identity]` of source and destination. */
function endsOf(record: KernelRecord | 'filtered') {
  if (record === 'filtered') return record
  const bits = record.consumers & ~FLAGS
  const source = Math.log2(bits & ((1 << CLASSES) - 1))
  return [source, record.srcIdentity, Math.log2(bits >> CLASSES), record.dstIdentity]
}

describeKernel('ends of a flow in the kernel', () => {
  const filtered = sharedDevice()
  const world = [FilterClassId.WORLD, 2]
  const host = [FilterClassId.HOST, 1]
  const pod = [OWN, 1004]
  const peer = [OTHER, 1005]

  it('are the pod behind a device, whatever its address, and who has the other address', async () => {
    const k = filtered()
    await k.apply(byClass)
    const at = (seen: Seen) => endsOf(k.see(seen))
    expect(at(plain)).toEqual([...pod, ...peer])
    expect(at(ingress(to4, webReply))).toEqual([...peer, ...pod])
    expect(at(egress(ipv4({ src: '1.2.3.4', dst: '9.9.9.9' }), web))).toEqual([...pod, ...world])
    // The pod's own address on the other side is no one else's.
    k.name(POD, 1006, 6)
    expect(at(egress(ipv4({ src: POD, dst: POD }), udp({ srcPort: 1, dstPort: 2 })))).toEqual([...pod, 6, 1006])
    expect(at(ingress(ipv4({ src: POD, dst: POD }), udp({ srcPort: 1, dstPort: 2 })))).toEqual([6, 1006, ...pod])
  })

  it('are found by the address where nobody knows whose a device is', async () => {
    const k = filtered()
    await k.apply(byClass)
    k.filters.setDevice(DEVICE, { identity: 3, classes: [OWN, OWN], flags: SubjectFlag.ASK_ADDRESS })
    k.name(POD, 1006, 6, SubjectFlag.LOCAL_POD)
    k.name('10.1.0.9', 1007, 7)
    const at = (src: string) => endsOf(k.see(egress(ipv4({ src, dst: PEER }), web)))
    expect(at(POD)).toEqual([6, 1006, ...peer])
    expect(at('10.1.0.9'), 'a pod of another node').toEqual([OWN, 3, ...peer])
    expect(at('10.1.0.8')).toEqual([OWN, 3, ...peer])
  })

  it('are both found by their addresses at an uplink', async () => {
    const k = filtered()
    k.watch(DEVICE, 1, EndpointKind.UPLINK)
    k.name(POD, 1006, 6)
    await k.apply(byClass)
    const at = (src: string, dst: string) =>
      endsOf(k.see({ program: 'uplink_egress', packet: packet(ethernet(), ipv4({ src, dst }), web) }))
    expect(at(POD, PEER)).toEqual([6, 1006, ...peer])
    expect(at('9.9.9.9', PEER)).toEqual([...world, ...peer])
    expect(at('169.254.1.1', '127.0.0.1')).toEqual([...world, ...world])
  })

  it('are of the narrowest range that holds the address', async () => {
    const k = filtered()
    await k.apply(byClass)
    const at = (dst: string) => {
      const layer = dst.includes(':') ? ipv6({ src: POD6, dst }) : ipv4({ src: POD, dst })
      return endsOf(k.see(egress(layer, web)))?.slice(2)
    }
    const range = (cidr: string, identity: number, id: number) => ({
      ...kernelPrefix(cidr),
      identity,
      classes: [id, id] as const,
    })
    expect(at('9.9.9.9')).toEqual(world)
    const ranges = [range('9.0.0.0/8', 91, 6), range('9.9.0.0/16', 92, 7), range('2001:db8::/33', 93, 6)]
    expect(await k.filters.setNetworks(ranges)).toBe(3)
    k.filters.reevaluate()
    expect(['9.9.9.9', '9.8.7.6', '8.8.8.8', PEER, '2001:db8:7fff::1', '2001:db8:8000::1'].map(at)).toEqual([
      [7, 92],
      [6, 91],
      world,
      peer,
      [6, 93],
      world,
    ])
    expect(await k.filters.setNetworks([range('9.9.9.9/32', 94, 6), range('::/0', 95, 7)])).toBe(2)
    k.filters.reevaluate()
    expect(['9.9.9.9', '9.9.9.8', '2001:db8:8000::1', '169.254.0.1'].map(at)).toEqual([[6, 94], world, [7, 95], host])
  })

  it('are the node where an address means something on the link alone', async () => {
    const k = filtered()
    await k.apply(byClass)
    const four = ['0.0.0.0', '255.255.255.255', '127.0.0.1', '127.255.0.1', '169.254.0.1', '169.253.255.255']
    four.push('224.0.0.251', '224.0.1.1', '239.1.1.1', '1.0.0.0', '10.0.0.0', '170.254.0.1')
    const six = [
      '::',
      '::1',
      '::2:1',
      '1::',
      'fe80::1',
      'febf::1',
      'fec0::1',
      'ff02::1',
      'ff01::1',
      'ff05::1',
      'ff12::1',
    ]
    six.push('fe00::1', '0:0:0:1::1', '0:0:0:0:1::1', 'ffff::1', 'ff0f::')
    for (const [addresses, family] of [
      [four, 4],
      [six, 6],
    ] as const) {
      for (const dst of addresses) {
        const layer = family === 4 ? ipv4({ src: POD, dst }) : ipv6({ src: POD6, dst })
        const words = new Uint32Array(ipBytes(dst).buffer)
        const expected = isLinkScope(words, 0, family) ? host : world
        expect([dst, ...endsOf(k.see(egress(layer, web))).slice(2)]).toEqual([dst, ...expected])
      }
    }
  })

  it('change their classes when told so, for flows that live as well', async () => {
    const k = filtered()
    await k.apply(byClass)
    expect(endsOf(k.see(plain))).toEqual([...pod, ...peer])
    k.name(PEER, 1006, 6)
    expect(endsOf(k.see(plain))).toEqual([...pod, ...peer])
    const { generation } = k.filters.generation()
    expect(k.filters.reevaluate()).toBe(generation + 2)
    expect(endsOf(k.see(plain))).toEqual([...pod, 6, 1006])
    k.filters.deleteAddresses(ipBytes(PEER), 1)
    k.filters.reevaluate()
    expect(endsOf(k.see(plain))).toEqual([...pod, ...world])
  })

  it('leave it to user space when a class is not known, or the device is not', async () => {
    const k = filtered()
    await k.apply({
      rules: [{ consumer: 2, protocols: [17] }],
      consumers: new Map([
        [2, 1 << EventKind.KIND_FLOW],
        [4, 0xff],
      ]),
    })
    const flags = (1 << ConsumerFlag.UNDECIDED) | (k.set << ConsumerFlag.SET)
    const undecided = (bits: number) => ({ consumers: (bits | flags) >>> 0 })
    k.name('10.1.0.7', 1007, FilterClassId.UNDECIDED)
    expect(k.see(egress(ipv4({ src: POD, dst: '10.1.0.7' }), web))).toMatchObject(undecided(0b10100))
    const syn = tcp({ flags: TcpFlag.SYN })
    expect(k.see(egress(ipv4({ src: POD, dst: '10.1.0.7' }), syn))).toMatchObject(undecided(0b10000))
    k.map('endpoints').delete(new Uint8Array(new Uint32Array([DEVICE]).buffer))
    k.filters.reevaluate()
    expect(k.see(plain)).toMatchObject(undecided(0b10100))
    const { events, count } = await k.filters.readMatches(k.set)
    expect([count, ...events.subarray(0, 2)]).toEqual([1, 2, 1])
  })

  it('give another answer for a connection that is opened again from the other end', async () => {
    const k = filtered()
    await k.apply({ rules: [{ consumer: 0, directions: [2] }] })
    const there = (flags: number) => egress(from4, tcp({ srcPort: 5000, dstPort: 6000, flags }))
    const back = (flags: number) => ingress(to4, tcp({ srcPort: 6000, dstPort: 5000, flags }))
    expect(k.see(there(TcpFlag.SYN))).toMatchObject({ type: EventType.FLOW })
    expect(k.see(there(TcpFlag.RST))).toMatchObject({ type: EventType.FLOW })
    expect(k.see(back(TcpFlag.SYN))).toBe('filtered')
    expect(k.see(there(TcpFlag.SYN | TcpFlag.ACK))).toBe('filtered')
  })
})
