import type { AgentEventRing } from './agent-events.ts'
import type { FlowTime, HistoryRange } from './flow-query.ts'
import type { GetAgentEventsResponse } from './gen/observer/observer.ts'

/** Where one GetAgentEvents call writes to: the part of grpc-js's ServerWritableStream that it needs. */
export interface AgentEventSink {
  /** @returns false when the client must take something first; then `resume` is called */
  write(response: GetAgentEventsResponse): boolean
  end(): void
}

/** One GetAgentEvents call: ranges as in GetFlows, no filters. Events overwritten before a client took them are skipped. */
export class AgentEventStream {
  readonly #ring: AgentEventRing
  readonly #range: HistoryRange
  readonly #sink: AgentEventSink
  readonly #limit: number
  #next: number
  #sent = 0
  #isDone = false
  #subscription: Disposable | undefined

  constructor(ring: AgentEventRing, range: HistoryRange, sink: AgentEventSink) {
    this.#ring = ring
    this.#range = range
    this.#sink = sink
    this.#limit = range.isFollow ? Number.POSITIVE_INFINITY : ring.end
    this.#next = this.#start()
    if (range.isFollow) this.#subscription = ring.onAdd(() => this.resume())
  }

  #start(): number {
    const { since, isFirst, isFollow, number } = this.#range
    const { first, end } = this.#ring
    if (since !== undefined) return first
    if (isFirst) return first
    if (number === Number.POSITIVE_INFINITY) return isFollow ? end : first
    return Math.max(first, end - number)
  }

  /** Writes what there is; called at first, when events come and when the client can take more. */
  resume(): void {
    if (this.#isDone) return
    const { since, until, isFollow, number } = this.#range
    while (!this.#isDone) {
      this.#next = Math.max(this.#next, this.#ring.first)
      if (this.#next >= Math.min(this.#ring.end, this.#limit)) break
      const { timeMs, response } = this.#ring.at(this.#next++)
      if (until !== undefined && compare(timeMs, until) > 0) this.#isDone = true
      else if (since === undefined || compare(timeMs, since) >= 0) {
        this.#sent++
        if (!isFollow && this.#sent >= number) this.#isDone = true
        if (!this.#sink.write(response)) break
      }
    }
    if (this.#isDone || this.#next >= this.#limit) this.#finish()
  }

  #finish(): void {
    this[Symbol.dispose]()
    this.#sink.end()
  }

  [Symbol.dispose](): void {
    this.#isDone = true
    this.#subscription?.[Symbol.dispose]()
    this.#subscription = undefined
  }
}

function compare(timeMs: number, time: FlowTime): number {
  return timeMs - (time.secs * 1000 + time.nanos / 1e6)
}
