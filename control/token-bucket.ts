/** How often something may be done: so many times at once, then so many a second. */
export class TokenBucket {
  readonly #size: number
  readonly #perSecond: number
  readonly #now: () => number
  #tokens: number
  #filledAt: number

  /** @param now milliseconds of a clock that only goes forward */
  constructor(size: number, perSecond: number, now: () => number = () => performance.now()) {
    this.#size = size
    this.#perSecond = perSecond
    this.#now = now
    this.#tokens = size
    this.#filledAt = now()
  }

  /** Takes one. @returns milliseconds to wait before it may be used; 0 at once */
  take(): number {
    const now = this.#now()
    this.#tokens = Math.min(this.#size, this.#tokens + ((now - this.#filledAt) * this.#perSecond) / 1000)
    this.#filledAt = now
    this.#tokens--
    return this.#tokens >= 0 ? 0 : (-this.#tokens * 1000) / this.#perSecond
  }
}
