import { Listeners } from '../base/lifetime.ts'
import type { EndpointEvent } from '../model/contracts.ts'
import { type AgentEvent, AgentEventType } from './gen/flow/flow.ts'
import { GetAgentEventsResponse } from './gen/observer/observer.ts'

/** An event as it goes to clients. */
export interface StoredAgentEvent {
  readonly timeMs: number
  readonly response: GetAgentEventsResponse
}

/** Pods come and go by tens a minute; 4,095 is also what Hubble's ring holds. About 400 bytes each. */
const DEFAULT_CAPACITY = 4095

/** What the agent did, newest last: bounded, the oldest are overwritten. Fed by the wiring, read by GetAgentEvents. */
export class AgentEventRing {
  readonly capacity: number
  readonly #nodeName: string
  readonly #now: () => number
  readonly #slots: StoredAgentEvent[] = []
  readonly #added = new Listeners<void>()
  /** Sequence of the oldest event held, and one past the newest. */
  first = 0
  end = 0

  constructor(nodeName: string, options: { capacity?: number; now?: () => number } = {}) {
    this.#nodeName = nodeName
    this.capacity = options.capacity ?? DEFAULT_CAPACITY
    this.#now = options.now ?? Date.now
  }

  agentStarted(): void {
    const time = timestamp(this.#now())
    this.add({ type: AgentEventType.AGENT_STARTED, agent_start: { time } })
  }

  /** A pod of this node came, changed or went; endpoints of other nodes are not told of. */
  endpoint(event: EndpointEvent): void {
    const { endpoint } = event
    if (!endpoint.isLocal) return
    const labels = [...endpoint.labels]
    const id = BigInt(endpoint.id)
    if (event.kind === 'updated') {
      this.add({ type: AgentEventType.ENDPOINT_REGENERATE_SUCCESS, endpoint_regenerate: { id, labels, error: '' } })
      return
    }
    const type = event.kind === 'created' ? AgentEventType.ENDPOINT_CREATED : AgentEventType.ENDPOINT_DELETED
    const { podName: pod_name, namespace } = endpoint
    this.add({ type, endpoint_update: { id, labels, error: '', pod_name, namespace } })
  }

  add(event: Partial<AgentEvent>): void {
    const timeMs = this.#now()
    const response = GetAgentEventsResponse.fromPartial({
      agent_event: event,
      node_name: this.#nodeName,
      time: timestamp(timeMs),
    })
    this.#slots[this.end % this.capacity] = { timeMs, response }
    this.end++
    if (this.end - this.first > this.capacity) this.first = this.end - this.capacity
    this.#added.emit()
  }

  /** @param sequence first ≤ sequence < end */
  at(sequence: number): StoredAgentEvent {
    return this.#slots[sequence % this.capacity]!
  }

  onAdd(listener: () => void): Disposable {
    return this.#added.add(listener)
  }
}

/** google.protobuf.Timestamp of a wall clock in milliseconds. */
export function timestamp(timeMs: number): { seconds: bigint; nanos: number } {
  const seconds = Math.floor(timeMs / 1000)
  return { seconds: BigInt(seconds), nanos: Math.round((timeMs - seconds * 1000) * 1e6) }
}
