/**
 * What counting does to the series it meets:
 * `count` adds, makes the series that are new, and shows those that were hidden;
 * `late` adds, and shows nothing: for flows that only filters of the past wanted;
 * `confirm` adds nothing and makes nothing: it shows series that there are.
 */
export type CountMode = 'count' | 'late' | 'confirm'

/** What is done to every series of a family, a part at a time; see Visibility. */
export type Sweep = 'hide' | 'show' | 'age'

/** States of a series, and above them the epoch in which it was shown last. */
const HIDDEN = 0
/** Hidden, and met by a sweep since. */
const AGED = 1
const FIRST_EPOCH = 2
/** No series has it: all take the slow path. */
const NO_STATE = 0xffff_ffff

/**
 * Which series a scrape shows, by slot. A change of filters puts a family's series in question, all at once, by a new
 * epoch; counting, or confirming, takes a series into it; a sweep hides those that were left behind, which are shown until
 * then. Hidden series keep their values for some minutes, so that a counter that comes back goes on where it was.
 */
export class Visibility {
  mode: CountMode = 'count'
  /** Series hidden. */
  hidden = 0
  /** Series in question. */
  #pending = 0
  #epoch = FIRST_EPOCH
  #states: Uint32Array
  /** The state of series that need nothing but the addition. */
  #plain = FIRST_EPOCH

  constructor(capacity: number) {
    this.#states = new Uint32Array(capacity)
  }

  setMode(mode: CountMode): void {
    this.mode = mode
    this.#plain = mode === 'count' ? this.#epoch : NO_STATE
  }

  /** Whether counting is plain for every series. */
  get isCalm(): boolean {
    return this.mode === 'count' && this.hidden + this.#pending === 0
  }

  /** Whether counting adds to the series and that is all. */
  isPlain(slot: number): boolean {
    return this.#states[slot] === this.#plain
  }

  isHidden(slot: number): boolean {
    return this.#states[slot]! <= AGED
  }

  grow(capacity: number): void {
    if (capacity <= this.#states.length) return
    const states = new Uint32Array(capacity)
    states.set(this.#states)
    this.#states = states
  }

  /** A series takes the slot. */
  add(slot: number): void {
    this.#states[slot] = this.mode === 'late' ? HIDDEN : this.#epoch
    if (this.mode === 'late') this.hidden++
  }

  /** The slot's series goes. */
  remove(slot: number): void {
    this.#leave(slot)
    this.#states[slot] = HIDDEN
  }

  /** @returns true when it was hidden */
  show(slot: number): boolean {
    const wasHidden = this.isHidden(slot)
    this.#leave(slot)
    this.#states[slot] = this.#epoch
    return wasHidden
  }

  /** Puts all series in question. @param series how many there are */
  question(series: number): void {
    this.#epoch++
    this.#pending = series - this.hidden
    this.setMode(this.mode)
  }

  /** Hides a series that is in question. @returns true when it was */
  hide(slot: number): boolean {
    if (this.isHidden(slot) || this.#states[slot] === this.#epoch) return false
    this.#leave(slot)
    this.#states[slot] = HIDDEN
    this.hidden++
    return true
  }

  /** @returns true when the series was hidden at the sweep before already */
  age(slot: number): boolean {
    const state = this.#states[slot]
    if (state === HIDDEN) this.#states[slot] = AGED
    return state === AGED
  }

  #leave(slot: number): void {
    if (this.isHidden(slot)) this.hidden--
    else if (this.#states[slot] !== this.#epoch) this.#pending--
  }
}
