import { type Attributes, metrics, type ObservableCounter, type ObservableGauge } from '@opentelemetry/api'
import type { TelemetrySink, TelemetrySource } from '../model/contracts.ts'

interface Sample {
  readonly value: number
  readonly labels: Attributes
}

interface Family {
  readonly kind: 'counter' | 'gauge'
  readonly help: string
  readonly samples: Sample[]
}

/** Keeps what sources tell, by name, for one collection. */
class Collection implements TelemetrySink {
  readonly families = new Map<string, Family>()

  counter(name: string, help: string, value: number, labels: Readonly<Record<string, string>> = {}): void {
    this.#add('counter', name, help, value, labels)
  }

  gauge(name: string, help: string, value: number, labels: Readonly<Record<string, string>> = {}): void {
    this.#add('gauge', name, help, value, labels)
  }

  #add(
    kind: Family['kind'],
    name: string,
    help: string,
    value: number,
    labels: Readonly<Record<string, string>>,
  ): void {
    let family = this.families.get(name)
    if (!family) {
      family = { kind, help, samples: [] }
      this.families.set(name, family)
    }
    family.samples.push({ value, labels })
  }
}

/**
 * The agent's own traces and metrics by OTLP, through the OpenTelemetry SDK; loaded only when switched on, since the
 * SDK costs tens of megabytes. Flows never go this way: a batch processor drops in silence when its queue is full.
 *
 * @returns stops it, after a last export
 */
export async function startTelemetry(options: {
  endpoint: string
  intervalMs: number
  nodeName: string
  version: string
  sources: () => readonly TelemetrySource[]
}): Promise<AsyncDisposable> {
  const [{ NodeSDK, metrics: sdkMetrics, resources }, { OTLPTraceExporter }, { OTLPMetricExporter }] =
    await Promise.all([
      import('@opentelemetry/sdk-node'),
      import('@opentelemetry/exporter-trace-otlp-proto'),
      import('@opentelemetry/exporter-metrics-otlp-proto'),
    ])
  const base = options.endpoint.replace(/\/$/, '')
  const sdk = new NodeSDK({
    resource: resources.resourceFromAttributes({
      'service.name': 'sluice',
      'service.version': options.version,
      'k8s.node.name': options.nodeName,
    }),
    autoDetectResources: false,
    instrumentations: [],
    traceExporter: new OTLPTraceExporter({ url: `${base}/v1/traces` }),
    metricReaders: [
      new sdkMetrics.PeriodicExportingMetricReader({
        exporter: new OTLPMetricExporter({ url: `${base}/v1/metrics` }),
        exportIntervalMillis: options.intervalMs,
        exportTimeoutMillis: Math.min(options.intervalMs, 10_000),
      }),
    ],
  })
  sdk.start()
  observe(options.sources)
  return { [Symbol.asyncDispose]: () => sdk.shutdown() }
}

/** Callbacks of one collection come within this time of each other, milliseconds; collections are a second apart. */
const ONE_COLLECTION_MS = 500

/** Instruments are made as names appear; the first callback of a collection asks the sources, the others report. */
function observe(sources: () => readonly TelemetrySource[]): void {
  const meter = metrics.getMeter('sluice')
  const instruments = new Map<string, ObservableCounter | ObservableGauge>()
  let current = new Collection()
  let readMs = Number.NEGATIVE_INFINITY
  const refresh = (): void => {
    current = new Collection()
    readMs = performance.now()
    for (const source of sources()) source.collect(current)
    for (const [name, family] of current.families) {
      if (instruments.has(name)) continue
      const options = { description: family.help }
      const made =
        family.kind === 'counter'
          ? meter.createObservableCounter(name, options)
          : meter.createObservableGauge(name, options)
      made.addCallback((result) => {
        if (performance.now() - readMs > ONE_COLLECTION_MS) refresh()
        for (const sample of current.families.get(name)?.samples ?? []) result.observe(sample.value, sample.labels)
      })
      instruments.set(name, made)
    }
  }
  refresh()
}
