import { errorText } from '../base/errors.ts'
import { Listeners } from '../base/lifetime.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import type { Predicate } from '../filters/predicate.ts'
import type { FiltersInForce } from '../filters/resources/hubble-config.ts'
import { buildRuleSet, type FilterSettings, type MetricFilters } from '../filters/resources/rule-set.ts'
import type {
  ConsumerOffer,
  FilterConsumer,
  FilterCounts,
  RuleDecision,
  RuleSet,
  RuleTarget,
} from '../filters/rules.ts'
import type { TelemetrySink, TelemetrySource } from '../model/contracts.ts'
import { collectFilterMetrics } from './filter-metrics.ts'
import type { FilterControlState } from './filter-state.ts'
import { LiveQueries } from './live-queries.ts'
import type { ResourceDocument, ResourceRef, ResourceSource, ResourceStatus } from './resource.ts'
import { type Entry, failedOutcomes, NO_ROOM, ResourceBook, type Selection } from './resource-book.ts'
import { type AppliedNews, RuleApplier } from './rule-applier.ts'
import { previewSource, SourceSet } from './source-set.ts'
import { type Outcome, sameStatus, statusOf } from './status.ts'

/** Changes within this time are put into force together; no more than ten times a second. */
const SETTLE_MS = 100
/** How long the start waits for the sources: without them the agent works with what it knows. */
const START_DEADLINE_MS = 5000
/** Between tries to put rules into force that could not be. */
const RETRY_MIN_MS = 1000
const RETRY_MAX_MS = 30_000

export interface FilterControlOptions {
  readonly settings: FilterSettings
  readonly sources: readonly ResourceSource[]
  /** Put rules into force, in this order; a failure of one takes the change back at those before it. */
  readonly targets: readonly RuleTarget[]
  /** Metric handlers that are on. */
  readonly metrics: readonly ConsumerOffer[]
  /** Counts of the rules in force, for /metrics. */
  readonly counts?: () => FilterCounts
  readonly logger?: Logger
  readonly now?: () => number
  readonly settleMs?: number
  readonly startDeadlineMs?: number
}

/** What documents would do. */
export interface Preview {
  readonly rules: RuleSet
  /** What would become of each document. */
  readonly resources: readonly { readonly ref: ResourceRef; readonly outcome: Outcome }[]
}

/**
 * Makes one rule set of all that has a say in it (resources, configuration, live queries) and puts it into force: first
 * at the start, then whenever something changed, one set at a time. A set that cannot be put into force leaves the one
 * before, and is tried again.
 */
export class FilterControl implements TelemetrySource, AsyncDisposable {
  readonly #options: FilterControlOptions
  readonly #now: () => number
  readonly #sources: SourceSet
  readonly #book: ResourceBook
  readonly #applier: RuleApplier
  readonly #queries = new LiveQueries(() => this.#changed())
  readonly #applied = new Listeners<AppliedNews>()
  readonly #statuses = new Map<Entry, ResourceStatus>()
  readonly #abort = new AbortController()
  #metrics: readonly ConsumerOffer[]
  #dynamic: ReadonlyMap<string, MetricFilters> = new Map()
  #isDirty = false
  #isStarted = false
  #timer: NodeJS.Timeout | undefined
  /** The timer waits to try again what failed. */
  #isRetry = false
  #retryMs = RETRY_MIN_MS
  #turn: Promise<void> = Promise.resolve()

  constructor(options: FilterControlOptions) {
    const log = options.logger ?? silentLogger
    this.#options = options
    this.#now = options.now ?? Date.now
    this.#metrics = options.metrics
    this.#sources = new SourceSet(options.sources, log)
    this.#book = new ResourceBook(options.sources)
    this.#applier = new RuleApplier(options.targets, log, this.#now)
  }

