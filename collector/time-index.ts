/** A record older than the newest one by more than this starts a new run: no race of CPUs explains 100 ms. */
const STEP_NS = 100_000_000
/** Runs that are told apart: more than 64 steps of the clock within one history are searched in full. */
const MAX_RUNS = 64

/** Low (0) or high (1) half of the time of a flow. */
export type TimeAt = (sequence: number, half: 0 | 1) => number

interface Run {
  readonly start: number
  /** How far behind the newest a time in it has been, nanoseconds; Infinity: order unknown. */
  disorder: number
}

/**
 * What is known of the order of the times in a history. Flows arrive nearly in order of time: records race by
 * microseconds, and now and then the wall clock is stepped back. A step ends a run and starts the next; within a run
 * no time is more than `disorder` behind the greatest one before it, so a binary search for t - disorder and a short
 * walk find exactly the first flow at or after t.
 */
export class TimeIndex {
  #runs: Run[] = [{ start: 0, disorder: 0 }]
  #newestLow = 0
  #newestHigh = 0

  /** Notes the time of the next flow. */
  add(sequence: number, low: number, high: number): void {
    if (high > this.#newestHigh || (high === this.#newestHigh && low >= this.#newestLow)) {
      this.#newestLow = low
      this.#newestHigh = high
      return
    }
    this.#late(sequence, low, high)
  }

  #late(sequence: number, low: number, high: number): void {
    const behind = (this.#newestHigh - high) * 4294967296 + (this.#newestLow - low)
    const run = this.#runs[this.#runs.length - 1]!
    if (behind <= STEP_NS) {
      if (behind > run.disorder) run.disorder = behind
      return
    }
    this.#newestLow = low
    this.#newestHigh = high
    if (this.#runs.length === MAX_RUNS) {
      this.#runs.splice(0, 2, { start: this.#runs[0]!.start, disorder: Number.POSITIVE_INFINITY })
    }
    this.#runs.push({ start: sequence, disorder: 0 })
  }

  /** Forgets runs that ended before a sequence. */
  forget(first: number): void {
    while (this.#runs.length > 1 && this.#runs[1]!.start <= first) this.#runs.shift()
  }

  /** First sequence in [first, end) at or after a time, `end` when there is none. @param time nanoseconds since 1970 */
  lowerBound(time: bigint, first: number, end: number, timeAt: TimeAt): number {
    for (let i = 0; i < this.#runs.length; i++) {
      const run = this.#runs[i]!
      const from = Math.max(first, run.start)
      const to = Math.min(end, this.#runs[i + 1]?.start ?? end)
      if (from >= to) continue
      const found = firstInRun(run, time, from, to, timeAt)
      if (found < to) return found
    }
    return end
  }
}

function firstInRun(run: Run, time: bigint, from: number, to: number, timeAt: TimeAt): number {
  let low = from
  if (run.disorder !== Number.POSITIVE_INFINITY) {
    const early = time - BigInt(run.disorder)
    const earlyHigh = early < 0n ? 0 : Number(early >> 32n)
    const earlyLow = early < 0n ? 0 : Number(early & 0xffff_ffffn)
    let high = to
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (isBefore(middle, earlyHigh, earlyLow, timeAt)) low = middle + 1
      else high = middle
    }
  }
  const timeHigh = Number(time >> 32n)
  const timeLow = Number(time & 0xffff_ffffn)
  while (low < to && isBefore(low, timeHigh, timeLow, timeAt)) low++
  return low
}

function isBefore(sequence: number, high: number, low: number, timeAt: TimeAt): boolean {
  const h = timeAt(sequence, 1)
  return h < high || (h === high && timeAt(sequence, 0) < low)
}
