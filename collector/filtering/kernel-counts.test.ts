import { expect, test } from 'vitest'
import { Judge } from '../../filters/judge.ts'
import { compileKernelPlan } from '../../filters/kernel/index.ts'
import { ALL_KINDS, type FilterRule, type RuleSet } from '../../filters/rules.ts'
import { EventKind } from '../../model/layouts.gen.ts'
import type { FilterMaps } from '../kernel/filter-maps.ts'
import type { MatchReading } from '../kernel/filter-matches.ts'
import { KernelCounts } from './kernel-counts.ts'

const KINDS = EventKind.EVENT_KINDS
const MATCHES = 4094

/** A full table, each match of sixty rules. */
function fullTable(): MatchReading {
  const rules = new Uint8Array(MATCHES * 32)
  for (let i = 1; i < MATCHES; i++) {
    for (let k = 0; k < 60; k++) {
      const bit = (i * 7 + k * 13) % 250
      rules[i * 32 + (bit >> 3)]! |= 1 << (bit & 7)
    }
  }
  const events = new Float64Array(MATCHES * KINDS)
  for (let i = 0; i < events.length; i++) if (i % KINDS < 3) events[i] = 2
  return { count: MATCHES, rules, consumers: new Uint32Array(MATCHES * KINDS).fill(1), events }
}

function rulesOf(bit: number): FilterRule[] {
  return Array.from({ length: 25 }, (_, i) => ({
    id: `${bit}/${i}`,
    effect: 'include',
    predicate: { op: 'pod', side: 'source', names: [{ namespace: `ns-${bit}-${i}`, prefix: '' }] },
    origin: { kind: 'test', name: '', path: '', label: '', text: '' },
  }))
}

test('lets others in while a full table is counted, and costs nothing to be asked', async () => {
  const rules: RuleSet = {
    consumers: Array.from({ length: 10 }, (_, bit) => {
      return { name: `consumer/${bit}`, bit, kinds: ALL_KINDS, isOn: true, rules: rulesOf(bit) }
    }),
  }
  const plan = compileKernelPlan(rules, { nodeName: 'node', nodeLabels: [] })
  const table = fullTable()
  const maps = { readMatches: async () => table } as unknown as FilterMaps
  const counts = new KernelCounts(maps, new Judge({ historyEnd: () => 0 }))
  counts.begin(0, rules, plan)
  await counts.refresh()
  let turns = 0
  const turn = () => {
    turns++
    next = setImmediate(turn)
  }
  let next = setImmediate(turn)
  await counts.refresh()
  clearImmediate(next)
  expect(turns).toBeGreaterThan(3)
  const told = counts.counts()
  // The fastest of some, as others may want the CPU meanwhile: to count the table takes tens of milliseconds.
  const took = Array.from({ length: 5 }, () => {
    const began = performance.now()
    counts.counts()
    return performance.now() - began
  })
  expect(Math.min(...took)).toBeLessThan(10)
  expect(told.rules).toHaveLength(250)
  const matched = told.rules.reduce((sum, rule) => sum + rule.matched, 0)
  expect(matched).toBe((MATCHES - 1) * 60 * 3 * 2)
  expect(told.unattributed).toBe(3 * 2)
  expect(told.consumers[0]).toEqual({
    name: 'consumer/0',
    events: (MATCHES - 1) * 6,
    kept: (MATCHES - 1) * 6,
    leftOut: 0,
  })
})
