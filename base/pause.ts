/** A wait for one waiter that others may end early, also before it has begun: then the next wait ends at once. */
export class Pause {
  #timer: NodeJS.Timeout | undefined
  #resolve: (() => void) | undefined
  #isEnded = false

  /** Resolves after so many milliseconds, or at end(); without a time at end() alone. */
  async wait(ms?: number): Promise<void> {
    if (!this.#isEnded) {
      await new Promise<void>((resolve) => {
        this.#resolve = resolve
        if (ms !== undefined) this.#timer = setTimeout(resolve, ms).unref()
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
