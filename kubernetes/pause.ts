/** A wait that can be ended early, also before it has begun. One wait at a time. */
export class Pause {
  #timer: NodeJS.Timeout | undefined
  #resolve: (() => void) | undefined
  #isEnded = false

  /** Resolves after so long, or at end(). */
  async wait(ms: number): Promise<void> {
    if (!this.#isEnded) {
      await new Promise<void>((resolve) => {
        this.#resolve = resolve
        this.#timer = setTimeout(resolve, ms).unref()
      })
    }
    this.#isEnded = false
    this.#resolve = undefined
  }

  /** Ends the wait under way, or else the next one. */
  end(): void {
    clearTimeout(this.#timer)
    if (this.#resolve === undefined) this.#isEnded = true
    else this.#resolve()
  }
}
