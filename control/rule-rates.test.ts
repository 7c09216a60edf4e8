import { describe, expect, test } from 'vitest'
import type { FilterCounts } from '../filters/rules.ts'
import { RuleRates, SAMPLE_INTERVAL_MS } from './rule-rates.ts'

function counts(rules: Record<string, number>, filteredInKernel = 0): FilterCounts {
  return {
    rules: Object.entries(rules).map(([id, matched]) => ({
      id,
      matched,
      kept: matched / 2,
      leftOut: matched / 2,
      isExact: true,
    })),
    consumers: [{ name: 'log', events: 1000, kept: 10, leftOut: 990 }],
    filteredInKernel,
    unattributed: 0,
  }
}

const START = 1_790_000_000_000
const minute = (n: number): number => START + n * SAMPLE_INTERVAL_MS

describe('RuleRates', () => {
  test('tells growth per minute since the oldest sample', () => {
    const rates = new RuleRates()
    rates.sample(counts({ a: 100 }, 50), minute(0))
    rates.sample(counts({ a: 160 }, 50), minute(1))
    const { rules, filteredInKernel, minutes } = rates.rates(counts({ a: 220 }, 170), minute(2))
    expect(rules.get('a')!.rates).toEqual({ matched: 60, kept: 30, leftOut: 30 })
    expect(filteredInKernel).toBe(60)
    expect(minutes).toBe(2)
  })

  test('forgets what is older than five minutes', () => {
    const rates = new RuleRates()
    for (let i = 0; i <= 20; i++) rates.sample(counts({ a: i < 10 ? 0 : 100_000 }), minute(i))
    const { rules, minutes } = rates.rates(counts({ a: 100_000 }), minute(21))
    expect(rules.get('a')!.rates.matched).toBe(0)
    expect(minutes).toBe(6)
  })

  test('counts a rule from when it came into force', () => {
    const rates = new RuleRates()
    rates.sample(counts({ a: 0 }), minute(0))
    rates.sample(counts({ a: 0, b: 0 }), minute(4))
    const { rules } = rates.rates(counts({ a: 0, b: 30 }), minute(5))
    expect(rules.get('b')).toEqual({
      rates: { matched: 30, kept: 15, leftOut: 15 },
      sinceMs: minute(4),
      lastMatchedMs: minute(5),
    })
  })

  test('a rule that is first seen between samples has a rate, but not at once', () => {
    const rates = new RuleRates()
    rates.sample(counts({}), minute(0))
    expect(rates.rates(counts({ b: 5 }), minute(1)).rules.get('b')!.rates.matched).toBe(0)
    expect(rates.rates(counts({ b: 60 }), minute(2)).rules.get('b')!.rates.matched).toBe(55)
  })

  test('a rule counts from when its coming was noticed', () => {
    const rates = new RuleRates()
    rates.sample(counts({}), minute(0))
    rates.notice(counts({ b: 0 }), minute(1), [])
    expect(rates.rates(counts({ b: 60 }), minute(3)).rules.get('b')).toMatchObject({
      rates: { matched: 30 },
      sinceMs: minute(1),
    })
  })

  test('a consumer whose rules changed counts from then on, and the kernel with it', () => {
    const rates = new RuleRates()
    const before = counts({}, 0)
    for (let i = 0; i < 5; i++) rates.sample(before, minute(i))
    rates.notice(before, minute(5), ['log'])
    const after = { ...counts({}, 600), consumers: [{ name: 'log', events: 1600, kept: 70, leftOut: 1530 }] }
    const { consumers, filteredInKernel } = rates.rates(after, minute(6))
    expect(consumers.get('log')).toEqual({ matched: 600, kept: 60, leftOut: 540 })
    expect(filteredInKernel).toBe(600)
  })

  test('a counter that fell has begun anew', () => {
    const rates = new RuleRates()
    rates.sample(counts({ a: 1000 }), minute(0))
    rates.sample(counts({ a: 10 }), minute(1))
    const { rules } = rates.rates(counts({ a: 20 }), minute(2))
    expect(rules.get('a')).toMatchObject({ rates: { matched: 10 }, sinceMs: minute(1) })
  })

  test('knows since when a rule has matched nothing', () => {
    const rates = new RuleRates()
    rates.sample(counts({ a: 0, b: 3 }), minute(0))
    rates.sample(counts({ a: 0, b: 4 }), minute(1))
    const { rules } = rates.rates(counts({ a: 0, b: 4 }), minute(9))
    expect(rules.get('a')).toMatchObject({ sinceMs: minute(0), lastMatchedMs: undefined })
    expect(rules.get('b')).toMatchObject({ sinceMs: minute(0), lastMatchedMs: minute(1) })
  })

  test('holds nothing of rules that are gone', () => {
    const rates = new RuleRates()
    for (let i = 0; i < 200; i++) rates.sample(counts({ [`rule-${i}`]: 1 }), minute(i))
    // Back in force, it begins anew.
    expect(rates.rates(counts({ 'rule-1': 1 }), minute(300)).rules.get('rule-1')!.sinceMs).toBe(minute(300))
  })
})
