import type { Socket } from 'node:net'
import { type ConnectionInjector, Server, ServerCredentials } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { disposable } from '../base/lifetime.ts'
import { hostPortText, parseHostPort } from '../base/listen-address.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { compileFlowFilters } from '../filters/hubble/index.ts'
import type { FlowStore, TelemetrySink, TelemetrySource } from '../model/contracts.ts'
import { AgentEventRing } from './agent-events.ts'
import { type AgentInfo, agentService } from './agent-service.ts'
import { Calls } from './calls.ts'
import { type FilterInfo, filterService } from './filter-service.ts'
import { PeerService } from './gen/peer/peer.ts'
import { AgentService } from './gen/sluice/v1/agent.ts'
import { FiltersService } from './gen/sluice/v1/filters.ts'
import { type Listener, type ListenSpec, listen } from './listener.ts'
import { LiveQueries, type OnQuery } from './live-queries.ts'
import { type NamespaceSource, Observer } from './observer.ts'
import { type PeerNode, type PeerSource, peerServerName, peerService } from './peer.ts'
import { addReflection } from './reflection.ts'
import { SliceScheduler } from './slices.ts'
import { ReloadingCertificate } from './tls.ts'

/** What the server answers from. */
export interface ApiDeps {
  readonly store: FlowStore
  /** Sluice's version, without a leading v. */
  readonly version: string
  /** What GetNamespaces answers from; without it the list is empty. */
  readonly namespaces?: NamespaceSource
  /** What GetAgentEvents answers from; the wiring feeds it. */
  readonly agentEvents?: AgentEventRing
  /** What sluice.v1.Agent answers from; without it that service says UNIMPLEMENTED. */
  readonly agent?: AgentInfo
  /** What sluice.v1.Filters answers from; without it that service says UNIMPLEMENTED. */
  readonly filters?: FilterInfo
  /** Nodes for Peer.Notify; this node alone unless given. */
  readonly peers?: PeerSource
  /** Told of each client that follows flows, so that filters in the kernel let out what it wants. */
  readonly onQuery?: OnQuery
  readonly log?: Logger
  /** Wall clock, milliseconds. */
  readonly now?: () => number
}

export interface ApiOptions {
  readonly listen: readonly ListenSpec[]
  /** `host:port` that other nodes reach this server at; the first TCP listener unless given, see #reachable(). */
  readonly advertise?: string
  /** Streaming calls at once, all connections together. */
  readonly maxStreams?: number
  /** Connections at once, of each listener. */
  readonly maxConnections?: number
}

/** 64 followers at 0.3 MB each is 20 MB; a node has a relay, a UI and a few people. */
export const DEFAULT_MAX_STREAMS = 64
/** A relay, a UI's backend, health probes and command lines; 256 idle connections cost about 10 MB. */
const DEFAULT_MAX_CONNECTIONS = 256
/** A request is filters and a mask: the largest that a UI sends is below 10 kB. */
const MAX_REQUEST_BYTES = 1024 * 1024
/** Health checks and calls of one connection at once. */
const MAX_CONCURRENT_STREAMS = 100
/** A client that is gone without a word is noticed within 50 s. */
const KEEPALIVE_MS = 30_000
const KEEPALIVE_TIMEOUT_MS = 20_000
/** Service names of the health service: what the hubble command line asks for, what Kubernetes' probes do, and ours. */
const HEALTH_NAMES = [
  '',
  'hubble.server.Observer',
  'observer.Observer',
  'peer.Peer',
  'sluice.v1.Agent',
  'sluice.v1.Filters',
] as const

/**
 * The gRPC server: Hubble's Observer and Peer, health, reflection, sluice.v1.Agent and Filters, on unix sockets and TCP.
 * Sockets are listened to here and handed to grpc-js, which knows neither permissions nor stale sockets nor limits.
 */
export class ApiServer implements AsyncDisposable, TelemetrySource {
  readonly agentEvents: AgentEventRing
  readonly #options: ApiOptions
  readonly #log: Logger
  readonly #store: FlowStore
  readonly #server: Server
  readonly #calls: Calls
  readonly #scheduler = new SliceScheduler()
  readonly #queries: LiveQueries
  readonly #observer: Observer
  readonly #health = new HealthImplementation()
  readonly #listeners: { listener: Listener; injector: ConnectionInjector; isTls: boolean }[] = []
  readonly #certificates: ReloadingCertificate[] = []
  readonly #connections = new Set<Socket>()
  #stopped: Promise<void> | undefined

