import { type CallOptions, type ClientReadableStream, type Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { SluiceError } from '../base/errors.ts'
import { type ClientOptions, type ClientTarget, clientTarget } from './client-target.ts'
import { FLOW_EXTENSIONS_TYPE } from './flow-extensions.ts'
import type { Flow } from './gen/flow/flow.ts'
import {
  GetAgentEventsRequest,
  type GetAgentEventsResponse,
  GetDebugEventsRequest,
  type GetDebugEventsResponse,
  GetFlowsRequest,
  type GetFlowsResponse,
  type GetNamespacesResponse,
  type GetNodesResponse,
  ObserverClient as ObserverStub,
  type ServerStatusResponse,
} from './gen/observer/observer.ts'
import { type ChangeNotification, PeerClient as PeerStub } from './gen/peer/peer.ts'
import {
  AgentClient as AgentStub,
  FlowExtensions,
  type GetLedgerResponse,
  type GetStatusResponse,
} from './gen/sluice/v1/agent.ts'
import {
  ExplainFiltersRequest,
  type ExplainFiltersResponse,
  FiltersClient as FiltersStub,
  type ListFiltersResponse,
} from './gen/sluice/v1/filters.ts'
import { type HealthState, healthMethod } from './health.ts'

export type { ClientOptions } from './client-target.ts'
export type { HealthState } from './health.ts'

/** A request with any of its fields left out. */
export type FlowsRequest = Parameters<typeof GetFlowsRequest.fromPartial>[0]
export type AgentEventsRequest = Parameters<typeof GetAgentEventsRequest.fromPartial>[0]
export type DebugEventsRequest = Parameters<typeof GetDebugEventsRequest.fromPartial>[0]
export type ExplainRequest = Parameters<typeof ExplainFiltersRequest.fromPartial>[0]

export interface StreamOptions {
  /** Ends the stream; the iteration then ends without an error. */
  readonly signal?: AbortSignal | undefined
}

const CONNECT_TIMEOUT_MS = 5000
const REQUEST_TIMEOUT_MS = 12_000

type Answer<T> = (error: ServiceError | null, response: T) => void
type UnaryCall<T> = (metadata: Metadata, options: Partial<CallOptions>, answer: Answer<T>) => unknown

/**
 * A client of any Hubble server, Sluice's, Cilium's or a relay. Connects at the first call. Every failure is a
 * SluiceError: SLUICE_RPC with the server's words, SLUICE_USAGE, SLUICE_TLS_FILE.
 */
export class ObserverClient implements Disposable {
  readonly #options: ClientOptions
  readonly #target: ClientTarget
  readonly #stub: ObserverStub
  readonly #agent: AgentStub
  readonly #filters: FiltersStub
  readonly #peer: PeerStub

  private constructor(options: ClientOptions, target: ClientTarget) {
    this.#options = options
    this.#target = target
    this.#stub = new ObserverStub(target.target, target.credentials, target.channelOptions)
    // One connection for all services.
    const shared = { ...target.channelOptions, channelOverride: this.#stub.getChannel() }
    this.#agent = new AgentStub(target.target, target.credentials, shared)
    this.#filters = new FiltersStub(target.target, target.credentials, shared)
    this.#peer = new PeerStub(target.target, target.credentials, shared)
  }

  /** Reads certificates; does not connect yet. */
  static async create(options: ClientOptions): Promise<ObserverClient> {
    return new ObserverClient(options, await clientTarget(options))
  }

  getFlows(request: FlowsRequest, options: StreamOptions = {}): AsyncIterable<GetFlowsResponse> {
    const message = GetFlowsRequest.fromPartial(request)
    return this.#stream((metadata) => this.#stub.getFlows(message, metadata), options)
  }

  getAgentEvents(request: AgentEventsRequest, options: StreamOptions = {}): AsyncIterable<GetAgentEventsResponse> {
    const message = GetAgentEventsRequest.fromPartial(request)
    return this.#stream((metadata) => this.#stub.getAgentEvents(message, metadata), options)
  }

  getDebugEvents(request: DebugEventsRequest, options: StreamOptions = {}): AsyncIterable<GetDebugEventsResponse> {
    const message = GetDebugEventsRequest.fromPartial(request)
    return this.#stream((metadata) => this.#stub.getDebugEvents(message, metadata), options)
  }

  /** Nodes as a relay hears of them; ends only by the signal. */
  watchPeers(options: StreamOptions = {}): AsyncIterable<ChangeNotification> {
    return this.#stream((metadata) => this.#peer.notify({}, metadata), options)
  }

  serverStatus(): Promise<ServerStatusResponse> {
    return this.#unary((metadata, options, answer) => this.#stub.serverStatus({}, metadata, options, answer))
  }

  getNodes(): Promise<GetNodesResponse> {
    return this.#unary((metadata, options, answer) => this.#stub.getNodes({}, metadata, options, answer))
  }

  getNamespaces(): Promise<GetNamespacesResponse> {
    return this.#unary((metadata, options, answer) => this.#stub.getNamespaces({}, metadata, options, answer))
  }

  /** sluice.v1.Agent/GetStatus: only Sluice answers. */
  agentStatus(): Promise<GetStatusResponse> {
    return this.#unary((metadata, options, answer) => this.#agent.getStatus({}, metadata, options, answer))
  }

  /** sluice.v1.Agent/GetLedger: only Sluice answers. */
  ledger(): Promise<GetLedgerResponse> {
    return this.#unary((metadata, options, answer) => this.#agent.getLedger({}, metadata, options, answer))
  }

  /** sluice.v1.Filters/ListFilters: only Sluice answers. */
  listFilters(): Promise<ListFiltersResponse> {
    return this.#unary((metadata, options, answer) => this.#filters.listFilters({}, metadata, options, answer))
  }

  /** sluice.v1.Filters/ExplainFilters: news of the progress, then the result; only Sluice answers. */
  explainFilters(request: ExplainRequest, options: StreamOptions = {}): AsyncIterable<ExplainFiltersResponse> {
    const message = ExplainFiltersRequest.fromPartial(request)
    return this.#stream((metadata) => this.#filters.explainFilters(message, metadata), options)
  }

  /** grpc.health.v1, of the service that the hubble command line asks for. */
  health(service = 'hubble.server.Observer'): Promise<HealthState> {
    const { path, serialize, deserialize } = healthMethod
    return this.#unary((metadata, options, answer) =>
      this.#stub.makeUnaryRequest(path, serialize, deserialize, service, metadata, options, (error, state) =>
        answer(error, state as HealthState),
      ),
    )
  }

  #unary<T>(call: UnaryCall<T>): Promise<T> {
    const deadline = Date.now() + (this.#options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS)
    return new Promise((resolve, reject) => {
      call(this.#target.metadata, { deadline }, (error, response) => {
        if (error === null) resolve(response)
        else reject(this.#explain(error))
      })
    })
  }

  async *#stream<T>(open: (metadata: Metadata) => ClientReadableStream<T>, options: StreamOptions): AsyncGenerator<T> {
    const { signal } = options
    if (signal?.aborted) return
    const call = open(this.#target.metadata)
    // Cancelling makes an error event that nobody waits for any more.
    call.on('error', () => {})
    let isTimedOut = false
    const timeoutMs = this.#options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS
    const timer = setTimeout(() => {
      isTimedOut = true
      call.cancel()
    }, timeoutMs)
    call.once('metadata', () => clearTimeout(timer))
    const abort = (): void => call.cancel()
    signal?.addEventListener('abort', abort, { once: true })
    try {
      for await (const message of call as AsyncIterable<T>) yield message
    } catch (error) {
      if (signal?.aborted) return
      if (isTimedOut) {
        throw new SluiceError('SLUICE_RPC', `No answer from "${this.#options.server}" within ${timeoutMs} ms`, {
          cause: error,
        })
      }
      throw this.#explain(error as ServiceError)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      call.cancel()
    }
  }

  /** A failure in words that tell what to do. */
  #explain(error: ServiceError): SluiceError {
    const { server } = this.#options
    const details = error.details || error.message
    const make = (text: string, remedy?: string): SluiceError =>
      new SluiceError('SLUICE_RPC', text, { cause: error, ...(remedy === undefined ? {} : { remedy }) })
    switch (error.code) {
      case status.UNAVAILABLE:
        return make(`Cannot reach "${server}": ${reason(details)}`, this.#unavailableRemedy(details))
      case status.DEADLINE_EXCEEDED:
        return make(`No answer from "${server}" in time: ${details}`)
      case status.UNIMPLEMENTED:
        return make(
          `"${server}" does not offer this call: ${details}`,
          'Ask a server that does: Sluice’s agent offers all',
        )
      // Hubble's servers send the errors of filters and masks so: the text says all.
      case status.UNKNOWN:
        return make(details, 'Correct the request')
      case status.INVALID_ARGUMENT:
        return make(`"${server}" refused the request: ${details}`, 'Correct the request')
      default:
        return make(`Call to "${server}" failed with ${status[error.code] ?? error.code}: ${details}`)
    }
  }

  #unavailableRemedy(details: string): string | undefined {
    if (/wrong version number|packet length too long|EPROTO/i.test(details))
      return 'The server speaks plain text: leave out --tls'
    if (/unable to verify|self[- ]signed|unable to get (local )?issuer/i.test(details)) {
      return 'Give the CA of the server’s certificate with --tls-ca-cert-files'
    }
    if (/altnames|Hostname\/IP does not match/i.test(details))
      return 'Give the name in the server’s certificate with --tls-server-name'
    if (/certificate required|bad certificate/i.test(details)) {
      return 'The server wants a client certificate: --tls-client-cert-file and --tls-client-key-file'
    }
    // Somebody answered, and hung up on what is no TLS.
    if (!this.#target.isTls && /Failed to connect|ECONNRESET/.test(details))
      return 'If the server speaks TLS, add --tls'
    return undefined
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.#stub.close()
  }
}

/** The cause alone, out of what grpc-js wraps around it. */
function reason(details: string): string {
  const match = /Last error: (?:Error: )?(.*?)\.? (?:Resolution note:|\(\d{4}-)/.exec(details)
  return match?.[1] ?? details
}

/** What Sluice says of a flow beyond flow.Flow: packets, bytes, round trips ... undefined from other servers. */
export function flowExtensions(flow: Flow): FlowExtensions | undefined {
  const { extensions } = flow
  if (extensions === undefined || extensions.type_url !== FLOW_EXTENSIONS_TYPE) return undefined
  return FlowExtensions.decode(extensions.value)
}
