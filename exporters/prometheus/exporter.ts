import { type Counter, type Histogram, Registry } from 'prom-client'
import { errorText, SluiceError } from '../../base/errors.ts'
import { type HostPort, parseHostPort, WANT_HOST_PORT } from '../../base/listen-address.ts'
import { type Logger, LogLimiter } from '../../base/logger.ts'
import type { FlowPredicate } from '../../filters/predicate.ts'
import type { ConsumerOffer, RuleSet } from '../../filters/rules.ts'
import type { EndpointEvent, Exporter, FlowStore, TelemetrySink, TelemetrySource } from '../../model/contracts.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { StageLedger } from '../../model/ledger.ts'
import { DEFAULT_ADDRESS, DEFAULT_METRICS, type PrometheusConfig, type PrometheusDependencies } from './config.ts'
import { type MetricConfig, type MetricSpec, metricSpecs, parseMetrics } from './context/options.ts'
import { countSeries, type SeriesCount } from './count-series.ts'
import { EventCounts } from './event-counts.ts'
import { MetricsServer } from './http/server.ts'
import { type MetricChanges, MetricSet, type MetricSetOptions } from './metric-set.ts'
import { registerOwn } from './own-metrics.ts'
import type { MetricsRegistry } from './registry-text.ts'
import type { ScrapeText } from './render.ts'
import { joined, ScrapeQueue } from './scrape.ts'
import type { Format } from './series/text.ts'
import { SeriesReview } from './series-review.ts'
import { StalePods } from './stale-pods.ts'
import { collectReview, collectSeries } from './telemetry.ts'

/** How often pods that are due are looked for. */
const STALE_TICK_MS = 1_000
/** Half of how long a series may be hidden by filters until it is freed. */
const AGE_INTERVAL_MS = 150_000

/**
 * Counts flows into Hubble's metric families and serves them, with the agent's own metrics, on /metrics. Keeps no
 * flow: what is accepted is counted at once, so `settled` is the end of the last block.
 */
export class PrometheusExporter implements Exporter, TelemetrySource {
  readonly name = 'prometheus'
  readonly ledger = new StageLedger('prometheus')
  /** prom-client's registry: the agent's process metrics, and whatever else registers here. */
  readonly registry: MetricsRegistry = new Registry()
  settled = 0
  readonly metrics: MetricSet
  readonly #server: MetricsServer
  readonly #scrapes: ScrapeQueue
  readonly #stale: StalePods
  readonly #logger: Logger
  readonly #limiter = new LogLimiter()
  readonly #now: () => number
  readonly #bounds: Pick<MetricSetOptions, 'maxSeries' | 'maxSeriesPerFamily'>
  readonly #review: SeriesReview | undefined
  readonly #counts = new EventCounts()
  readonly #defaults: readonly [Counter<'code'>, Histogram<'code'>]
  #store: FlowStore | undefined
  #view: FlowView | undefined
  #lostSubscription: Disposable | undefined
  #timer: NodeJS.Timeout | undefined
  #removedSeries = 0
  #agedMs = 0
  #renderMs = 0
  #renderBytes = 0