  constructor(deps: ApiDeps, options: ApiOptions) {
    this.#options = options
    this.#log = deps.log ?? silentLogger
    this.#store = deps.store
    const now = deps.now ?? Date.now
    this.agentEvents = deps.agentEvents ?? new AgentEventRing(deps.store.context.nodeName, { now })
    this.#calls = new Calls({ maxStreams: options.maxStreams ?? DEFAULT_MAX_STREAMS, version: deps.version })
    this.#queries = new LiveQueries(deps.onQuery, this.#log, now)
    this.#observer = new Observer({
      store: deps.store,
      calls: this.#calls,
      scheduler: this.#scheduler,
      namespaces: deps.namespaces ?? { list: () => [] },
      agentEvents: this.agentEvents,
      compileFilters: compileFlowFilters,
      queries: this.#queries,
      version: deps.version,
      self: () => this.#self(),
      now,
      startedMs: now(),
    })
    this.#server = new Server({
      'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
      'grpc.max_concurrent_streams': MAX_CONCURRENT_STREAMS,
      'grpc.keepalive_time_ms': KEEPALIVE_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      'grpc.enable_channelz': 0,
    })
    this.#server.addService(this.#observer.definition, this.#observer.implementation)
    this.#server.addService(PeerService, peerService(this.#calls, deps.peers ?? this.#selfAsPeer()))
    this.#server.addService(AgentService, agentService(this.#calls, deps.agent))
    this.#server.addService(FiltersService, filterService(this.#calls, deps.filters))
    this.#health.addToServer(this.#server)
    addReflection(this.#server)
    this.#setHealth('NOT_SERVING')
  }

  /**
   * Opens every listener, or none.
   * @throws SluiceError SLUICE_API_LISTEN, SLUICE_TLS_FILE
   */
  async start(): Promise<void> {
    try {
      for (const spec of this.#options.listen) await this.#open(spec)
    } catch (error) {
      this.#closeListeners()
      throw error
    }
    this.#setHealth('SERVING')
    this.#log.info({ addresses: this.addresses }, 'serving flows by gRPC')
  }

  async #open(spec: ListenSpec): Promise<void> {
    let credentials = ServerCredentials.createInsecure()
    const tls = spec.kind === 'tcp' ? spec.tls : undefined
    if (tls !== undefined) {
      const certificate = new ReloadingCertificate(tls, this.#log)
      this.#certificates.push(certificate)
      credentials = await certificate.start()
    }
    const injector = this.#server.createConnectionInjector(credentials)
    const listener = await listen(spec, {
      maxConnections: this.#options.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
      onConnection: (socket) => this.#connected(socket, injector),
    })
    this.#listeners.push({ listener, injector, isTls: tls !== undefined })
  }

  #connected(socket: Socket, injector: ConnectionInjector): void {
    this.#connections.add(socket)
    socket.once('close', () => this.#connections.delete(socket))
    injector.injectConnection(socket)
  }

  /** What clients write after --server: `unix:///run/sluice/hubble.sock`, `127.0.0.1:4244`, `tls://...`. */
  get addresses(): string[] {
    return this.#listeners.map(({ listener, isTls }) => (isTls ? `tls://${listener.address}` : listener.address))
  }

  /** This node as a relay reaches it. */
  #self(): PeerNode {
    const tcp = this.#listeners.find(({ listener }) => listener.port !== 0)
    const name = this.#store.context.nodeName
    return {
      name,
      address: this.#options.advertise ?? this.#reachable(tcp?.listener ?? this.#listeners[0]?.listener),
      tlsServerName: tcp?.isTls ? peerServerName(name) : undefined,
    }
  }

  /** The address of a listener, with the node's name where it listens on every address. */
  #reachable(listener: Listener | undefined): string {
    const address = listener?.address ?? ''
    const known = parseHostPort(address)
    if (known === undefined || !['', '0.0.0.0', '::'].includes(known.host)) return address
    const host = this.#store.context.nodeName.split('/').at(-1)!
    return hostPortText({ host, port: known.port })
  }

  #selfAsPeer(): PeerSource {
    return { list: () => [this.#self()], onChange: () => disposable(() => {}) }
  }

  #setHealth(state: 'SERVING' | 'NOT_SERVING'): void {
    for (const name of HEALTH_NAMES) this.#health.setStatus(name, state)
  }

  /**
   * Takes no more calls, ends every stream with UNAVAILABLE, gives answers under way until the deadline, then cuts.
   * Calling it again waits for the first call.
   */
  stop(deadlineMs = 2000): Promise<void> {
    this.#stopped ??= this.#stop(deadlineMs)
    return this.#stopped
  }

  async #stop(deadlineMs: number): Promise<void> {
    this.#setHealth('NOT_SERVING')
    this.#closeListeners()
    this.#calls.stop()
    // Ends each connection when its last call has ended.
    for (const { injector } of this.#listeners) injector.destroy()
    const deadline = performance.now() + deadlineMs
    while (this.#connections.size > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    this.#server.forceShutdown()
    for (const socket of this.#connections) socket.destroy()
  }

  #closeListeners(): void {
    for (const { listener } of this.#listeners) listener.close()
    for (const certificate of this.#certificates) certificate[Symbol.dispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  collect(sink: TelemetrySink): void {
    this.#calls.collect(sink)
    this.#queries.collect(sink)
    const { flowsSent, flowsScanned, flowsLost, lostEventsSent } = this.#observer.counters
    sink.gauge('sluice_api_streams', 'Streaming calls under way', this.#calls.streams)
    sink.gauge('sluice_api_connections', 'Open connections', this.#connections.size)
    sink.counter('sluice_api_flows_sent_total', 'Flows sent to clients of GetFlows', flowsSent)
    sink.counter('sluice_api_flows_scanned_total', 'Flows of the history looked at for GetFlows', flowsScanned)
    sink.counter('sluice_api_flows_lost_total', 'Flows overwritten before a slow client took them', flowsLost)
    sink.counter('sluice_api_lost_events_sent_total', 'LostEvent messages sent to clients', lostEventsSent)
    let refused = 0
    for (const { listener } of this.#listeners) refused += listener.refused()
    sink.counter('sluice_api_connections_refused_total', 'Connections refused because too many were open', refused)
    let reloads = 0
    let failures = 0
    for (const certificate of this.#certificates) {
      reloads += certificate.reloads
      failures += certificate.failures
    }
    sink.counter('sluice_api_tls_reloads_total', 'Server certificates taken into use after a change on disk', reloads)
    sink.counter('sluice_api_tls_reload_failures_total', 'Changed certificates on disk that were not usable', failures)
    sink.gauge(
      'sluice_api_longest_turn_seconds',
      'Longest hold of the event loop by streams',
      this.#scheduler.longestTurnMs / 1000,
    )
  }
}
