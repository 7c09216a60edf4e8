import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { silentLogger } from '../../base/logger.ts'
import { EVERYTHING } from '../../filters/predicate.ts'
import { ALL_KINDS, type FlowJudge, type RuleSet } from '../../filters/rules.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { TestFlowStore } from '../../test/helpers/flow-store.ts'
import { samples } from '../../test/helpers/metric-lines.ts'
import { HANDLERS, PrometheusExporter } from './index.ts'

const RUNS = process.env['CI'] === 'true' ? { numRuns: 120, seed: 20_261_124 } : { numRuns: 120 }
const PORTS = 'port-distribution'
const BIT = HANDLERS.findIndex(({ name }) => name === PORTS)
/** Small, so that flows are forgotten. */
const HISTORY = 24
const START_MS = 1_790_000_000_000

/** Filters of the model: a set of ports, `all`, or `off`. */
type Filter = readonly number[] | 'all' | 'off'
type Step =
  | { readonly do: 'flows'; readonly ports: readonly number[] }
  /** Flows that come after the change, judged before it. */
  | { readonly do: 'change'; readonly to: Filter; readonly late: readonly number[] }

const port = fc.integer({ min: 1, max: 9 })
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('flows' as const), ports: fc.array(port, { maxLength: 20 }) }),
  fc.record({
    do: fc.constant('change' as const),
    to: fc.oneof(
      { weight: 5, arbitrary: fc.uniqueArray(port, { maxLength: 6 }) },
      fc.constantFrom('all' as const, 'off' as const),
    ),
    late: fc.array(port, { maxLength: 8 }),
  }),
)

const wants = (filter: Filter, dstPort: number) => filter === 'all' || (filter !== 'off' && filter.includes(dstPort))

/** What should be shown, written from the promise and not from the code. */
class Model {
  readonly counts = new Map<number, number>()
  shown = new Set<number>()
  readonly history: number[] = []

  flow(dstPort: number, judgedBy: Filter, inForce: Filter): void {
    this.history.push(dstPort)
    if (this.history.length > HISTORY) this.history.shift()
    if (!wants(judgedBy, dstPort)) return
    this.counts.set(dstPort, (this.counts.get(dstPort) ?? 0) + 1)
    if (wants(inForce, dstPort)) this.shown.add(dstPort)
  }

  change(to: Filter): void {
    if (to === 'all') {
      this.shown = new Set(this.counts.keys())
      return
    }
    const confirmed = this.history.filter((dstPort) => wants(to, dstPort) && this.counts.has(dstPort))
    this.shown = new Set(confirmed)
  }

  series(): Record<string, number> {
    return Object.fromEntries([...this.shown].map((dstPort) => [dstPort, this.counts.get(dstPort)!]))
  }
}

class Judge implements FlowJudge {
  now: Filter = 'all'
  /** By sequence, where a flow was judged by a filter of the past. */
  readonly past = new Map<number, Filter>()

  wants(bit: number, view: FlowView): boolean {
    return bit === BIT && wants(this.past.get(view.sequence) ?? this.now, view.dstPort)
  }

  wouldTake(bit: number, view: FlowView): boolean {
    return bit === BIT && wants(this.now, view.dstPort)
  }
}

function ruleSet(id: number, filter: Filter): RuleSet {
  const origin = { kind: 'ContainerNetworkMetric', name: 'm', path: 'spec', label: '', text: '' }
  const rule = { id: String(id), effect: 'include', predicate: EVERYTHING, origin } as const
  const rules = filter === 'all' ? [] : [rule]
  return { consumers: [{ name: `metric/${PORTS}`, bit: BIT, kinds: ALL_KINDS, isOn: filter !== 'off', rules }] }
}

async function shownPorts(exporter: PrometheusExporter): Promise<Record<string, number>> {
  const scrape = await exporter.render('text')
  const text = scrape.toString()
  scrape.release()
  const pattern = /^hubble_port_distribution_total\{protocol="TCP",port="(\d+)"\}$/
  const found = Object.entries(samples(text)).flatMap(([key, value]) => {
    const dstPort = pattern.exec(key)?.[1]
    return dstPort === undefined ? [] : [[dstPort, value]]
  })
  return Object.fromEntries(found) as Record<string, number>
}

describe('filtersChanged()', () => {
  test('shows what is wanted and was counted, and nothing else, whatever came before', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 14 }), async (steps) => {
        const judge = new Judge()
        let nowMs = START_MS
        const exporter = new PrometheusExporter({ metrics: PORTS }, { logger: silentLogger, judge, now: () => nowMs })
        const store = new TestFlowStore(HISTORY)
        exporter.attach(store)
        const model = new Model()
        const flows = (ports: readonly number[], judgedBy: Filter, timeMs: number) => {
          for (const dstPort of ports) {
            const first = store.push({ dstPort, time: BigInt(timeMs) * 1_000_000n })
            if (judgedBy !== judge.now) judge.past.set(first, judgedBy)
            model.flow(dstPort, judgedBy, judge.now)
            exporter.accept(store, first, store.end)
          }
        }
        // Rules come before the first flow: an agent that starts has no others.
        exporter.filtersChanged(ruleSet(-1, 'all'))
        for (const [index, one] of steps.entries()) {
          if (one.do === 'flows') flows(one.ports, judge.now, nowMs)
          else {
            const before = judge.now
            judge.now = one.to
            model.change(one.to)
            exporter.filtersChanged(ruleSet(index, one.to))
            await exporter.filtersSettled()
            flows(one.late, before, nowMs - 1)
            // What comes now was made well after the change.
            nowMs += 10_000
          }
          expect(await shownPorts(exporter)).toEqual(model.series())
          expect(exporter.ledger.difference).toBe(0)
        }
        exporter.registry.clear()
      }),
      RUNS,
    )
  })
})
