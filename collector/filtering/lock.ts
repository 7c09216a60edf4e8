/** Runs one thing after another. */
export class Lock {
  #last: Promise<unknown> = Promise.resolve()

  /** Runs when all before have ended, however they did. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => undefined)
    return result
  }

  /** Ends when all that was asked for so far has ended. */
  async idle(): Promise<void> {
    await this.#last
  }
}
