import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compile } from '../filters/compile.ts'
import { eventKindBits } from '../filters/kinds.ts'
import { EVERYTHING, type FlowPredicate, type Predicate } from '../filters/predicate.ts'
import {
  ALL_KINDS,
  CONSUMER_BITS,
  type FilterConsumer,
  type FilterRule,
  type RuleEffect,
  type RuleSet,
} from '../filters/rules.ts'
import { Verdict } from '../model/layouts.gen.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { type CompareSets, type CostMeters, explain, MAX_MEASURED_RULES } from './explain.ts'
import { MAX_TABLE_BYTES, MatchTable } from './match-table.ts'

const port = (...ports: number[]): Predicate => ({ op: 'port', side: 'destination', ports })
const source = (...ports: number[]): Predicate => ({ op: 'port', side: 'source', ports })

let ruleNumber = 0
function rule(effect: RuleEffect, predicate: Predicate, id = `rule-${ruleNumber++}`): FilterRule {
  return { id, effect, predicate, origin: { kind: 'test', name: 'test', path: id, label: '', text: id } }
}

function consumer(name: string, rules: FilterRule[], fields: Partial<FilterConsumer> = {}): FilterConsumer {
  return { name, bit: name === 'log' ? CONSUMER_BITS.LOG : 0, kinds: ALL_KINDS, isOn: true, rules, ...fields }
}

/** A line has as many bytes as its destination port says; a series is a pair of ports. */
function meters(): CostMeters & { readonly asked: string[] } {
  const asked: string[] = []
  const walk = (range: Parameters<CostMeters['lines']>[0], wants: Parameters<CostMeters['lines']>[1]) => {
    const view = range.store.createView()
    const found: [number, number][] = []
    for (let sequence = range.first; sequence < range.end; sequence++) {
      range.store.seek(view, sequence)
      if (wants(view)) found.push([view.srcPort, view.dstPort])
    }
    return found
  }
  return {
    asked,
    async series(name, range, wants) {
      asked.push(name)
      const series = new Set(walk(range, wants).map(String)).size
      return { series, bytes: series * 100 }
    },
    async lines(range, wants) {
      asked.push('log')
      const found = walk(range, wants)
      return { lines: found.length, bytes: found.reduce((sum, [, to]) => sum + to, 0) }
    },
  }
}

/** Destination ports 80, 443, 53 in turn, source ports 1 to 4, a drop now and then. */
function someFlows(count: number): TestFlowStore {
  const store = new TestFlowStore(Math.max(1, count))
  const ports = [80, 443, 53]
  for (let i = 0; i < count; i++) {
    store.push({
      dstPort: ports[i % 3]!,
      srcPort: 1 + (i % 4),
      verdict: i % 5 === 0 ? Verdict.DROPPED : Verdict.FORWARDED,
    })
  }
  return store
}

const free = (...names: string[]): RuleSet => ({ consumers: names.map((name) => consumer(name, [])) })

async function run(
  store: TestFlowStore,
  sets: CompareSets,
  relaxed = new Map<string, FlowPredicate>(),
  cost = meters(),
) {
  const range = { store, first: store.first, end: store.end }
  return await explain({ ...range, sets, relaxed, meters: cost }, new AbortController().signal)
}

