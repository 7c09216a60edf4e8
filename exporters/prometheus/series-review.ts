import { TimeSlice } from '../../base/time-slice.ts'
import type { FilterConsumer, FlowJudge, RuleSet } from '../../filters/rules.ts'
import type { FlowStore } from '../../model/contracts.ts'
import { isUnfiltered, rulesKey } from './consumer-rules.ts'
import { LateFlows } from './late-flows.ts'
import { type Metric, type MetricSet, setMode } from './metric-set.ts'
import type { Sweep } from './series/visibility.ts'

/** How far back the history is asked which series are still wanted: some tenths of a second of work in slices. */
const REVIEW_FLOWS = 200_000
/** A series that no filter wants is shown no longer than this after the change, whatever the review has come to. */
const REVIEW_MS = 1_500
/** Flows, and series, between two looks at the clock. */
const FLOWS_PER_LOOK = 32
const SERIES_PER_LOOK = 512

export interface SeriesReviewParts {
  readonly metrics: MetricSet
  readonly judge: FlowJudge
  /** The history; undefined before it is known. */
  readonly store: () => FlowStore | undefined
  /** Wall clock, milliseconds. */
  readonly now: () => number
  /** Told when a flow of the history could not be looked at. */
  readonly onFailure: (error: unknown) => void
}

/** A metric under review. */
interface Case {
  readonly metric: Metric
  readonly how: Sweep
  /** When its series were put in question, by a clock that only goes forward. */
  readonly sinceMs: number
  isClosed: boolean
}

/**
 * Which series stay in the scrape when filters change. A counter that nothing adds to any more must go, one that is
 * wanted and only quiet must stay, and the label sets alone do not say which is which. So the history is asked, newest
 * flow first, in slices:
 *
 *   change   every series of the metric is in question, and shown as before
 *   review   a flow that the new filters want confirms its series; so does one that is counted
 *   end      after REVIEW_FLOWS flows, or REVIEW_MS: what nobody confirmed is hidden, with its value
 *   later    a flow that counts shows its series again, the value going on; hidden for minutes, a series is freed
 *
 * So what is wanted and was seen in the newest flows is in every scrape, and what is not is gone within two seconds. A
 * metric that is switched off is gone at once; one whose filters were taken away shows all.
 */
export class SeriesReview {
  readonly #parts: SeriesReviewParts
  /** Of each metric, its rules as they were told last. */
  readonly #rules = new WeakMap<Metric, string>()
  #latest: RuleSet | undefined
  #cases = new Map<Metric, Case>()
  /** Raised by each change: a review under way begins anew. */
  #round = 0
  #running: Promise<void> | undefined
  /** Flows looked at in reviews. */
  flows = 0
  /** Reviews that took longer than they may, so that series wanted may have been missing for a while. */
  overdue = 0

  constructor(parts: SeriesReviewParts) {
    this.#parts = parts
  }

  /** Handlers that are switched off. */
  get off(): string[] {
    const isOff = ({ handler }: Metric) => handler.families.every((family) => family.isOff)
    return this.#parts.metrics.metrics.filter(isOff).map((metric) => metric.spec.name)
  }

