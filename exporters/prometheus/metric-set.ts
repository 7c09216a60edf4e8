import { SluiceError } from '../../base/errors.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { ContextCaches } from './context/caches.ts'
import { ContextLabeler } from './context/labeler.ts'
import { CONTEXT_OPTIONS, contextOptions, type MetricSpec } from './context/options.ts'
import type { FamilyShape, FlowPredicate, HandlerDefinition, HandlerKit, MetricHandler } from './handlers/handler.ts'
import { HANDLERS } from './handlers/index.ts'
import { DEFAULT_MAX_SERIES, DEFAULT_MAX_SERIES_PER_FAMILY, SeriesBudget } from './series/budget.ts'
import { CounterFamily } from './series/counter.ts'
import type { Family, FamilyShared, FamilySpec, GonePods } from './series/family.ts'
import { HistogramFamily } from './series/histogram.ts'
import { ValueTable } from './series/value-table.ts'

/** Which flows a metric counts: any include (none = all) and no exclude. */
export interface MetricFilter {
  readonly include?: readonly FlowPredicate[]
  readonly exclude?: readonly FlowPredicate[]
}

export interface MetricSetOptions {
  /** Time series of all families together. */
  readonly maxSeries?: number
  readonly maxSeriesPerFamily?: number
  /** By handler name. */
  readonly filters?: ReadonlyMap<string, MetricFilter>
  /** Called for each series made; rare. */
  readonly onSeries?: (family: Family, slot: number) => void
}

interface Entry {
  readonly name: string
  readonly handler: MetricHandler
  wanted: FlowPredicate | undefined
}

/** Between two sweeps of the label values, milliseconds: a sweep reads every series' key. */
const SWEEP_INTERVAL_MS = 10_000

/**
 * The handlers that specs name, one for each.
 *
 * @throws SluiceError SLUICE_CONFIG_INVALID for an unknown handler, option or context value, a handler named twice, and
 * handlers that exclude each other
 */
export function definitionsOf(specs: readonly MetricSpec[]): HandlerDefinition[] {
  const found: HandlerDefinition[] = []
  for (const spec of specs) {
    const definition = HANDLERS.find((handler) => handler.name === spec.name)
    if (definition === undefined) {
      const known = HANDLERS.map((handler) => handler.name).join(', ')
      throw invalid(`Metric "${spec.name}" is not known, want one of ${known}`)
    }
    const known = [...Object.keys(definition.options ?? {}), ...CONTEXT_OPTIONS]
    for (const key of spec.options.keys()) {
      if (known.some((name) => name.toLowerCase() === key)) continue
      throw invalid(`Metric "${spec.name}" has no option "${key}", want one of ${known.join(', ')}`)
    }
    contextOptions(spec)
    for (const other of found) {
      if (other.name === spec.name) throw invalid(`Metric "${spec.name}" is enabled twice, want it once`)
      if (definition.conflictsWith?.includes(other.name)) {
        throw invalid(`Metrics "${other.name}" and "${spec.name}" write the same families, want only one of them`)
      }
    }
    found.push(definition)
  }
  return found
}

/** The enabled flow metrics: counts each flow into each, and keeps their label values and series within bounds. */
export class MetricSet {
  readonly budget: SeriesBudget
  readonly values: ValueTable
  readonly #caches: ContextCaches
  readonly #entries: Entry[] = []
  readonly #labelers = new Map<string, ContextLabeler>()
  readonly #perFamily: number
  readonly #shared: FamilyShared
  #lastSweepMs = Number.NEGATIVE_INFINITY

  /**
   * @throws SluiceError SLUICE_CONFIG_INVALID as definitionsOf()
   */
  constructor(specs: readonly MetricSpec[], options: MetricSetOptions = {}) {
    const definitions = definitionsOf(specs)
    const maxSeries = options.maxSeries ?? DEFAULT_MAX_SERIES
    this.budget = new SeriesBudget(maxSeries)
    this.#perFamily = options.maxSeriesPerFamily ?? Math.min(DEFAULT_MAX_SERIES_PER_FAMILY, maxSeries)
    // Room for the values of as many label sets again as there can be series, so that sweeps are rare.
    this.values = new ValueTable(Math.max(1024, 2 * maxSeries))
    this.#caches = new ContextCaches(this.values)
    this.#shared = { values: this.values, budget: this.budget, onSeries: options.onSeries ?? (() => {}) }
    for (const [i, spec] of specs.entries()) this.#enable(definitions[i]!, spec, options.filters?.get(spec.name))
  }

  get families(): Family[] {
    return this.#entries.flatMap((entry) => [...entry.handler.families])
  }

  /** Names of the handlers in force. */
  get names(): string[] {
    return this.#entries.map((entry) => entry.name)
  }

  /** Replaces what a metric counts; its series keep their values. @returns false when the metric is not enabled */
  setFilter(name: string, filter: MetricFilter): boolean {
    const entry = this.#entries.find((candidate) => candidate.name === name)
    if (entry === undefined) return false
    entry.wanted = predicateOf(filter)
    return true
  }

  /** Counts one flow in every metric that wants it. */
  count(view: FlowView): void {
    const entries = this.#entries
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!
      if (entry.wanted !== undefined && !entry.wanted(view)) continue
      entry.handler.count(view)
    }
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

  #enable(definition: HandlerDefinition, spec: MetricSpec, filter: MetricFilter | undefined): void {
    const handler = definition.create(this.#kit(definition, spec))
    this.#entries.push({ name: spec.name, handler, wanted: predicateOf(filter) })
  }

  #kit(definition: HandlerDefinition, spec: MetricSpec): HandlerKit {
    const context = this.#labeler(spec, definition.swapsEnds === true)
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

  #labeler(spec: MetricSpec, swapped: boolean): ContextLabeler {
    const options = contextOptions(spec)
    const key = JSON.stringify([options, swapped])
    const known = this.#labelers.get(key)
    if (known !== undefined) return known
    const made = new ContextLabeler(options, this.#caches, swapped)
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

function predicateOf(filter: MetricFilter | undefined): FlowPredicate | undefined {
  const include = filter?.include ?? []
  const exclude = filter?.exclude ?? []
  if (include.length + exclude.length === 0) return undefined
  return (view) =>
    (include.length === 0 || include.some((wants) => wants(view))) && !exclude.some((wants) => wants(view))
}

function invalid(message: string): SluiceError {
  return new SluiceError('SLUICE_CONFIG_INVALID', message)
}