describe('explain()', () => {
  test('tells what each rule matches, keeps, leaves out, and what is without it', async () => {
    const store = someFlows(60)
    const web = rule('include', port(80))
    const secure = rule('include', port(443))
    const noisy = rule('exclude', source(1))
    const set = { consumers: [consumer('log', [web, secure, noisy])] }
    const report = await run(store, { with: set, without: free('log'), now: set })
    expect(report.flows).toBe(60)
    expect(report.overwritten).toBe(0)
    const [log] = report.consumers
    expect(log).toMatchObject({ name: 'log', rules: 3, events: 60, with: { kept: 30 }, without: { kept: 60 } })
    expect(log!.with.logBytes).toBe(15 * 80 + 15 * 443)
    expect(log!.without.logBytes).toBe(20 * (80 + 443 + 53))
    expect(log!.now).toEqual(log!.with)
    expect(report.rules.map(({ matched, kept, leftOut }) => [matched, kept, leftOut])).toEqual([
      [20, 15, 5],
      [20, 15, 5],
      [15, 0, 15],
    ])
    expect(report.rules.map(({ without }) => [without!.kept, without!.logBytes])).toEqual([
      [15, 15 * 443],
      [15, 15 * 80],
      [40, 20 * (80 + 443)],
    ])
    expect(report.leaving).toEqual({ with: 30, without: 60, now: 30 })
  })

  test('counts for a consumer only kinds that concern it', async () => {
    const store = someFlows(50)
    const any = rule('include', EVERYTHING)
    const set = { consumers: [consumer('metric/drop', [any], { kinds: 1 << 2 })] }
    const report = await run(store, { with: set, without: set, now: set })
    expect(report.consumers[0]).toMatchObject({ events: 10, with: { kept: 10 } })
    expect(report.rules[0]).toMatchObject({ matched: 10, kept: 10 })
  })

  test('a consumer that is off takes nothing; one that is unknown to a set is off there', async () => {
    const store = someFlows(30)
    const cost = meters()
    const set = { consumers: [consumer('metric/dns', [], { isOn: false }), consumer('metric/flow', [])] }
    const report = await run(store, { with: set, without: free('metric/dns'), now: { consumers: [] } }, undefined, cost)
    expect(report.consumers.map(({ with: amount }) => [amount.isOn, amount.kept])).toEqual([
      [false, 0],
      [true, 30],
    ])
    expect(report.consumers[1]!.now).toEqual({ isOn: false, kept: 0, series: 0, scrapeBytes: 0, logBytes: 0 })
    expect(report.leaving).toEqual({ with: 30, without: 30, now: 0 })
    expect(cost.asked).toEqual(['metric/dns', 'metric/flow'])
  })

  test('without its only include rule a consumer takes what it takes without filters', async () => {
    const store = someFlows(60)
    const builtIn = rule('include', port(80, 443))
    const own = rule('include', port(80))
    const set = { consumers: [consumer('metric/flow', [own])] }
    const without = { consumers: [consumer('metric/flow', [builtIn])] }
    const report = await run(store, { with: set, without, now: set })
    expect(report.rules[0]!.without).toMatchObject({ kept: 40 })
    expect(report.consumers[0]!.without).toMatchObject({ kept: 40 })
  })

  test('what the kernel asks less of leaves it all the same', async () => {
    const store = someFlows(60)
    const include = rule('include', port(80))
    const exclude = rule('exclude', source(1))
    const set = { consumers: [consumer('log', [include, exclude])] }
    const relaxed = new Map([
      [include.id, compile(port(80, 443))],
      [exclude.id, () => false],
    ])
    const report = await run(store, { with: set, without: free('log'), now: set }, relaxed)
    expect(report.leaving.with).toBe(40)
    expect(report.consumers[0]!.with.kept).toBe(15)
  })

  test('does not measure again what a rule that changes nothing would change', async () => {
    const store = someFlows(30)
    const cost = meters()
    const idle = rule('exclude', port(9999))
    const set = { consumers: [consumer('metric/flow', [idle])] }
    const report = await run(store, { with: set, without: set, now: set }, undefined, cost)
    expect(report.rules[0]!.without).toEqual(report.consumers[0]!.with)
    expect(cost.asked).toEqual(['metric/flow', 'metric/flow'])
  })

  test('measures the absence of so many rules and no more', async () => {
    const rules = Array.from({ length: MAX_MEASURED_RULES + 5 }, (_, i) => rule('exclude', port(i)))
    const set = { consumers: [consumer('metric/flow', rules)] }
    const report = await run(someFlows(3), { with: set, without: set, now: set })
    expect(report.rules.filter(({ without }) => without === undefined)).toHaveLength(5)
  })

  test('leaves out flows that are overwritten while it works', async () => {
    const store = new TestFlowStore(100)
    for (let i = 0; i < 150; i++) store.push({})
    const set = free('log')
    const input = { store, first: 0, end: 150, sets: { with: set, without: set, now: set }, relaxed: new Map() }
    const report = await explain({ ...input, meters: meters() }, new AbortController().signal)
    expect([report.flows, report.overwritten, report.consumers[0]!.with.kept]).toEqual([100, 50, 100])
  })

  test('ends early when it is told to', async () => {
    const abort = new AbortController()
    const store = someFlows(100_000)
    const set = { consumers: [consumer('log', [rule('include', port(80))])] }
    const input = { store, first: 0, end: store.end, sets: { with: set, without: set, now: set }, relaxed: new Map() }
    const start = performance.now()
    abort.abort()
    const report = await explain(
      { ...input, meters: { ...meters(), lines: async () => ({ lines: 0, bytes: 0 }) } },
      abort.signal,
    )
    expect(report.flows).toBe(0)
    expect(performance.now() - start).toBeLessThan(5000)
  })

  test('agrees with asking each rule of each flow again, for any rules', async () => {
    const store = someFlows(97)
    const predicates = [port(80), port(443, 53), source(1, 2), source(3), EVERYTHING, port(1)]
    const rules = fc.array(
      fc.record({ effect: fc.constantFrom<RuleEffect>('include', 'exclude'), which: fc.nat(predicates.length - 1) }),
      { maxLength: 40 },
    )
    await fc.assert(
      fc.asyncProperty(rules, fc.integer({ min: 1, max: 31 }), async (specs, kinds) => {
        const made = specs.map(({ effect, which }, i) => rule(effect, predicates[which]!, `${i}`))
        const set = { consumers: [consumer('metric/flow', made, { kinds })] }
        const report = await run(store, { with: set, without: free('metric/flow'), now: set })
        const keptOf = (all: readonly FilterRule[]) => count(store, kinds, all)
        expect(report.consumers[0]!.with.kept).toBe(keptOf(made))
        for (const [i, explained] of report.rules.entries()) {
          if (explained.without === undefined) continue
          expect(explained.without.kept).toBe(keptOf(made.filter((_, j) => j !== i)))
        }
      }),
      { numRuns: 60, seed: 7 },
    )
  })
})

