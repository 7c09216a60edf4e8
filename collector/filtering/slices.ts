/** What long work may take of the event loop before others are let in. */
export const SLICE_MS = 4

/** Cuts long work into slices: `if (slices.isOver) await slices.next()`. */
export class Slices {
  #began = performance.now()
  /** The longest slice so far, milliseconds. */
  longestMs = 0

  get isOver(): boolean {
    return performance.now() - this.#began >= SLICE_MS
  }

  /** Lets others in and begins the next slice. */
  async next(): Promise<void> {
    await this.yieldTo(new Promise<void>((resolve) => setImmediate(resolve)))
  }

  /** Waits for other work, which holds the loop by its own measure, and begins the next slice behind it. */
  async yieldTo<T>(work: Promise<T>): Promise<T> {
    this.end()
    const result = await work
    this.#began = performance.now()
    return result
  }

  /** Does long work that comes in steps. */
  async run<T>(steps: Generator<void, T, void>): Promise<T> {
    for (;;) {
      const step = steps.next()
      if (step.done) return step.value
      if (this.isOver) await this.next()
    }
  }

  /** Notes how long the slice took that ends here. */
  end(): void {
    this.longestMs = Math.max(this.longestMs, performance.now() - this.#began)
  }
}
