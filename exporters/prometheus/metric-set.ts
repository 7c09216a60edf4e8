import { CONSUMER_BITS, type ConsumerOffer, type FlowJudge } from '../../filters/rules.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { ContextCaches } from './context/caches.ts'
import { ContextLabeler } from './context/labeler.ts'
import { contextOptions, type MetricSpec } from './context/options.ts'
import { definitionsOf } from './handlers/definitions.ts'
import type { FamilyShape, HandlerDefinition, HandlerKit, MetricHandler } from './handlers/handler.ts'
import { HANDLERS } from './handlers/index.ts'
import type { LateFlows } from './late-flows.ts'
import { DEFAULT_MAX_SERIES, DEFAULT_MAX_SERIES_PER_FAMILY, SeriesBudget } from './series/budget.ts'
import { CounterFamily } from './series/counter.ts'
import type { Family, FamilyShared, FamilySpec, GonePods } from './series/family.ts'
import { HistogramFamily } from './series/histogram.ts'
import { ValueTable } from './series/value-table.ts'
import type { CountMode } from './series/visibility.ts'

export interface MetricSetOptions {
  /** Time series of all families together. */
  readonly maxSeries?: number
  readonly maxSeriesPerFamily?: number
  /** Which flows each metric counts; without it every flow. */
  readonly judge?: FlowJudge | undefined
  /** Called for each series made; rare. */
  readonly onSeries?: (family: Family, slot: number) => void
}

/** An enabled metric. */
export interface Metric {
  readonly spec: MetricSpec
  readonly definition: HandlerDefinition
  /** Of flow_event.consumers. */
  readonly bit: number
  readonly handler: MetricHandler
  /** No filter leaves anything out: the judge need not be asked. */
  isFree: boolean
  /** Set from a change of its filters until flows that the filters before it judged have come. */
  late: LateFlows | undefined
}

/** What a reconfiguration did, by handler name. */
export interface MetricChanges {
  readonly added: readonly string[]
  readonly removed: readonly string[]
  /** Options changed: the families are new ones, without series. */
  readonly replaced: readonly string[]
}

/** Between two sweeps of the label values, milliseconds: a sweep reads every series' key. */
const SWEEP_INTERVAL_MS = 10_000

/** The enabled flow metrics: counts each flow into each, and keeps their label values and series within bounds. */
export class MetricSet {
  readonly budget: SeriesBudget
  readonly values: ValueTable
  readonly #judge: FlowJudge | undefined
  readonly #caches: ContextCaches
  #metrics: readonly Metric[] = []
  /** The handlers of all metrics, when the judge need not be asked for any. */
  #free: readonly MetricHandler[] | undefined
  #labelers = new Map<string, ContextLabeler>()
  readonly #perFamily: number
  readonly #shared: FamilyShared
  #lastSweepMs = Number.NEGATIVE_INFINITY

