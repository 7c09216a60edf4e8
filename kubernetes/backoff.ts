/** The first wait after a failure, milliseconds; each further one in a row is twice as long. */
export const MIN_DELAY_MS = 500
/** No wait is longer, but for what the server asks. */
export const MAX_DELAY_MS = 30_000
/** A server that asks for more is asked again after so long nevertheless. */
const MAX_ASKED_MS = 120_000

export interface BackoffOptions {
  readonly minMs?: number
  readonly maxMs?: number
  /** 0 to 1, as Math.random. */
  readonly random?: () => number
}

/**
 * How long to wait before the next attempt: 0.5 s, 1 s, 2 s ... 30 s, of which a random half is taken off, so that the
 * agents of a thousand nodes do not come back together.
 */
export class Backoff {
  /** Failures since the last success. */
  failures = 0
  readonly #minMs: number
  readonly #maxMs: number
  readonly #random: () => number

  constructor(options: BackoffOptions = {}) {
    this.#minMs = options.minMs ?? MIN_DELAY_MS
    this.#maxMs = options.maxMs ?? MAX_DELAY_MS
    this.#random = options.random ?? Math.random
  }

  reset(): void {
    this.failures = 0
  }

  /** The wait after one more failure, milliseconds. @param askedMs what the server asks for: waited at least */
  next(askedMs = 0): number {
    const full = Math.min(this.#maxMs, this.#minMs * 2 ** Math.min(this.failures, 20))
    this.failures++
    const asked = Math.min(askedMs, MAX_ASKED_MS)
    // Who was asked to wait spreads behind that time, not before it.
    return asked > 0 ? asked + full * 0.5 * this.#random() : full * (0.5 + 0.5 * this.#random())
  }
}
