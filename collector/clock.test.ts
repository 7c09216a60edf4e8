import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RecordClock } from './clock.ts'

const split = (value: bigint) => [Number(value & 0xffff_ffffn), Number(value >> 32n)] as const
const joined = (clock: RecordClock) => (BigInt(clock.high) << 32n) | BigInt(clock.low)

describe('RecordClock', () => {
  test('stamp() adds the offset exactly, over the halves of 64 bits', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 1n << 55n), fc.bigInt(-(1n << 54n), 1n << 61n), (boot, offset) => {
        fc.pre(boot + offset >= 0n)
        const clock = new RecordClock({ readOffset: () => offset })
        clock.stamp(...split(boot))
        expect(joined(clock)).toBe(boot + offset)
      }),
      { seed: 1, numRuns: 500 },
    )
  })

  test('stamp() moves times that were given out already to the next free nanosecond', () => {
    const clock = new RecordClock({ readOffset: () => 0n })
    const times = [5n, 5n, 5n, 6n, 0xffff_ffffn, 0xffff_ffffn].map((time) => {
      clock.stamp(...split(time))
      return joined(clock)
    })
    expect(times).toEqual([5n, 6n, 7n, 8n, 0xffff_ffffn, 0x1_0000_0000n])
    expect(clock.moved).toBe(4)
  })

  test('stamp() never gives one time twice within the last 8,192', () => {
    const clock = new RecordClock({ readOffset: () => 1_790_000_000_000_000_000n })
    const given = new Map<bigint, number>()
    let state = 1
    for (let i = 0; i < 60_000; i++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      // Four "CPUs" whose clocks lie within 20 ns of each other: many equal times.
      clock.stamp(...split(BigInt(i * 5 + ((state >>> 16) % 20))))
      const time = joined(clock)
      expect(i - (given.get(time) ?? Number.NEGATIVE_INFINITY)).toBeGreaterThan(8192)
      given.set(time, i)
    }
    expect(clock.moved).toBeGreaterThan(1000)
  })

  test('refresh() takes over a stepped clock and tells the step', () => {
    let offset = 1_000n
    const clock = new RecordClock({ readOffset: () => offset })
    clock.stamp(50, 0)
    expect(joined(clock)).toBe(1050n)
    offset = 5_000_000_000n
    expect(clock.refresh()).toBe(5_000_000_000 - 1000)
    clock.stamp(50, 0)
    expect(joined(clock)).toBe(5_000_000_050n)
    offset = 10n
    expect(clock.refresh()).toBe(10 - 5_000_000_000)
  })
})
