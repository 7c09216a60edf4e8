/** Stands in slots that hold nothing: no thing of a caller, not even undefined, is equal to it. */
const EMPTY = Symbol('empty')

/**
 * Encoded bytes of things that many flows name: endpoints, name lists, interfaces. Direct-mapped: a slot holds the
 * thing last met with that number, and is used only for that very thing, so the cache is bounded, never stale, and
 * needs no clearing. Two things that share a slot evict each other.
 */
export class FragmentCache<T> {
  readonly #things: (T | typeof EMPTY)[]
  readonly #bytes: (Uint8Array | undefined)[]
  readonly #mask: number
  readonly #encode: (thing: T) => Uint8Array
  /** Times that something was encoded. */
  misses = 0

  /** @param slots a power of two */
  constructor(slots: number, encode: (thing: T) => Uint8Array) {
    this.#things = new Array<T | typeof EMPTY>(slots).fill(EMPTY)
    this.#bytes = new Array<Uint8Array | undefined>(slots).fill(undefined)
    this.#mask = slots - 1
    this.#encode = encode
  }

  /** @param number spreads things over slots; equal things need not have equal numbers */
  get(number: number, thing: T): Uint8Array {
    const slot = number & this.#mask
    if (this.#things[slot] === thing) return this.#bytes[slot]!
    this.misses++
    const bytes = this.#encode(thing)
    this.#things[slot] = thing
    this.#bytes[slot] = bytes
    return bytes
  }
}
