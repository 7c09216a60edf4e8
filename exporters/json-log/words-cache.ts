/**
 * Encoded pieces by some words of a record, as addresses are: direct-mapped, of fixed size. A piece is kept from the
 * second time that its words are met, so that traffic of many passing peers allocates nothing here.
 */
export class WordsCache {
  readonly #slotMask: number
  readonly #width: number
  readonly #keys: Int32Array
  readonly #pieces: (Uint8Array | undefined)[]
  #slot = 0
  #isSeen = false

  /** @param slots power of two @param width words that make a key, without the extra one */
  constructor(slots: number, width: number) {
    this.#slotMask = slots - 1
    this.#width = width + 1
    this.#keys = new Int32Array(slots * this.#width)
    this.#pieces = new Array(slots).fill(undefined)
  }

  /**
   * The piece of a record's words, if it is known; else call admit() with what was written for them.
   *
   * @param from the record's buffer as words @param at index of the first word
   * @param extra what else the piece depends on; not 0, which marks a slot never used
   */
  find(from: Int32Array, at: number, extra: number): Uint8Array | undefined {
    const keys = this.#keys
    const width = this.#width - 1
    let hash = extra
    for (let i = 0; i < width; i++) hash = Math.imul(hash ^ from[at + i]!, 0x9e3779b1)
    const slot = (hash >>> 12) & this.#slotMask
    const key = slot * this.#width
    let difference = keys[key + width]! ^ extra
    for (let i = 0; i < width; i++) difference |= keys[key + i]! ^ from[at + i]!
    if (difference === 0) {
      this.#isSeen = true
      const piece = this.#pieces[slot]
      if (piece === undefined) this.#slot = slot
      return piece
    }
    for (let i = 0; i < width; i++) keys[key + i] = from[at + i]!
    keys[key + width] = extra
    this.#pieces[slot] = undefined
    this.#slot = slot
    this.#isSeen = false
    return undefined
  }

  /** Keeps what was written after find() found nothing, if its words were met before. */
  admit(written: Uint8Array, from: number, to: number): void {
    if (this.#isSeen) this.#pieces[this.#slot] = written.slice(from, to)
  }
}
