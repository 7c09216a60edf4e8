/** Records whose times are told apart: at a million records a second the last 8 ms, far beyond the race of CPUs. */
const RECENT = 8192
const BUCKETS = RECENT * 2
const EMPTY = 0

export interface RecordClockOptions {
  /** Nanoseconds to add to CLOCK_BOOTTIME to have CLOCK_REALTIME, read now. */
  readonly readOffset: () => bigint
}

/**
 * Turns a record's boot time into wall time and makes it unique on this node.
 *
 * The offset between the two clocks is read again by refresh(), once a second, so a stepped wall clock is right within
 * a second. Times are 64-bit numbers in two halves: no BigInt per record. Two CPUs can write records in one
 * nanosecond; the later one to arrive is moved by 1 ns until it differs from all of the last 8,192 times.
 */
export class RecordClock {
  /** Halves of the wall time that the last call of stamp() made, nanoseconds since 1970. */
  low = 0
  high = 0
  /** By how many nanoseconds the last time was moved because others had it. */
  shift = 0
  /** Records moved because another one had their time. */
  moved = 0
  readonly #readOffset: () => bigint
  #offsetLow = 0
  #offsetHigh = 0
  #offset = 0n

  // The last RECENT times, in order of arrival; chained by hash, index + 1 so that 0 means "none".
  readonly #lows = new Uint32Array(RECENT)
  readonly #highs = new Uint32Array(RECENT)
  readonly #chain = new Uint32Array(RECENT)
  readonly #heads = new Uint32Array(BUCKETS)
  #at = 0
  #filled = false
  /** The latest time given; a clock that was stepped back stays below it for a while and is looked up meanwhile. */
  #newestLow = 0
  #newestHigh = 0

  constructor(options: RecordClockOptions) {
    this.#readOffset = options.readOffset
    this.refresh()
  }

  /** Reads the offset again. @returns by how much it changed, nanoseconds: large after a step, some hundreds else */
  refresh(): number {
    const offset = this.#readOffset()
    const change = offset - this.#offset
    this.#offset = offset
    const bits = BigInt.asUintN(64, offset)
    this.#offsetLow = Number(bits & 0xffff_ffffn)
    this.#offsetHigh = Number(bits >> 32n)
    return Number(change)
  }

  /** Sets `low` and `high` to the unique wall time of a boot time. */
  stamp(bootLow: number, bootHigh: number): void {
    const low = bootLow + this.#offsetLow
    const carry = low > 0xffff_ffff ? 1 : 0
    this.stampWall(low >>> 0, (bootHigh + this.#offsetHigh + carry) >>> 0)
  }

  /** As stamp(), for a time that is wall time already (replayed flows). */
  stampWall(wallLow: number, wallHigh: number): void {
    let low = wallLow
    let high = wallHigh
    let bucket = bucketOf(low, high)
    let shift = 0
    if (high > this.#newestHigh || (high === this.#newestHigh && low > this.#newestLow)) {
      // Later than every time before, as nearly all are: nothing can have it.
      this.#newestLow = low
      this.#newestHigh = high
    } else {
      while (this.#seen(bucket, low, high)) {
        shift++
        low = (low + 1) >>> 0
        if (low === 0) high = (high + 1) >>> 0
        bucket = bucketOf(low, high)
      }
      if (high > this.#newestHigh || (high === this.#newestHigh && low > this.#newestLow)) {
        this.#newestLow = low
        this.#newestHigh = high
      }
    }
    if (shift > 0) this.moved++
    this.shift = shift
    this.#remember(bucket, low, high)
    this.low = low
    this.high = high
  }

  #seen(bucket: number, low: number, high: number): boolean {
    for (let link = this.#heads[bucket]!; link !== EMPTY; link = this.#chain[link - 1]!) {
      if (this.#lows[link - 1] === low && this.#highs[link - 1] === high) return true
    }
    return false
  }

  #remember(bucket: number, low: number, high: number): void {
    const at = this.#at
    if (this.#filled) this.#forget(at)
    this.#lows[at] = low
    this.#highs[at] = high
    this.#chain[at] = this.#heads[bucket]!
    this.#heads[bucket] = at + 1
    this.#at = at + 1
    if (this.#at === RECENT) {
      this.#at = 0
      this.#filled = true
    }
  }

  /** The oldest entry is the last one of its chain: new ones are put in front. */
  #forget(at: number): void {
    const bucket = bucketOf(this.#lows[at]!, this.#highs[at]!)
    const link = at + 1
    if (this.#heads[bucket] === link) {
      this.#heads[bucket] = EMPTY
      return
    }
    let before = this.#heads[bucket]!
    while (this.#chain[before - 1] !== link) before = this.#chain[before - 1]!
    this.#chain[before - 1] = EMPTY
  }
}

/** Low bits of the time spread well by themselves; the rest is mixed in for clocks coarser than a nanosecond. */
function bucketOf(low: number, high: number): number {
  const mixed = Math.imul(low ^ high, 0x9e3779b1)
  return (mixed ^ (mixed >>> 15)) & (BUCKETS - 1)
}
