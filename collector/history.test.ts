import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FLOW_EVENT } from '../model/layouts.gen.ts'
import { MemoryReader } from '../test/helpers/record-reader.ts'
import type { FlowHistory } from './history.ts'
import { CollectorState } from './state.ts'

const BASE = 1_790_000_000_000_000_000n

function makeHistory(capacity: number, l7Bytes?: number): FlowHistory {
  const history = l7Bytes === undefined ? { capacity } : { capacity, l7Bytes }
  return new CollectorState({ nodeName: 'n', uuidSeed: new Uint32Array(4), history }).history
}

function admit(history: FlowHistory, reader: MemoryReader, times: readonly bigint[]): void {
  for (const time of times) history.admit(reader.u32, 0, Number(time & 0xffff_ffffn), Number(time >> 32n))
}

/** What lowerBound() promises, the long way. */
function naive(history: FlowHistory, time: bigint): number {
  const view = history.createView()
  for (let sequence = history.first; sequence < history.end; sequence++) {
    history.seek(view, sequence)
    if (((BigInt(view.unixNsHigh) << 32n) | BigInt(view.unixNsLow)) >= time) return sequence
  }
  return history.end
}

describe('FlowHistory', () => {
  test('admit() copies the record and the time, and overwrites the oldest flow when full', () => {
    const history = makeHistory(3)
    const reader = new MemoryReader()
    reader.push({ srcIp: '10.9.8.7', srcPort: 1234 }, { srcIp: 'fd00::5', srcPort: 99, dstIp: 'fd00::6' })
    const view = history.createView()
    for (let i = 0; i < 5; i++) history.admit(reader.u32, i % 2 === 0 ? 0 : FLOW_EVENT.SIZE, 7 + i, 1)
    expect([history.first, history.end]).toEqual([2, 5])
    history.seek(view, 4)
    expect([view.srcIp, view.srcPort, view.unixNsLow, view.unixNsHigh]).toEqual(['10.9.8.7', 1234, 11, 1])
    history.seek(view, 3)
    expect([view.srcIp, view.dstIp, view.unixNsLow]).toEqual(['fd00::5', 'fd00::6', 10])
  })

  test('publish() calls listeners once a drain, and none after they are disposed', () => {
    const history = makeHistory(10)
    const reader = new MemoryReader()
    reader.push({})
    let calls = 0
    const listener = history.onAppend(() => calls++)
    admit(history, reader, [BASE, BASE + 1n])
    expect(calls).toBe(0)
    history.publish()
    expect(calls).toBe(1)
    listener[Symbol.dispose]()
    history.publish()
    expect(calls).toBe(1)
  })

  test('lowerBound() answers at the edges', () => {
    const history = makeHistory(10)
    const reader = new MemoryReader()
    reader.push({})
    expect(history.lowerBound(0, 0)).toBe(0)
    admit(history, reader, [BASE, BASE + 1n, BASE + 2n])
    const secs = Number(BASE / 1_000_000_000n)
    expect(history.lowerBound(-5, 0)).toBe(0)
    expect(history.lowerBound(0, 0)).toBe(0)
    expect(history.lowerBound(secs, 0)).toBe(0)
    expect(history.lowerBound(secs, 2)).toBe(2)
    expect(history.lowerBound(secs, 3)).toBe(3)
    expect(history.lowerBound(secs + 1e6, 0)).toBe(3)
  })

  test('lowerBound() finds the first flow at or after a time, whatever the disorder and the steps of the clock', () => {
    const step = fc.oneof(
      { weight: 20, arbitrary: fc.bigInt(0n, 10_000n) },
      { weight: 6, arbitrary: fc.bigInt(-20_000n, 0n) },
      { weight: 1, arbitrary: fc.bigInt(-5_000_000_000n, 5_000_000_000n) },
    )
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 400 }),
        fc.integer({ min: 8, max: 300 }),
        (steps, capacity) => {
          const history = makeHistory(capacity)
          const reader = new MemoryReader(4096)
          reader.push({})
          let time = BASE
          const times = steps.map((by) => {
            time += by
            return time
          })
          admit(history, reader, times)
          history.publish()
          for (const probe of [...times.slice(-20), ...times.slice(0, 5), time + 1n, BASE - 1n]) {
            for (const near of [probe, probe + 1n]) {
              const found = history.lowerBound(Number(near / 1_000_000_000n), Number(near % 1_000_000_000n))
              expect(found).toBe(naive(history, near))
            }
          }
        },
      ),
      { seed: 3, numRuns: 150, interruptAfterTimeLimit: 8000 },
    )
  })

  test('lowerBound() stays exact after more steps of the clock than are told apart', () => {
    const history = makeHistory(1000)
    const reader = new MemoryReader()
    reader.push({})
    const times = Array.from(
      { length: 500 },
      (_, i) => BASE + BigInt(i % 5) * 1000n - BigInt(Math.floor(i / 5)) * 1_000_000_000n,
    )
    admit(history, reader, times)
    for (const time of times) {
      expect(history.lowerBound(Number(time / 1_000_000_000n), Number(time % 1_000_000_000n))).toBe(
        naive(history, time),
      )
    }
  })

  test('first moves past flows whose L7 message was overwritten, and counts them', () => {
    const history = makeHistory(100_000, 256 * 1024)
    const reader = new MemoryReader()
    reader.push({})
    const l7 = (i: number) => ({
      type: 1,
      latencyNs: 0,
      traceId: '',
      http: { code: 0, method: 'GET', url: `http://a/${i}`, protocol: 'HTTP/1.1', headers: [] },
    })
    const refs: number[] = []
    for (let i = 0; i < 10_000; i++) {
      admit(history, reader, [BASE + BigInt(i)])
      refs.push(history.l7.put(l7(i), i))
    }
    expect(history.first).toBeGreaterThan(0)
    expect(history.shortened).toBe(history.first)
    expect(history.l7.used).toBeLessThanOrEqual(256 * 1024)
    for (let i = 0; i < 10_000; i++) {
      const url = history.l7.get(refs[i]!)?.http?.url
      expect(url).toBe(i < history.first ? undefined : `http://a/${i}`)
    }
  })
})
