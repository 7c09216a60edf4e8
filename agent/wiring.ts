import { AgentEventRing } from '../api/agent-events.ts'
import { ClusterPeers } from '../api/cluster-peers.ts'
import { type ListenSpec, listenSpec } from '../api/listener.ts'
import { ApiServer } from '../api/server.ts'
import type { TlsFiles } from '../base/certificate-files.ts'
import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { RecordClock } from '../collector/clock.ts'
import { KubernetesMetadata } from '../collector/metadata/kubernetes.ts'
import { StaticMetadata } from '../collector/metadata/static.ts'
import { Collector } from '../collector/pipeline.ts'
import type { RecordSource } from '../collector/stamp.ts'
import { CollectorState } from '../collector/state.ts'
import { JsonLogExporter, resolveJsonLogOptions } from '../exporters/json-log/index.ts'
import { NodeFamilies, PrometheusExporter, type RefreshingSource } from '../exporters/prometheus/index.ts'
import { Judge } from '../filters/judge.ts'
import { filterTelemetry } from '../filters/telemetry.ts'
import type { Exporter, MetadataSource, TelemetrySource } from '../model/contracts.ts'
import { bootToWallOffset } from '../native/index.ts'
import { agentInfo, type PartStatus } from './agent-info.ts'
import { type Config, nodeNameOf } from './config.ts'
import { durationMs, sizeBytes } from './config-values.ts'
import { FilterPart, logMode } from './filter-part.ts'
import { type Check, HealthServer } from './health.ts'
import { KernelPart, kernelNames } from './kernel-part.ts'
import { KubernetesPart } from './kubernetes-part.ts'
import { ledgerReport } from './ledger.ts'
import { KernelNodeCounters, procNetOf } from './node-counters.ts'
import { startTelemetry } from './telemetry.ts'
import { uuidSeed } from './uuid-seed.ts'
import { sluiceVersion } from './version.ts'

/** How long exporters and streams get to finish when the agent stops. */
const STOP_DEADLINE_MS = 5000
/** The drain runs every 10 ms; an event loop that is held this long is not alive. */
const STALLED_MS = 10_000

/** A record of 128 bytes and its header in the ring. */
const RING_RECORD_BYTES = 136

/** Where flows come from: the kernel, or records that were brought along (a replay). */
export type FlowSource =
  | { readonly kind: 'kernel' }
  | { readonly kind: 'replay'; make(state: CollectorState): RecordSource }

/**
 * Every part of one agent, made from the configuration and connected; each is set once. Parts are started in the
 * direction of the flows' consumers first, so that the first record finds everything in place, and stopped the other way.
 */
export class Agent implements AsyncDisposable {
  readonly config: Config
  readonly nodeName: string
  readonly state: CollectorState
  readonly kernel: KernelPart | undefined
  readonly collector: Collector
  readonly log: Logger
  readonly jsonLog: JsonLogExporter | undefined
  readonly prometheus: PrometheusExporter | undefined
  readonly filters: FilterPart
  readonly api: ApiServer
  readonly health: HealthServer
  readonly #kubernetes: KubernetesPart | undefined
  readonly #metadata: MetadataSource[] = []
  readonly #judge: Judge
  readonly #agentEvents: AgentEventRing
  readonly #startedMs = Date.now()
  readonly #stop = new AbortController()
  #telemetry: AsyncDisposable | undefined
  #stopped: Promise<void> | undefined
  #ready = false

  /** @throws SluiceError when the configuration cannot work here */
  static async make(config: Config, log: Logger, source: FlowSource = { kind: 'kernel' }): Promise<Agent> {
    // Flows of a file bring their names along.
    const kubernetes = source.kind === 'kernel' ? await KubernetesPart.make(config, nodeNameOf(config), log) : undefined
    return new Agent(config, log, source, kubernetes)
  }

