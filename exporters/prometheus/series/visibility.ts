/**
 * What counting does to the series it meets:
 * `count` adds, makes the series that are new, and shows those that were hidden;
 * `late` adds, and shows nothing: for flows that only filters of the past wanted;
 * `confirm` adds nothing and makes nothing: it shows series that there are.
 */
export type CountMode = 'count' | 'late' | 'confirm'

/** What is done to every series of a family, a part at a time; see Visibility. */
export type Sweep = 'hide' | 'show' | 'age'

const HIDDEN = 0
const SHOWN = 1
/** In question: shown as before until it is known whether the filters in force want it. */
const PENDING = 2
/** Hidden, and met by a sweep since. */
const AGED = 3
/** No series has it: all take the slow path. */
const NO_STATE = 255

/**
 * Which series a scrape shows, by slot. A change of filters puts a family's series in question; counting, or
 * confirming, shows a series again; a sweep hides those that are in question still. Hidden series keep their values for
 * some minutes, so that a counter that comes back goes on where it was.
 */
export class Visibility {
  mode: CountMode = 'count'
  /** Series hidden. */
  hidden = 0
  #pending = 0
  #states: Uint8Array
  /** The state of series that need nothing but the addition. */
  #plain = SHOWN

  constructor(capacity: number) {
    this.#states = new Uint8Array(capacity)
  }

  setMode(mode: CountMode): void {
    this.mode = mode
    this.#plain = mode === 'count' ? SHOWN : NO_STATE
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
    const state = this.#states[slot]
    return state === HIDDEN || state === AGED
  }

  grow(capacity: number): void {
    if (capacity <= this.#states.length) return
    const states = new Uint8Array(capacity)
    states.set(this.#states)
    this.#states = states
  }

  /** A series takes the slot. */
  add(slot: number): void {
    this.#states[slot] = this.mode === 'late' ? HIDDEN : SHOWN
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
    this.#states[slot] = SHOWN
    return wasHidden
  }

  question(slot: number): void {
    if (this.#states[slot] !== SHOWN) return
    this.#states[slot] = PENDING
    this.#pending++
  }

  /** Hides a series that is in question. @returns true when it was */
  hide(slot: number): boolean {
    if (this.#states[slot] !== PENDING) return false
    this.#leave(slot)
    this.#states[slot] = HIDDEN
    this.hidden++
    return true
  }

  #leave(slot: number): void {
    if (this.#states[slot] === PENDING) this.#pending--
    else if (this.isHidden(slot)) this.hidden--
  }

  /** @returns true when the series was hidden at the sweep before already */
  age(slot: number): boolean {
    if (this.#states[slot] === HIDDEN) this.#states[slot] = AGED
    else return this.#states[slot] === AGED
    return false
  }
}
