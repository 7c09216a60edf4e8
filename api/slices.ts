/** Work that is done in slices, so that nothing else waits long for the event loop. */
export interface SlicedTask {
  /**
   * Works for a while.
   * @param deadline of performance.now(): return as soon as it has passed
   * @returns true when there is more to do at once; false when the task waits for something and will be scheduled again
   */
  run(deadline: number): boolean
  /** Told of what `run` threw; the task is not run again. */
  fail(error: unknown): void
}

/** One task's turn: short enough that many streams feel alike served. */
const SLICE_MS = 2
/** All tasks' turns between two looks at sockets and timers. */
const TURN_MS = 4

/**
 * Takes turns among tasks. However many there are, the event loop is held for about TURN_MS, then sockets, timers and
 * the drain of the kernel's ring have their say.
 */
export class SliceScheduler {
  readonly #queue: SlicedTask[] = []
  readonly #queued = new Set<SlicedTask>()
  #isArmed = false
  /** The longest that a turn held the event loop, milliseconds; read and set back by telemetry. */
  longestTurnMs = 0

  /** Runs a task soon. Scheduling it again before its turn does nothing. */
  schedule(task: SlicedTask): void {
    if (this.#queued.has(task)) return
    this.#queued.add(task)
    this.#queue.push(task)
    this.#arm()
  }

  #arm(): void {
    if (this.#isArmed) return
    this.#isArmed = true
    setImmediate(() => this.#turn())
  }

  /** One client's trouble must not end the agent. */
  #slice(task: SlicedTask, deadline: number): boolean {
    try {
      return task.run(deadline)
    } catch (error) {
      task.fail(error)
      return false
    }
  }

  #turn(): void {
    this.#isArmed = false
    const start = performance.now()
    const end = start + TURN_MS
    let now = start
    while (now < end) {
      const task = this.#queue.shift()
      if (task === undefined) break
      this.#queued.delete(task)
      if (this.#slice(task, Math.min(end, now + SLICE_MS))) this.schedule(task)
      now = performance.now()
    }
    if (now - start > this.longestTurnMs) this.longestTurnMs = now - start
    if (this.#queue.length > 0) this.#arm()
  }
}

/** Items that a task handles between two looks at the clock: at first, and at most. */
export const FIRST_CHUNK = 32
const MAX_CHUNK = 256
/** What a chunk should take, milliseconds: far less than a slice, far more than a look at the clock. */
const SHORT_CHUNK_MS = 0.1
const LONG_CHUNK_MS = 0.4

/**
 * The next chunk's size, from what this one took. Filters differ by a factor of a thousand: one of ten thousand
 * ranges must not hold the event loop longer than one of a port.
 */
export function nextChunk(size: number, tookMs: number): number {
  if (tookMs < SHORT_CHUNK_MS) return Math.min(MAX_CHUNK, size * 2)
  if (tookMs > LONG_CHUNK_MS) return Math.max(1, size >>> 1)
  return size
}