  /**
   * @throws SluiceError SLUICE_CONFIG_INVALID as definitionsOf()
   */
  constructor(specs: readonly MetricSpec[], options: MetricSetOptions = {}) {
    const maxSeries = options.maxSeries ?? DEFAULT_MAX_SERIES
    this.budget = new SeriesBudget(maxSeries)
    this.#judge = options.judge
    this.#perFamily = options.maxSeriesPerFamily ?? Math.min(DEFAULT_MAX_SERIES_PER_FAMILY, maxSeries)
    // Room for the values of as many label sets again as there can be series, so that sweeps are rare.
    this.values = new ValueTable(Math.max(1024, 2 * maxSeries))
    this.#caches = new ContextCaches(this.values)
    this.#shared = {
      values: this.values,
      budget: this.budget,
      onSeries: options.onSeries ?? (() => {}),
      makeRoom: (count) => this.#makeRoom(count),
    }
    this.reconfigure(specs)
  }

  get metrics(): readonly Metric[] {
    return this.#metrics
  }

  get families(): Family[] {
    return this.#metrics.flatMap((metric) => [...metric.handler.families])
  }

  /** Names of the handlers in force. */
  get names(): string[] {
    return this.#metrics.map((metric) => metric.spec.name)
  }

  /** What each metric can use, for whoever makes the rules. */
  consumers(): ConsumerOffer[] {
    return this.#metrics.map(({ spec, bit, definition }) => ({
      name: `metric/${spec.name}`,
      bit,
      interest: definition.interest,
    }))
  }

  /**
   * Enables these metrics instead of those in force. One that has the same name and options is left as it is and goes on
   * counting; one with other options gets new families; the series of what is not named any more are gone.
   *
   * @throws SluiceError SLUICE_CONFIG_INVALID as definitionsOf(); nothing has changed then
   */
  reconfigure(specs: readonly MetricSpec[]): MetricChanges {
    const definitions = definitionsOf(specs)
    const before = this.#metrics
    const labelers = this.#labelers
    this.#labelers = new Map()
    const known = new Map(before.map((metric) => [metric.spec.name, metric]))
    const added: string[] = []
    const replaced: string[] = []
    const kept = new Set<Metric>()
    this.#metrics = specs.map((spec, i) => {
      const old = known.get(spec.name)
      const definition = definitions[i]!
      // Labelers that are in use stay: metrics of the same options share one.
      this.#adoptLabeler(labelers, spec, definition)
      if (old !== undefined && sameOptions(old.spec, spec)) {
        kept.add(old)
        return old
      }
      ;(old === undefined ? added : replaced).push(spec.name)
      return this.#make(definition, spec)
    })
    for (const metric of before) {
      if (!kept.has(metric)) for (const family of metric.handler.families) family.discard()
    }
    this.#lookForFree()
    const names = new Set(this.names)
    return { added, replaced, removed: before.map(({ spec }) => spec.name).filter((name) => !names.has(name)) }
  }

  /** Call with the first flow of each block, before it is counted. */
  beginBlock(view: FlowView): void {
    if (this.#free !== undefined) return
    for (const metric of this.#metrics) if (metric.late?.isOver(view)) metric.late = undefined
    this.#lookForFree()
  }

  /** Call when the rules of a metric changed. */
  setRules(metric: Metric, isFree: boolean, late: LateFlows | undefined): void {
    metric.isFree = isFree
    metric.late = late
    this.#lookForFree()
  }

  /** Counts one flow in every metric that wants it. @returns false when none does */
  count(view: FlowView): boolean {
    const free = this.#free
    if (free !== undefined) {
      for (let i = 0; i < free.length; i++) free[i]!.count(view)
      return free.length > 0
    }
    const metrics = this.#metrics
    const judge = this.#judge
    let isWanted = false
    for (let i = 0; i < metrics.length; i++) {
      const metric = metrics[i]!
      const { late } = metric
      if ((late !== undefined || !metric.isFree) && !judge!.wants(metric.bit, view)) continue
      isWanted = true
      if (late === undefined) metric.handler.count(view)
      else this.#countLate(metric, view)
    }
    return isWanted
  }

  /** Call after each block of flows: frees label values that no series uses when their table is full. */
  maintain(nowMs: number): void {
    for (const labeler of this.#labelers.values()) labeler.reset()
    if (!this.values.isFull || nowMs - this.#lastSweepMs < SWEEP_INTERVAL_MS) return
    this.#lastSweepMs = nowMs
    this.values.sweep((use) => {
      for (const family of this.families) family.markValues(use)
    })
    this.#caches.clear()
  }

  /** Removes the series of pods that are gone. @returns label sets removed */
  removePods(gone: GonePods): number {
    let removed = 0
    for (const family of this.families) removed += family.removePods(gone)
    return removed
  }

  #lookForFree(): void {
    const metrics = this.#metrics
    const isFree = metrics.every((metric) => metric.isFree && metric.late === undefined)
    this.#free = isFree ? metrics.map((metric) => metric.handler) : undefined
  }

  /** Counts a flow that the filters before the last change may have let through. */
  #countLate(metric: Metric, view: FlowView): void {
    setMode(metric, this.#judge!.wouldTake(metric.bit, view) ? 'count' : 'late')
    try {
      metric.handler.count(view)
    } finally {
      setMode(metric, 'count')
    }
  }

  #makeRoom(count: number): boolean {
    for (const family of this.families) {
      while (!this.budget.hasRoom(count) && family.evict()) {}
      if (this.budget.hasRoom(count)) return true
    }
    return false
  }

  #make(definition: HandlerDefinition, spec: MetricSpec): Metric {
    const handler = definition.create(this.#kit(definition, spec))
    const bit = CONSUMER_BITS.FIRST_METRIC + HANDLERS.indexOf(definition)
    return { spec, definition, bit, handler, isFree: this.#judge === undefined, late: undefined }
  }

  #kit(definition: HandlerDefinition, spec: MetricSpec): HandlerKit {
    const context = this.#labeler(spec, definition)
    const familySpec = (shape: FamilyShape): FamilySpec => this.#familySpec(shape, context)
    return {
      options: spec.options,
      context,
      values: this.values,
      endpointFlag: (key, ask) => {
        const cache = this.#caches.endpoint(`flag:${key}`, (endpoint) => (ask(endpoint) ? 1 : 0))
        return (view, ref) => cache.get(view, ref)
      },
      counter: (shape, exemplars) => new CounterFamily(familySpec(shape), this.#shared, exemplars),
      histogram: (shape, exemplars) => new HistogramFamily(familySpec(shape), this.#shared, exemplars),
    }
  }

  #adoptLabeler(from: ReadonlyMap<string, ContextLabeler>, spec: MetricSpec, definition: HandlerDefinition): void {
    const key = labelerKey(spec, definition)
    const known = from.get(key)
    if (known !== undefined) this.#labelers.set(key, known)
  }

  #labeler(spec: MetricSpec, definition: HandlerDefinition): ContextLabeler {
    const key = labelerKey(spec, definition)
    const known = this.#labelers.get(key)
    if (known !== undefined) return known
    const made = new ContextLabeler(contextOptions(spec), this.#caches, definition.swapsEnds === true)
    this.#labelers.set(key, made)
    return made
  }

  #familySpec(shape: FamilyShape, context: ContextLabeler): FamilySpec {
    const own = shape.words.length
    const labels = context.names.map((name, i) => ({ name, word: own + i, text: String }))
    return {
      name: shape.name,
      help: shape.help,
      words: [...shape.words, ...context.names.map(() => 'value' as const)],
      labels: shape.contextFirst ? [...labels, ...shape.labels] : [...shape.labels, ...labels],
      pods: context.pods(own),
      maxSeries: this.#perFamily,
    }
  }
}

/** Changes what counting does in all families of a metric. */
export function setMode(metric: Metric, mode: CountMode): void {
  for (const family of metric.handler.families) family.mode = mode
}

function labelerKey(spec: MetricSpec, definition: HandlerDefinition): string {
  return JSON.stringify([contextOptions(spec), definition.swapsEnds === true])
}

/** The order of options means nothing, the order of an option's values does. */
function sameOptions(a: MetricSpec, b: MetricSpec): boolean {
  if (a.options.size !== b.options.size) return false
  for (const [name, values] of a.options) {
    const other = b.options.get(name)
    if (other === undefined || values.length !== other.length || values.some((value, i) => value !== other[i]))
      return false
  }
  return true
}