  /** Call when rules came into force, after the judge has them. Metrics whose rules are the same are left alone. */
  change(rules: RuleSet): void {
    this.#latest = rules
    const { metrics } = this.#parts
    let isAny = false
    for (const metric of metrics.metrics) {
      const consumer = rules.consumers.find(({ bit }) => bit === metric.bit)
      if (consumer === undefined) continue
      const key = rulesKey(consumer)
      const before = this.#rules.get(metric)
      if (before === key) continue
      this.#rules.set(metric, key)
      this.#open(metric, consumer, before === undefined)
      isAny = true
    }
    if (!isAny) return
    this.#round++
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** Call when metrics came or were renewed: they take over the rules that are in force for them. */
  adopt(): void {
    if (this.#latest !== undefined) this.change(this.#latest)
  }

  /** Ends when no review is under way. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  /** Frees series that have been hidden since the last call. */
  async age(): Promise<void> {
    const slice = new TimeSlice()
    for (const family of this.#parts.metrics.families) {
      if (family.hidden === 0) continue
      for (let at = 0; at >= 0; at = family.sweep('age', at, SERIES_PER_LOOK)) {
        if (slice.isOver) await slice.yield()
      }
    }
  }

  #open(metric: Metric, consumer: FilterConsumer, isFirst: boolean): void {
    const nowMs = performance.now()
    const isFree = isUnfiltered(consumer)
    // When rules come first and flows after them, there are none that other rules have judged.
    const hasNone = isFirst && (this.#parts.store()?.end ?? 0) === 0
    this.#parts.metrics.setRules(metric, isFree, hasNone ? undefined : new LateFlows(this.#parts.now()))
    for (const family of metric.handler.families) {
      family.isOff = !consumer.isOn
      if (!isFree) family.question()
    }
    // What was in question already has waited since then.
    const open = this.#cases.get(metric)
    const waitsSinceMs = open === undefined || open.isClosed ? nowMs : open.sinceMs
    const sinceMs = consumer.isOn ? waitsSinceMs : Number.NEGATIVE_INFINITY
    this.#cases.set(metric, { metric, how: isFree ? 'show' : 'hide', sinceMs, isClosed: false })
  }

  async #run(): Promise<void> {
    // The change may have come in the midst of a block of flows.
    const slice = new TimeSlice()
    await slice.yield()
    for (;;) {
      const round = this.#round
      const isDone = (await this.#close(slice, round)) && (await this.#walk(slice, round))
      if (!isDone) continue
      for (const one of this.#cases.values()) if (!(await this.#sweep(one, slice, round))) break
      if (round !== this.#round) continue
      this.#cases = new Map()
      return
    }
  }

  /** Ends the review of metrics whose time is over, or that need none. @returns false when it must begin anew */
  async #close(slice: TimeSlice, round: number): Promise<boolean> {
    const nowMs = performance.now()
    for (const one of this.#cases.values()) {
      const needsNone = one.how === 'show' || one.sinceMs === Number.NEGATIVE_INFINITY
      if (one.isClosed || (!needsNone && nowMs - one.sinceMs < REVIEW_MS)) continue
      if (!needsNone) this.overdue++
      if (!(await this.#sweep(one, slice, round))) return false
    }
    return true
  }

  /** Asks the history. @returns false when it must begin anew */
  async #walk(slice: TimeSlice, round: number): Promise<boolean> {
    const store = this.#parts.store()
    const asked = [...this.#cases.values()].filter(({ how, sinceMs }) => how === 'hide' && Number.isFinite(sinceMs))
    if (store === undefined || asked.length === 0) return true
    const view = store.createView()
    let at = store.end
    const last = at - REVIEW_FLOWS
    for (;;) {
      const stop = Math.max(last, store.first, at - FLOWS_PER_LOOK)
      if (at <= stop) return true
      const metrics = this.#inForce(asked)
      for (const metric of metrics) setMode(metric, 'confirm')
      this.flows += at - stop
      while (at > stop) {
        store.seek(view, --at)
        for (const metric of metrics) this.#confirm(metric, view)
      }
      for (const metric of metrics) setMode(metric, 'count')
      if (!slice.isOver) continue
      await slice.yield()
      if (round !== this.#round || !(await this.#close(slice, round))) return false
    }
  }

  /** A reconfiguration may have taken a metric out meanwhile. */
  #inForce(cases: readonly Case[]): Metric[] {
    const { metrics } = this.#parts.metrics
    return cases.map(({ metric }) => metric).filter((metric) => metrics.includes(metric))
  }

  #confirm(metric: Metric, view: Parameters<FlowJudge['wouldTake']>[1]): void {
    try {
      if (this.#parts.judge.wouldTake(metric.bit, view)) metric.handler.count(view)
    } catch (error) {
      this.#parts.onFailure(error)
    }
  }

  /** Shows or hides what is in question. @returns false when another change came */
  async #sweep(one: Case, slice: TimeSlice, round: number): Promise<boolean> {
    if (one.isClosed) return true
    one.isClosed = true
    for (const family of one.metric.handler.families) {
      for (let at = 0; at >= 0; at = family.sweep(one.how, at, SERIES_PER_LOOK)) {
        if (!slice.isOver) continue
        await slice.yield()
        if (round === this.#round) continue
        one.isClosed = false
        return false
      }
    }
    return true
  }
}
