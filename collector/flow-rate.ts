const SECONDS = 60

/** Flows a second over the last minute, for ServerStatus. */
export class FlowRate {
  readonly #ends = new Float64Array(SECONDS)
  #count = 0

  /** Called once a second. @param end flows seen since start */
  tick(end: number): void {
    this.#ends[this.#count % SECONDS] = end
    this.#count++
  }

  /** Over the time since start while that is less than a minute; 0 in the first second. @param end flows seen now */
  perSecond(end: number): number {
    if (this.#count === 0) return 0
    const span = Math.min(this.#count, SECONDS)
    // The oldest reading kept; before there are 60 of them counting began at 0 with the start.
    const before = this.#count < SECONDS ? 0 : this.#ends[this.#count % SECONDS]!
    return Math.max(0, end - before) / span
  }
}
