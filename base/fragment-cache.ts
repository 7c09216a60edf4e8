/** Stands in slots that hold nothing: no source of a caller, not even undefined, is equal to it. */
const EMPTY = Symbol('empty')

/**
 * Encoded pieces of messages or lines by a small integer. Direct-mapped: a key has one slot and a newcomer takes it
 * over, so size is fixed, a hit costs two comparisons and nothing is kept in order. References are handed out in
 * sequence, so that those in use at one time rarely share a slot. A piece is used only for the very thing it was made
 * from: the cache is never stale.
 */
export class FragmentCache<T> {
  readonly #slotMask: number
  readonly #maxBytes: number
  readonly #build: (source: T, key: number) => Uint8Array
  readonly #keys: Int32Array
  readonly #sources: (T | typeof EMPTY)[]
  readonly #pieces: (Uint8Array | undefined)[]
  #bytes = 0
  /** Look-ups that had to build. */
  misses = 0

  /**
   * @param slots power of two
   * @param maxBytes all pieces together; when a new one would exceed it, all are dropped
   * @param build makes the piece of a key; what it makes may depend on key and source alone
   */
  constructor(slots: number, maxBytes: number, build: (source: T, key: number) => Uint8Array) {
    this.#slotMask = slots - 1
    this.#maxBytes = maxBytes
    this.#build = build
    this.#keys = new Int32Array(slots)
    this.#sources = new Array<T | typeof EMPTY>(slots).fill(EMPTY)
    this.#pieces = new Array<Uint8Array | undefined>(slots).fill(undefined)
  }

  /**
   * The piece of a key.
   *
   * @param key a word; its low bits choose the slot
   * @param source what the piece is made from: a piece made from another object (or text) is made again
   */
  get(key: number, source: T): Uint8Array {
    const slot = key & this.#slotMask
    if (this.#sources[slot] === source && this.#keys[slot] === (key | 0)) return this.#pieces[slot]!
    return this.#fill(slot, key, source)
  }

  #fill(slot: number, key: number, source: T): Uint8Array {
    this.misses++
    const piece = this.#build(source, key)
    this.#bytes += piece.length - (this.#pieces[slot]?.length ?? 0)
    if (this.#bytes > this.#maxBytes) {
      this.clear()
      if (piece.length > this.#maxBytes) return piece
      this.#bytes = piece.length
    }
    this.#keys[slot] = key
    this.#sources[slot] = source
    this.#pieces[slot] = piece
    return piece
  }

  /** Bytes of all pieces held. */
  get bytes(): number {
    return this.#bytes
  }

  clear(): void {
    this.#sources.fill(EMPTY)
    this.#pieces.fill(undefined)
    this.#bytes = 0
  }
}
