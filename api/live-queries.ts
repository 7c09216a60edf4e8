import { errorText } from '../base/errors.ts'
import { disposable } from '../base/lifetime.ts'
import { type Logger, LogLimiter } from '../base/logger.ts'
import { flowFilterPredicate } from '../filters/hubble/index.ts'
import type { Predicate } from '../filters/predicate.ts'
import type { TelemetrySink } from '../model/contracts.ts'
import type { FlowQuery } from './flow-query.ts'
import type { FlowFilter } from './gen/flow/flow.ts'

/**
 * Told of a client that follows flows: what it wants has to come out of the kernel, also when nobody else wants it.
 *
 * @param name of the client, for people @param whitelist flows that match any, or all when empty
 * @param blacklist flows that match any are not wanted
 * @returns disposed when the client is gone
 */
export type OnQuery = (name: string, whitelist: readonly Predicate[], blacklist: readonly Predicate[]) => Disposable

/** Who asks, and for what. */
export interface LiveQueryCall {
  readonly userAgent: string
  readonly peer: string
  readonly whitelist: readonly FlowFilter[]
  readonly blacklist: readonly FlowFilter[]
}

const AGENT_LENGTH_MAX = 80
const PEER_LENGTH_MAX = 80

/**
 * Announces the clients that follow flows. A stream does not depend on it: when the announcement fails, the client gets
 * what others want, by its own filters.
 */
export class LiveQueries {
  /** Clients announced at present. */
  open = 0
  failures = 0
  readonly #onQuery: OnQuery | undefined
  readonly #log: Logger
  readonly #limiter = new LogLimiter()
  readonly #now: () => number

  /** @param now wall clock, milliseconds */
  constructor(onQuery: OnQuery | undefined, log: Logger, now: () => number) {
    this.#onQuery = onQuery
    this.#log = log
    this.#now = now
  }

  /** Announces a client if it waits for flows to come. @returns to be disposed when the client is gone; never throws */
  announce(query: FlowQuery, call: LiveQueryCall): Disposable {
    const onQuery = this.#onQuery
    if (onQuery === undefined || !query.isFollow || this.#isPast(query)) return disposable(() => {})
    try {
      const predicates = (filters: readonly FlowFilter[]) => filters.map(flowFilterPredicate)
      const announced = onQuery(clientName(call), predicates(call.whitelist), predicates(call.blacklist))
      this.open++
      return disposable(() => {
        this.open--
        try {
          announced[Symbol.dispose]()
        } catch (error) {
          this.#fail(error)
        }
      })
    } catch (error) {
      this.#fail(error)
      return disposable(() => {})
    }
  }

  collect(sink: TelemetrySink): void {
    const help = 'Clients that follow flows, which the filters let out of the kernel for them'
    sink.gauge('sluice_api_live_queries', help, this.open)
    const failed = 'Clients that follow flows and could not be made known to the filters'
    sink.counter('sluice_api_live_query_failures_total', failed, this.failures)
  }

  /** A client that wants nothing later than now follows, and gets nothing that is still to come. */
  #isPast({ until }: FlowQuery): boolean {
    return until !== undefined && until.secs * 1000 + until.nanos / 1e6 <= this.#now()
  }

  #fail(error: unknown): void {
    this.failures++
    this.#limiter.run('query', (held) => {
      this.#log.warn({ err: errorText(error), held }, 'Cannot tell the filters of a client that follows flows')
    })
  }
}

/** `grpc-go/1.68.0 from 10.0.0.7:51234`: what a client says of itself is cut, and is printable. */
function clientName({ userAgent, peer }: LiveQueryCall): string {
  const agent = printable(userAgent).slice(0, AGENT_LENGTH_MAX) || 'client'
  const from = printable(peer).slice(0, PEER_LENGTH_MAX)
  return from === '' || from === 'unknown' ? agent : `${agent} from ${from}`
}

function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '')
}