  private constructor(config: Config, log: Logger, source: FlowSource, kubernetes: KubernetesPart | undefined) {
    this.config = config
    this.log = log
    this.nodeName = nodeNameOf(config)
    this.#kubernetes = kubernetes
    const version = sluiceVersion()
    this.kernel = source.kind === 'kernel' ? new KernelPart(config, log) : undefined
    this.state = new CollectorState({
      nodeName: this.nodeName,
      clusterName: config.node.clusterName,
      uuidSeed: uuidSeed(this.nodeName),
      ...(this.kernel ? { kernel: kernelNames(this.kernel) } : {}),
      history: { capacity: config.history.flows, l7Bytes: sizeBytes(String(config.history.l7Size))! },
    })
    this.#agentEvents = new AgentEventRing(this.state.nodeName)
    this.#judge = new Judge({ historyEnd: () => this.state.history.end })
    const mode = logMode(config, kubernetes !== undefined)
    if (mode !== 'off') this.jsonLog = makeJsonLog(config, log, version, this.#judge, mode === 'static')
    this.prometheus = config.metrics.enabled ? this.#makePrometheus() : undefined
    const exporters: Exporter[] = [this.jsonLog, this.prometheus].filter((one) => one !== undefined)
    this.collector = new Collector({
      state: this.state,
      // Replayed records carry wall times: no offset is asked for, so a replay runs where the addon cannot be built.
      clock: new RecordClock({ readOffset: this.kernel ? () => bootToWallOffset().offsetNs : () => 0n }),
      sources: [
        this.kernel
          ? { name: 'kernel', reader: this.kernel.datapath.ring }
          : (source as { make(s: CollectorState): RecordSource }).make(this.state),
      ],
      exporters,
      ...(this.kernel ? { kernel: this.kernel } : {}),
      redact: config.redact,
      log: log.child({ part: 'collector' }),
    })
    if (config.metadata.file !== undefined) {
      this.#metadata.push(new StaticMetadata({ path: config.metadata.file, log: log.child({ part: 'metadata' }) }))
    }
    if (kubernetes) this.#metadata.push(kubernetes.metadata)
    this.filters = new FilterPart({
      ...{ config, log, kubernetes, kernel: this.kernel, state: this.state, judge: this.#judge },
      ...{ prometheus: this.prometheus, jsonLog: this.jsonLog },
    })
    this.state.endpoints.onEvent((event) => {
      this.#agentEvents.endpoint(event)
      this.prometheus?.onEndpoint(event)
    })
    this.api = new ApiServer(
      {
        store: this.state.history,
        version,
        agentEvents: this.#agentEvents,
        namespaces: this.state.namespaces,
        ...(kubernetes ? this.#peers() : {}),
        filters: this.filters.info,
        onQuery: this.filters.onQuery,
        log: log.child({ part: 'api' }),
        agent: agentInfo({
          nodeName: this.state.nodeName,
          version,
          startedMs: this.#startedMs,
          uptimeMs: () => this.collector.uptimeMs,
          parts: () => this.status(),
          ledger: () => this.ledger(),
        }),
      },
      {
        listen: listenSpecs(config),
        maxStreams: config.api.maxStreams,
        ...(config.api.advertise === undefined ? {} : { advertise: config.api.advertise }),
      },
    )
    this.health = new HealthServer({
      listen: config.health.listen,
      live: () => [this.#liveness()],
      ready: () => this.#readiness(),
    })
  }

  /** @throws SluiceError of the first part that cannot start; the others are stopped again */
  async start(): Promise<void> {
    try {
      const { signal } = this.#stop
      for (const source of this.#metadata) await source.start(this.state, signal)
      await this.jsonLog?.start(signal)
      await this.prometheus?.start(signal)
      this.prometheus?.attach(this.state.history)
      await this.filters.start(signal)
      this.#kubernetes?.start()
      await this.health.start()
      await this.api.start()
      const attached = this.kernel?.start(this.state)
      this.collector.start()
      await attached
      await this.#startTelemetry()
      this.#agentEvents.agentStarted()
      this.#ready = true
      this.log.info({ node: this.state.nodeName, ...this.addresses }, 'agent is running')
    } catch (error) {
      await this[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Where a user finds things. */
  get addresses(): { log?: string; metrics?: string; grpc: string[]; health: string } {
    return {
      ...(this.jsonLog ? { log: this.config.log.path } : {}),
      ...(this.prometheus?.url === undefined ? {} : { metrics: this.prometheus.url }),
      grpc: this.api.addresses,
      health: this.health.address,
    }
  }

  async ledger() {
    const reading = await this.kernel?.reading(() => this.collector.decodeLedger.accepted)
    return ledgerReport(reading, this.collector.ledger())
  }

  /** How each part is, for `sluice status`. */
  status(): PartStatus[] {
    const { history } = this.state
    return [
      this.kernel?.status() ?? { name: 'kernel', state: 'off', message: 'replaying a file', details: {} },
      {
        name: 'history',
        state: 'ok',
        message: '',
        details: { flows: history.end - history.first, flows_max: history.capacity, flows_seen: history.end },
      },
      ...this.#metadata.map((source) => metadataStatus(source, this.state.endpoints.podCount)),
      this.filters.status(),
      exporterStatus('json-log', this.jsonLog, this.config.log.path, this.jsonLog?.state),
      exporterStatus('prometheus', this.prometheus, this.prometheus?.url ?? '', this.prometheus?.state),
      { name: 'api', state: 'ok', message: '', details: { addresses: this.api.addresses.join(' ') } },
    ]
  }

  /** Stops in two steps: everything accepted is delivered as far as the deadline allows, then all is let go. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#stopped ??= this.#shutDown()
    return this.#stopped
  }

  async #shutDown(): Promise<void> {
    this.#ready = false
    await this.collector.stop(STOP_DEADLINE_MS)
    this.#stop.abort()
    const parts: (AsyncDisposable | undefined)[] = [
      this.api,
      this.filters,
      ...this.#metadata,
      this.#kubernetes,
      this.health,
      this.prometheus,
      this.jsonLog,
      this.#telemetry,
      this.kernel,
    ]
    for (const part of parts) {
      try {
        await part?.[Symbol.asyncDispose]()
      } catch (error) {
        this.log.error({ err: errorText(error) }, 'a part did not stop cleanly')
      }
    }
  }

  /** Every node of the cluster has an agent: a relay that asks one of them is told of all. */
  #peers(): { peers?: ClusterPeers } {
    const { listen, advertise, tls } = this.config.api
    const port = listen.map(listenSpec).find((spec) => spec.kind === 'tcp')?.port
    if (port === undefined) return {}
    const { cluster } = this.state.endpoints
    const options = { ownName: this.state.nodeName, advertise, port, isTls: tls !== undefined }
    return { peers: new ClusterPeers({ ...options, nodes: () => cluster.nodes() }) }
  }

  #makePrometheus(): PrometheusExporter {
    const { metrics } = this.config
    return new PrometheusExporter(
      {
        address: metrics.listen,
        metrics: metrics.handlers.join(' '),
        maxSeries: metrics.maxSeries,
        openMetrics: metrics.openMetrics,
        tls: tlsFiles(metrics.tls),
      },
      {
        logger: this.log.child({ part: 'prometheus' }),
        telemetry: { [Symbol.iterator]: () => this.#telemetrySources()[Symbol.iterator]() },
        ledgers: { [Symbol.iterator]: () => this.#stages()[Symbol.iterator]() },
        refreshing: this.#nodeFamilies(),
        judge: this.#judge,
      },
    )
  }

  #nodeFamilies(): RefreshingSource[] {
    if (!this.kernel) return []
    const { netns } = this.config.node
    // Of another namespace than our own only what its processes' /proc shows; without one its sockets are not told.
    const procNet = netns === undefined ? undefined : (procNetOf(netns) ?? '/nonexistent')
    return [
      new NodeFamilies({
        counters: new KernelNodeCounters(this.kernel, this.state),
        logger: this.log.child({ part: 'prometheus' }),
        version: sluiceVersion(),
        ...(procNet === undefined ? {} : { procNet }),
      }),
    ]
  }

  #telemetrySources(): TelemetrySource[] {
    const metadata = this.#metadata.filter((source) => source instanceof StaticMetadata)
    const parts = [this.collector, this.kernel, this.jsonLog, this.api, filterTelemetry]
    const kubernetes = this.#kubernetes?.telemetry() ?? []
    return [...parts.filter((one) => one !== undefined), ...this.filters.telemetry(), ...kubernetes, ...metadata]
  }

  #stages() {
    const { decodeLedger, historyLedger } = this.collector
    return [this.kernel?.stage(), decodeLedger, historyLedger, this.jsonLog?.ledger].filter((one) => one !== undefined)
  }

  async #startTelemetry(): Promise<void> {
    const { otlpEndpoint, interval } = this.config.telemetry
    if (otlpEndpoint === undefined) return
    this.#telemetry = await startTelemetry({
      endpoint: otlpEndpoint,
      intervalMs: durationMs(interval)!,
      nodeName: this.nodeName,
      version: sluiceVersion(),
      sources: () => this.#telemetrySources(),
    })
  }

  #liveness(): Check {
    const ms = this.collector.sinceLastTurnMs
    return { name: 'drain', ok: !this.#ready || ms < STALLED_MS, detail: `last turn ${Math.round(ms)} ms ago` }
  }

  #readiness(): Check[] {
    return [
      { name: 'started', ok: this.#ready, detail: '' },
      ...this.status().map(({ name, state, message }) => ({ name, ok: state !== 'failed', detail: message })),
    ]
  }
}

/** @param isOn whether there is a log before the first filters are in force */
function makeJsonLog(config: Config, log: Logger, version: string, judge: Judge, isOn: boolean): JsonLogExporter {
  const options = resolveJsonLogOptions({
    path: config.log.path,
    maxFileBytes: sizeBytes(String(config.log.maxSize))!,
    maxBackups: config.log.maxBackups,
    compress: config.log.compress,
    fileMode: Number.parseInt(config.log.fileMode, 8),
    fieldMask: config.log.fieldMask,
    // Half of the ring may wait for a stalled disk; the other half is for what comes meanwhile.
    maxHeldFlows: Math.max(1, Math.floor(sizeBytes(String(config.kernel.ringSize))! / 2 / RING_RECORD_BYTES)),
  })
  return new JsonLogExporter(options, { logger: log, emitter: { name: 'Sluice', version }, judge, isOn })
}

function listenSpecs(config: Config): ListenSpec[] {
  const { listen, tls, socketMode } = config.api
  return listen.map((text) => {
    const spec = listenSpec(text)
    if (spec.kind === 'unix') return { ...spec, mode: Number.parseInt(socketMode, 8) }
    return { ...spec, tls: tlsFiles(tls) }
  })
}

/** Whoever names a CA for clients wants nobody else. */
function tlsFiles(tls: Config['metrics']['tls']): TlsFiles | undefined {
  if (tls === undefined) return undefined
  const { certFile, keyFile, clientCaFile: caFile } = tls
  return { certFile, keyFile, caFile, requireClientCert: caFile !== undefined }
}

function metadataStatus(source: MetadataSource, pods: number): PartStatus {
  const error = source instanceof StaticMetadata || source instanceof KubernetesMetadata ? source.lastError : ''
  const details = source instanceof KubernetesMetadata ? source.details() : { pods }
  return { name: `metadata/${source.name}`, state: error === '' ? 'ok' : 'degraded', message: error, details }
}

/** @param note what it does not do at present because filters say so */
function exporterStatus(name: string, exporter: Exporter | undefined, target: string, note = ''): PartStatus {
  if (!exporter) return { name: `exporter/${name}`, state: 'off', message: 'switched off', details: {} }
  const { delivered, waiting, lost, lostByReason } = exporter.ledger
  const problems: string[] = note === '' ? [] : [note]
  const { trouble } = exporter
  if (trouble !== undefined) problems.push(`does not deliver at present (${trouble}): ${waiting} flows wait`)
  if (lost > 0)
    problems.push(`${lost} flows lost: ${[...lostByReason].map(([reason, n]) => `${reason} ${n}`).join(', ')}`)
  return {
    name: `exporter/${name}`,
    // What was lost once is past; what does not work now keeps the agent from being ready.
    state: trouble !== undefined ? 'failed' : lost > 0 ? 'degraded' : 'ok',
    message: problems.join('; '),
    details: { target, delivered, waiting, lost },
  }
}