/** Straight from the definition: any include or none, and no exclude. */
function count(store: TestFlowStore, kinds: number, rules: readonly FilterRule[]): number {
  const view = store.createView()
  const tests = rules.map(({ effect, predicate }) => ({ effect, test: compile(predicate) }))
  const includes = tests.filter(({ effect }) => effect === 'include')
  const excludes = tests.filter(({ effect }) => effect === 'exclude')
  let kept = 0
  for (let sequence = store.first; sequence < store.end; sequence++) {
    store.seek(view, sequence)
    if ((kinds & eventKindBits(view)) === 0) continue
    if (includes.length > 0 && !includes.some(({ test }) => test(view))) continue
    if (!excludes.some(({ test }) => test(view))) kept++
  }
  return kept
}

describe('MatchTable', () => {
  test('fits its bound, whatever the number of rules', () => {
    for (const rules of [0, 1, 32, 33, 1000, 10_000]) {
      const first = MatchTable.fitting(0, 100_000_000, rules)
      const bytes = (100_000_000 - first) * (4 * Math.max(1, Math.ceil(rules / 32)) + 1)
      expect(bytes).toBeLessThanOrEqual(MAX_TABLE_BYTES)
    }
    expect(MatchTable.fitting(5, 100, 10)).toBe(5)
  })

  test('gives way to others every few milliseconds', async () => {
    const store = someFlows(50_000)
    const tests = new Map(Array.from({ length: 256 }, (_, i) => [`${i}`, compile(port(i))] as const))
    const table = new MatchTable(tests, 0, store.end)
    let slices = 0
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    await table.fill(store, new AbortController().signal, () => slices++)
    clearInterval(timer)
    expect(table.flows).toBe(50_000)
    // Twelve million questions take a hundred milliseconds at the least; others had their turns meanwhile.
    expect(slices).toBeGreaterThan(20)
    expect(turns).toBeGreaterThan(10)
  })
})
