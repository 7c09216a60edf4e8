import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js'
import { disposable } from '../base/lifetime.ts'
import type { FlowStore } from '../model/contracts.ts'
import { AgentEventStream } from './agent-event-stream.ts'
import type { AgentEventRing } from './agent-events.ts'
import type { Calls, StreamCall } from './calls.ts'
import { FlowEncoders } from './encoders.ts'
import { type FilterCompiler, parseFlowQuery, parseRange } from './flow-query.ts'
import { FlowStream, type FlowStreamCounters } from './flow-stream.ts'
import { FramedBatch } from './framed-batch.ts'
import type {
  GetAgentEventsRequest,
  GetAgentEventsResponse,
  GetDebugEventsRequest,
  GetDebugEventsResponse,
  GetFlowsRequest,
  GetNamespacesRequest,
  GetNodesRequest,
  ServerStatusRequest,
} from './gen/observer/observer.ts'
import {
  GetNamespacesResponse,
  GetNodesResponse,
  ObserverService,
  ServerStatusResponse,
} from './gen/observer/observer.ts'
import { NodeState } from './gen/relay/relay.ts'
import type { LiveQueries } from './live-queries.ts'
import type { PeerNode } from './peer.ts'
import type { SliceScheduler } from './slices.ts'

/** Metadata by which a client asks for Flow.extensions; others could not print the unknown type inside. */
export const EXTENSIONS_METADATA = 'sluice-extensions'
/** Flow rates are over this span. */
const RATE_SECS = 60

/** Namespaces that flows of the last hour were seen of. */
export interface NamespaceSource {
  /** Sorted by cluster, then name; the cluster is empty for `default`. */
  list(): readonly { readonly cluster: string; readonly namespace: string }[]
}

export interface ObserverParts {
  readonly store: FlowStore
  readonly calls: Calls
  readonly scheduler: SliceScheduler
  readonly namespaces: NamespaceSource
  readonly agentEvents: AgentEventRing
  readonly compileFilters: FilterCompiler
  readonly queries: LiveQueries
  /** Sluice's version, without a leading v. */
  readonly version: string
  /** This node, as other nodes reach it. */
  readonly self: () => PeerNode
  /** Wall clock, milliseconds. */
  readonly now: () => number
  /** When the agent started, wall clock, milliseconds. */
  readonly startedMs: number
}

/** Hubble's Observer service over one node's history. */
export class Observer {
  readonly #parts: ObserverParts
  readonly #encoders: FlowEncoders
  readonly counters: FlowStreamCounters = { flowsSent: 0, flowsScanned: 0, flowsLost: 0, lostEventsSent: 0 }

  constructor(parts: ObserverParts) {
    this.#parts = parts
    this.#encoders = new FlowEncoders(parts.store.context, parts.version)
  }

  /** The service with GetFlows writing batches of messages that are encoded already. */
  get definition(): ServiceDefinition {
    return { ...ObserverService, getFlows: { ...ObserverService.getFlows, responseSerialize: FramedBatch.serialize } }
  }