  /** @throws SluiceError SLUICE_CONFIG_INVALID naming the key, its value and what is wanted */
  constructor(config: PrometheusConfig, dependencies: PrometheusDependencies) {
    const { logger, judge, telemetry = [], ledgers = [], refreshing = [] } = dependencies
    this.#logger = logger
    this.#now = dependencies.now ?? Date.now
    this.#stale = new StalePods(config.staleDelayMs)
    const { maxSeries, maxSeriesPerFamily } = config
    this.#bounds = {
      ...(maxSeries === undefined ? {} : { maxSeries }),
      ...(maxSeriesPerFamily === undefined ? {} : { maxSeriesPerFamily }),
    }
    this.metrics = new MetricSet(specsOf(config.metrics ?? DEFAULT_METRICS.join(' ')), {
      ...this.#bounds,
      judge,
      onSeries: (family, slot) => this.#stale.onSeries(family, slot, this.#now()),
    })
    if (judge !== undefined) {
      this.#review = new SeriesReview({
        metrics: this.metrics,
        judge,
        store: () => this.#store,
        now: this.#now,
        onFailure: (error) => this.#countFailed(error),
      })
    }
    this.#defaults = registerOwn(this.registry)
    this.#scrapes = new ScrapeQueue({
      families: () => this.metrics.families,
      registry: this.registry,
      telemetry: joined<TelemetrySource>([this], telemetry),
      refreshing,
      ledgers: joined([this.ledger], ledgers),
      onRendered: (milliseconds, bytes) => {
        this.#renderMs = milliseconds
        this.#renderBytes = bytes
      },
      onFailure: (error) =>
        this.#limiter.run('collect', (held) => {
          logger.warn({ error: errorText(error), held }, 'A component failed to tell its metrics')
        }),
    })
    this.#server = new MetricsServer({
      address: listenAddress(config.address ?? DEFAULT_ADDRESS),
      logger,
      tls: config.tls,
      openMetrics: config.openMetrics !== false,
      ...(config.maxScrapes === undefined ? {} : { maxScrapes: config.maxScrapes }),
      ...(config.timeoutMs === undefined ? {} : { timeoutMs: config.timeoutMs }),
      render: (format) => this.render(format),
      onAnswer: (code, seconds) => {
        this.#defaults[0].inc({ code: String(code) })
        this.#defaults[1].observe({ code: String(code) }, seconds)
      },
    })
  }

  /** Where metrics are served; undefined before start. */
  get url(): string | undefined {
    return this.#server.url
  }

  get trouble(): string | undefined {
    return this.#server.isWaiting ? 'no certificate yet' : undefined
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#server.start(signal)
    this.#timer = setInterval(() => this.removeStale(), STALE_TICK_MS)
    this.#timer.unref()
  }

  /** Follows the store's losses. accept() does it with the first block; earlier means no loss goes unseen. */
  attach(store: FlowStore): void {
    if (this.#store === store) return
    this.#lostSubscription?.[Symbol.dispose]()
    this.#store = store
    this.#view = store.createView()
    this.#lostSubscription = store.onLost((lost) => this.#counts.countLost(lost))
  }

  accept(store: FlowStore, first: number, end: number): void {
    this.attach(store)
    const view = this.#view!
    let filtered = 0
    let failed = 0
    if (end > first) {
      store.seek(view, first)
      this.metrics.beginBlock(view)
    }
    for (let sequence = first; sequence < end; sequence++) {
      store.seek(view, sequence)
      try {
        this.#counts.count(view)
        if (!this.metrics.count(view)) filtered++
      } catch (error) {
        failed++
        this.#countFailed(error)
      }
    }
    const count = end - first
    this.ledger.accepted += count
    this.ledger.filtered += filtered
    this.ledger.delivered += count - filtered - failed
    if (failed > 0) this.ledger.lose('handler_error', failed)
    this.settled = end
    this.metrics.maintain(this.#now())
  }

  /** A pod came or went; the series of one that went go a minute later. */
  onEndpoint(event: EndpointEvent): void {
    this.#stale.onEvent(event, this.#now())
  }

  /** Removes the series of pods that are due. Called every second; public for tests. */
  removeStale(): void {
    const due = this.#stale.takeDue(this.metrics.values, this.#now())
    if (due !== undefined) this.#removedSeries += this.metrics.removePods(due)
    if (this.#review === undefined || this.#now() - this.#agedMs < AGE_INTERVAL_MS) return
    this.#agedMs = this.#now()
    void this.#review.age()
  }

  /** What each enabled metric can use, for whoever makes the rules. Changes with reconfigure(). */
  consumers(): ConsumerOffer[] {
    return this.metrics.consumers()
  }

  /**
   * Call when rules came into force, after the judge has them: series that no rule wants any more leave the scrape
   * within two seconds, whatever else is counted goes on.
   */
  filtersChanged(rules: RuleSet): void {
    this.#review?.change(rules)
  }

  /** Ends when the series shown are those that the rules of the last filtersChanged() want. */
  async filtersSettled(): Promise<void> {
    await this.#review?.settled()
  }

  /**
   * Enables other metrics while the agent runs: as MetricSet.reconfigure(). The rules' maker must be told of consumers().
   *
   * @throws SluiceError SLUICE_CONFIG_INVALID; the metrics of before stay in force
   */
  reconfigure(metrics: string | readonly MetricConfig[]): MetricChanges {
    const changes = this.metrics.reconfigure(specsOf(metrics))
    this.#review?.adopt()
    return changes
  }

  /**
   * What a metric in force would take of a scrape if it counted flows of the history: as countSeries().
   *
   * @param consumer `metric/flow`; one that is not enabled takes nothing
   */
  async countSeries(
    consumer: string,
    { store, first, end }: { readonly store: FlowStore; readonly first: number; readonly end: number },
    wants: FlowPredicate,
    signal?: AbortSignal,
  ): Promise<SeriesCount> {
    const specs = this.metrics.metrics.map(({ spec }) => spec).filter(({ name }) => consumer === `metric/${name}`)
    return await countSeries(store, first, end, specs, wants, { ...this.#bounds, signal })
  }

  /** What is not counted at present, for `sluice status`; undefined when every metric is. */
  get state(): string | undefined {
    const off = this.#review?.off ?? []
    return off.length === 0 ? undefined : `off by filters: ${off.join(', ')}`
  }

  /** Renders a scrape. @returns text that the caller releases */
  async render(format: Format): Promise<ScrapeText> {
    return await this.#scrapes.render(format)
  }

  async flush(): Promise<void> {}

  collect(sink: TelemetrySink): void {
    this.#counts.collect(sink)
    collectSeries(this.metrics, sink)
    collectReview(this.#review, sink)
    sink.counter('sluice_metrics_series_removed_total', 'Label sets removed after their pod', this.#removedSeries)
    sink.counter(
      'sluice_metrics_pods_forgotten_total',
      'Pods whose series stay: too many went at a time',
      this.#stale.forgotten,
    )
    sink.gauge('sluice_metrics_render_seconds', 'Duration of the last rendering', this.#renderMs / 1000)
    sink.gauge('sluice_metrics_render_bytes', 'Size of the last rendering before compression', this.#renderBytes)
    sink.counter('sluice_metrics_scrapes_refused_total', 'Scrapes answered 503', this.#server.refused)
    const help = 'Connections closed at once because too many were open'
    sink.counter('sluice_metrics_connections_refused_total', help, this.#server.dropped)
    sink.counter('sluice_metrics_scrapes_cut_total', 'Scrapes that the client did not take', this.#server.cut)
    sink.gauge('sluice_metrics_samples_rejected', 'Samples left out of the last scrape', this.#scrapes.rejected)
    sink.counter(
      'sluice_metrics_source_failures_total',
      'Times a component failed to tell its metrics',
      this.#scrapes.failures,
    )
    const { certificates } = this.#server
    if (certificates === undefined) return
    sink.counter('sluice_metrics_tls_reloads_total', 'Certificates replaced', certificates.reloads)
    sink.counter('sluice_metrics_tls_failures_total', 'Reads of certificates that failed', certificates.failures)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    this.#lostSubscription?.[Symbol.dispose]()
    this.registry.clear()
    await this.#server[Symbol.asyncDispose]()
  }

  #countFailed(error: unknown): void {
    this.#limiter.run('count', (held) => {
      this.#logger.error({ error: errorText(error), held }, 'Cannot count a flow')
    })
  }
}

function specsOf(metrics: string | readonly MetricConfig[]): MetricSpec[] {
  return typeof metrics === 'string' ? parseMetrics(metrics) : metricSpecs(metrics)
}

function listenAddress(text: string): HostPort {
  const address = parseHostPort(text)
  if (address === undefined) {
    throw new SluiceError('SLUICE_CONFIG_INVALID', `Cannot serve metrics on "${text}": ${WANT_HOST_PORT}`)
  }
  return address
}
