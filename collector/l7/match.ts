/** A request that waits for its response. */
interface Waiting<T> {
  readonly low: number
  readonly high: number
  readonly value: T
}

export interface RequestMatcherOptions {
  /** Flows with open requests. */
  readonly maxFlows: number
  /** Open requests of one flow; 1 for protocols that number theirs. */
  readonly maxPerFlow: number
  /** A request this old gets no response any more, nanoseconds. */
  readonly maxAgeNs: number
}

/** What is known of a response's request. */
export interface Matched<T> {
  readonly latencyNs: number
  readonly value: T
}

/**
 * Pairs responses with their requests, in order within a flow. Bounded twice: when there are too many flows the one
 * that asked longest ago goes, when a flow has too many requests its newest is not kept; both are counted.
 */
export class RequestMatcher<T> {
  /** Requests that lost their place. */
  evicted = 0
  readonly #options: RequestMatcherOptions
  /** In order of the latest request. */
  readonly #flows = new Map<string, Waiting<T>[]>()

  constructor(options: RequestMatcherOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#flows.size
  }

  /** @param low, high halves of the request's time, nanoseconds */
  request(key: string, low: number, high: number, value: T): void {
    const waiting = this.#flows.get(key) ?? []
    while (waiting.length > 0 && this.#isOld(waiting[0]!, low, high)) waiting.shift()
    if (waiting.length >= this.#options.maxPerFlow) {
      // A datagram sent again waits since it was sent first; a full pipeline has its newest request uncounted.
      if (this.#options.maxPerFlow > 1) this.evicted++
      return
    }
    waiting.push({ low, high, value })
    this.#flows.delete(key)
    this.#flows.set(key, waiting)
    if (this.#flows.size <= this.#options.maxFlows) return
    for (const [oldest, open] of this.#flows) {
      this.evicted += open.length
      this.#flows.delete(oldest)
      break
    }
  }

  /** The request that a response answers, which waits no longer; undefined when it was not seen. */
  response(key: string, low: number, high: number): Matched<T> | undefined {
    const waiting = this.#flows.get(key)
    if (waiting === undefined) return undefined
    let found = waiting.shift()
    while (found !== undefined && this.#isOld(found, low, high)) found = waiting.shift()
    if (waiting.length === 0) this.#flows.delete(key)
    if (found === undefined) return undefined
    return { latencyNs: Math.max(0, elapsed(found, low, high)), value: found.value }
  }

  /** The oldest open request of a flow, which goes on waiting: interim responses (100 Continue). */
  peek(key: string, low: number, high: number): Matched<T> | undefined {
    const found = this.#flows.get(key)?.[0]
    if (found === undefined || this.#isOld(found, low, high)) return undefined
    return { latencyNs: Math.max(0, elapsed(found, low, high)), value: found.value }
  }

  #isOld(waiting: Waiting<T>, low: number, high: number): boolean {
    return elapsed(waiting, low, high) > this.#options.maxAgeNs
  }
}

function elapsed(since: { readonly low: number; readonly high: number }, low: number, high: number): number {
  return (high - since.high) * 4294967296 + (low - since.low)
}