  /**
   * Starts the sources and puts the first set into force: when all sources told their first state, at the latest after
   * five seconds.
   *
   * @throws SluiceError when a source can never work as configured
   * @throws what a target throws: without a first set nobody knows what flows are for
   */
  async start(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#abort.abort(), { once: true })
    const listener = {
      upsert: (source: ResourceSource, document: ResourceDocument) => {
        if (this.#book.upsert(source, document) === 'changed') this.#changed()
        this.#sources.trouble(source, NO_ROOM, this.#book.leftOut(source))
      },
      remove: (source: ResourceSource, ref: ResourceRef) => {
        if (this.#book.remove(source, ref)) this.#changed()
        this.#sources.trouble(source, NO_ROOM, this.#book.leftOut(source))
      },
    }
    await this.#sources.start(listener, this.#abort.signal, this.#options.startDeadlineMs ?? START_DEADLINE_MS)
    this.#isStarted = true
    this.#isDirty = true
    await this.#enqueueTurn()
    if (this.#applier.news === undefined && !this.#abort.signal.aborted) throw this.#applier.lastFailure
  }

  /** Metric handlers that are on have changed. */
  setMetrics(metrics: readonly ConsumerOffer[]): void {
    this.#metrics = metrics
    this.#changed()
  }

  /** Filters of Hubble's dynamic metrics file by handler; empty without a file. */
  setDynamicMetrics(dynamic: ReadonlyMap<string, MetricFilters>): void {
    this.#dynamic = dynamic
    this.#changed()
  }

  /**
   * Lets events that match leave the kernel for a live query, within half a second.
   *
   * @param name of the client, for people
   * @param include flows that match any of these; none: all @param exclude but none of these
   * @returns ends it
   */
  addQuery(name: string, include: readonly Predicate[], exclude: readonly Predicate[]): Disposable {
    return this.#queries.add(name, include, exclude)
  }

  /** Called after each set that came into force. */
  onApplied(listener: (news: AppliedNews) => void): Disposable {
    return this.#applied.add(listener)
  }

  /** The set in force; without consumers before the first. */
  rules(): RuleSet {
    return this.#applier.news?.rules ?? { consumers: [] }
  }

  /** What rules() was made of, but for live queries: to be shown as Hubble's own files. */
  filtersInForce(): FiltersInForce {
    const resources = this.#book.entries.flatMap(({ applied }) => applied ?? [])
    resources.sort((a, b) => (a.kind + a.name < b.kind + b.name ? -1 : 1))
    return { settings: this.#options.settings, resources, dynamic: this.#dynamic }
  }

  /** How much of each rule in force the kernel decides, by rule id. */
  decisions(): ReadonlyMap<string, RuleDecision> {
    return this.#applier.news?.decisions ?? new Map()
  }

  /**
   * The rules as they would be with documents that are not in force: each stands in place of the resource of its kind
   * and name, or beside the others. Live queries are left out. Changes nothing.
   *
   * @param alone the documents are all there is
   */
  async preview(documents: readonly ResourceDocument[], alone = false): Promise<Preview> {
    const source = previewSource()
    const refs = (alone ? this.#book.entries : documents).map(({ ref }) => ref)
    const book = this.#book.without(refs, source)
    for (const document of documents) book.upsert(source, document)
    await book.check()
    const selection = book.select(this.#options.settings.merge)
    const resources = [...selection.outcomes].flatMap(([entry, outcome]) =>
      entry.source === source ? { ref: entry.ref, outcome } : [],
    )
    return { rules: this.#ruleSet(selection, []), resources }
  }

  /** The rules as they would be if nobody filtered: every metric counts everything, and a log that there is has all. */
  unfiltered(): RuleSet {
    const { settings } = this.#options
    const mode = settings.log.mode === 'off' ? 'off' : 'static'
    return buildRuleSet({
      settings: { ...settings, log: { mode, allow: [], deny: [] } },
      metrics: this.#metrics,
      dynamic: new Map(),
      resources: [],
      queries: [],
    })
  }

  status(): FilterControlState {
    const { news, appliedAt, lastFailure } = this.#applier
    return {
      generation: news?.generation ?? 0,
      appliedAt,
      tookMs: news?.tookMs ?? 0,
      isPending: this.#isDirty || this.#timer !== undefined,
      lastError: lastFailure === undefined ? '' : errorText(lastFailure),
      sources: this.#sources.states(),
      resources: this.#book.entries.map((entry) => ({
        source: entry.source.name,
        ref: entry.ref,
        status: this.#statuses.get(entry),
      })),
      liveQueries: this.#queries.size,
    }
  }

  collect(sink: TelemetrySink): void {
    const { resources } = this.status()
    const { size, shared } = this.#queries
    const facts = { applier: this.#applier, refused: this.#book.refused, liveQueries: size, sharedQueries: shared }
    collectFilterMetrics(sink, facts, resources, this.rules(), this.#options.counts?.())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    this.#clearTimer()
    this.#isStarted = false
    await this.#turn
    await this.#sources.dispose()
  }

  /** Something has another say: a turn follows, unless one is on its way. */
  #changed(): void {
    this.#isDirty = true
    this.#retryMs = RETRY_MIN_MS
    // What failed before may succeed now: a change does not wait for the next try.
    if (this.#isRetry) this.#clearTimer()
    this.#schedule(this.#options.settleMs ?? SETTLE_MS, false)
  }

  #clearTimer(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isRetry = false
  }

  #schedule(delayMs: number, isRetry: boolean): void {
    if (!this.#isStarted || this.#timer !== undefined || this.#abort.signal.aborted) return
    this.#isRetry = isRetry
    this.#timer = setTimeout(() => {
      this.#clearTimer()
      void this.#enqueueTurn()
    }, delayMs)
    this.#timer.unref()
  }

  /** Turns follow each other. */
  #enqueueTurn(): Promise<void> {
    this.#turn = this.#turn.then(() => this.#run())
    return this.#turn
  }

  /** Looks at what changed and puts it into force. Never rejects. */
  async #run(): Promise<void> {
    if (!this.#isDirty || this.#abort.signal.aborted) return
    this.#isDirty = false
    await this.#book.check()
    const selection = this.#book.select(this.#options.settings.merge)
    try {
      const news = await this.#applier.apply(this.#ruleSet(selection, this.#queries.consumers()))
      this.#retryMs = RETRY_MIN_MS
      for (const entry of this.#book.entries) entry.applied = selection.inForce.get(entry)
      this.#tell(selection.outcomes)
      if (news !== undefined) this.#applied.emit(news)
    } catch (error) {
      this.#isDirty = true
      this.#tell(failedOutcomes(selection, errorText(error)))
      this.#schedule(this.#retryMs, true)
      this.#retryMs = Math.min(RETRY_MAX_MS, this.#retryMs * 2)
    }
  }

  #ruleSet(selection: Selection, queries: readonly FilterConsumer[]): RuleSet {
    return buildRuleSet({
      settings: this.#options.settings,
      metrics: this.#metrics,
      dynamic: this.#dynamic,
      resources: selection.resources,
      queries,
    })
  }

  /** Writes statuses that are not what they were. */
  #tell(outcomes: ReadonlyMap<Entry, Outcome>): void {
    const known = new Set(this.#book.entries)
    for (const entry of this.#statuses.keys()) if (!known.has(entry)) this.#statuses.delete(entry)
    for (const [entry, outcome] of outcomes) {
      if (!known.has(entry)) continue
      const before = this.#statuses.get(entry)
      const status = statusOf(outcome, before, this.#now())
      if (before !== undefined && sameStatus(before, status)) continue
      this.#statuses.set(entry, status)
      entry.source.setStatus(entry.ref, status)
    }
  }
}
