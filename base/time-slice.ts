import { setImmediate as nextTurn } from 'node:timers/promises'

/** Longest stretch of work before others get their turn, milliseconds: well below the bound of 10. */
const SLICE_MS = 3

/** Cuts work that is longer than the event loop may be held: `if (slice.isOver) await slice.yield()`. */
export class TimeSlice {
  /** The longest stretch so far, milliseconds; end() counts the last one. */
  longestMs = 0
  #startedMs = performance.now()

  get isOver(): boolean {
    return performance.now() - this.#startedMs > SLICE_MS
  }

  /** Lets others in, and begins the next stretch. */
  async yield(): Promise<void> {
    await this.yieldTo(nextTurn())
  }

  /** Waits for other work, which holds the loop by its own measure, and begins the next stretch behind it. */
  async yieldTo<T>(work: Promise<T>): Promise<T> {
    this.end()
    const result = await work
    this.#startedMs = performance.now()
    return result
  }

  /** Ends the last stretch. */
  end(): void {
    this.longestMs = Math.max(this.longestMs, performance.now() - this.#startedMs)
  }
}