  get implementation(): UntypedServiceImplementation {
    const { calls } = this.#parts
    const service = 'observer.Observer'
    return {
      getFlows: calls.stream<GetFlowsRequest, FramedBatch>(service, 'GetFlows', (call) => this.#getFlows(call)),
      getAgentEvents: calls.stream<GetAgentEventsRequest, GetAgentEventsResponse>(service, 'GetAgentEvents', (call) =>
        this.#getAgentEvents(call),
      ),
      getDebugEvents: calls.stream<GetDebugEventsRequest, GetDebugEventsResponse>(service, 'GetDebugEvents', (call) =>
        this.#getDebugEvents(call),
      ),
      getNodes: calls.unary<GetNodesRequest, GetNodesResponse>(service, 'GetNodes', () => this.#getNodes()),
      getNamespaces: calls.unary<GetNamespacesRequest, GetNamespacesResponse>(service, 'GetNamespaces', () =>
        GetNamespacesResponse.fromPartial({ namespaces: [...this.#parts.namespaces.list()] }),
      ),
      serverStatus: calls.unary<ServerStatusRequest, ServerStatusResponse>(service, 'ServerStatus', () =>
        this.#serverStatus(),
      ),
    }
  }

  #getFlows(call: StreamCall<GetFlowsRequest, FramedBatch>): Disposable {
    const { store, scheduler, now, compileFilters, queries } = this.#parts
    const query = parseFlowQuery(call.request, compileFilters)
    const withExtensions = call.metadata.get(EXTENSIONS_METADATA)[0] === '1'
    const announced = queries.announce(query, {
      userAgent: String(call.metadata.get('user-agent')[0] ?? ''),
      peer: call.peer,
      whitelist: call.request.whitelist,
      blacklist: call.request.blacklist,
    })
    const stream = new FlowStream({
      store,
      query,
      scheduler,
      now,
      encoder: this.#encoders.get(query.mask, withExtensions),
      counters: this.counters,
      sink: {
        send: (batch, done) => {
          call.sent(batch.count)
          call.write(batch, done)
        },
        end: () => call.end(),
        fail: (error) => call.fail(error),
      },
    })
    return disposable(() => {
      stream[Symbol.dispose]()
      announced[Symbol.dispose]()
    })
  }

  #getAgentEvents(call: StreamCall<GetAgentEventsRequest, GetAgentEventsResponse>): Disposable {
    const stream = new AgentEventStream(this.#parts.agentEvents, parseRange(call.request), {
      write: (response) => {
        call.sent(1)
        return call.write(response)
      },
      end: () => call.end(),
    })
    call.onDrain(() => stream.resume())
    stream.resume()
    return stream
  }

  /** Sluice's programs send no debug events: the stream ends at once, and one that follows stays open and silent. */
  #getDebugEvents(call: StreamCall<GetDebugEventsRequest, GetDebugEventsResponse>): Disposable {
    const { isFollow } = parseRange(call.request)
    if (!isFollow) call.end()
    return { [Symbol.dispose]() {} }
  }

  #serverStatus(): ServerStatusResponse {
    const { store, version } = this.#parts
    return ServerStatusResponse.fromPartial({
      num_flows: BigInt(store.end - store.first),
      max_flows: BigInt(store.capacity),
      seen_flows: BigInt(store.end),
      uptime_ns: this.#uptimeNs(),
      version: `sluice v${version}`,
      flows_rate: this.#flowsRate(),
    })
  }

  #getNodes(): GetNodesResponse {
    const { store, version, self } = this.#parts
    const { address, tlsServerName } = self()
    return GetNodesResponse.fromPartial({
      nodes: [
        {
          name: store.context.nodeName,
          version: `sluice v${version}`,
          address,
          state: NodeState.NODE_CONNECTED,
          tls: { enabled: tlsServerName !== undefined, server_name: tlsServerName ?? '' },
          uptime_ns: this.#uptimeNs(),
          num_flows: BigInt(store.end - store.first),
          max_flows: BigInt(store.capacity),
          seen_flows: BigInt(store.end),
        },
      ],
    })
  }

  #uptimeNs(): bigint {
    const { now, startedMs } = this.#parts
    return BigInt(Math.max(1, Math.round(now() - startedMs))) * 1_000_000n
  }

  /** Flows per second over the last minute, or over the span that the history holds when that is shorter. */
  #flowsRate(): number {
    const { store, now } = this.#parts
    const nowMs = now()
    const sinceSecs = Math.floor(nowMs / 1000) - RATE_SECS
    const from = Math.max(store.first, store.lowerBound(sinceSecs, 0))
    const count = store.end - from
    if (count === 0) return 0
    let spanSecs = nowMs / 1000 - sinceSecs
    if (from === store.first) {
      const view = store.createView()
      store.seek(view, from)
      spanSecs = Math.min(spanSecs, nowMs / 1000 - view.timeSecs - view.timeNanos / 1e9)
    }
    // One burst a moment ago is no rate: the shortest span that counts is a second.
    return count / Math.max(1, spanSecs)
  }
}
