import { describe, expect, test } from 'vitest'
import { ipBytes, TestFlowStore } from '../test/helpers/flow-store.ts'
import { flowUuid, ipText, unixNanos, unixSeconds } from './flow-view.ts'

describe('unixSeconds() and unixNanos()', () => {
  const cases = [
    0n,
    1n,
    999_999_999n,
    1_000_000_000n,
    1_790_000_000_000_000_000n,
    1_790_000_000_999_999_999n,
    1_790_000_001_000_000_001n,
    4_102_444_799_999_999_999n,
  ]
  test.each(cases)('split %s exactly', (time) => {
    const high = Number(time >> 32n)
    const low = Number(time & 0xffff_ffffn)
    expect(unixSeconds(high, low)).toBe(Number(time / 1_000_000_000n))
    expect(unixNanos(high, low)).toBe(Number(time % 1_000_000_000n))
  })

  test('agree with BigInt around every second boundary', () => {
    for (let second = 1_780_000_000n; second < 1_780_002_000n; second++) {
      for (const nanos of [0n, 1n, 255n, 256n, 999_999_744n, 999_999_999n]) {
        const time = second * 1_000_000_000n + nanos
        const high = Number(time >> 32n)
        const low = Number(time & 0xffff_ffffn)
        if (unixSeconds(high, low) !== Number(second) || unixNanos(high, low) !== Number(nanos)) {
          expect({ time, secs: unixSeconds(high, low), nanos: unixNanos(high, low) }).toEqual({
            time,
            secs: Number(second),
            nanos: Number(nanos),
          })
        }
      }
    }
  })
})

describe('ipText()', () => {
  const cases = [
    '10.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '2001:db8::1',
    'fe80::1:0:0:1',
    '2001:db8:0:1:1:1:1:1',
    '1::',
    '1:0:0:2::3',
  ]
  test.each(cases)('writes %s in canonical form', (text) => {
    expect(ipText(ipBytes(text), 0)).toBe(text)
  })
})

describe('flowUuid()', () => {
  test('has version-4 form and differs for every time', () => {
    const seed = new Uint32Array([11, 22, 33, 44])
    const seen = new Set<string>()
    for (let i = 0; i < 20_000; i++) seen.add(flowUuid(seed, 0x18d7_0000 + (i >> 8), Math.imul(i, 7919) >>> 0))
    expect(seen.size).toBe(20_000)
    for (const uuid of seen)
      expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })
})

describe('FlowView', () => {
  test('reads what a slot holds', () => {
    const store = new TestFlowStore(4)
    store.push({
      srcIp: '2001:db8::5',
      dstIp: '2001:db8::6',
      protocol: 17,
      l4Info: 0,
      srcPort: 53,
      dstPort: 40000,
      isReply: true,
      direction: 'ingress',
      time: 1_790_000_000_123_456_789n,
      dropReason: 3,
      verdict: 2,
    })
    const view = store.createView()
    store.seek(view, 0)
    expect([
      view.srcIp,
      view.dstIp,
      view.srcPort,
      view.dstPort,
      view.isReply,
      view.trafficDirection,
      view.timeSecs,
      view.timeNanos,
      view.eventType,
      view.kernelDropReason,
    ]).toEqual(['2001:db8::5', '2001:db8::6', 53, 40000, true, 1, 1_790_000_000, 123_456_789, 1, 3])
  })
})
