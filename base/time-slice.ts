import { setImmediate as nextTurn } from 'node:timers/promises'

/** Longest stretch of work before others get their turn, milliseconds: well below the bound of 10. */
const SLICE_MS = 3

/** Gives way to other work when its slice is over: for work that is longer than the event loop may be held. */
export class TimeSlice {
  #startedMs = performance.now()

  get isOver(): boolean {
    return performance.now() - this.#startedMs > SLICE_MS
  }

  async yield(): Promise<void> {
    await nextTurn()
    this.#startedMs = performance.now()
  }
}
