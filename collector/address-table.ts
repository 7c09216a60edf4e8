const KEY_WORDS = 5
const FIRST_SLOTS = 256

/**
 * A map from (16-byte address, one 32-bit word) to a number ≥ 1, in typed arrays: look-ups hash five words, make no
 * string and allocate nothing. Open addressing with linear probing, at most half full; it grows by doubling up to its
 * bound and refuses entries beyond. The hash is seeded, so peers that choose addresses cannot choose collisions.
 */
export class AddressTable {
  readonly maxEntries: number
  readonly #seed: number
  #keys: Uint32Array
  #values: Uint32Array
  #mask: number
  #size = 0

  /** @param maxEntries bound; memory is at most 48 bytes x the next power of two of 2 x maxEntries */
  constructor(maxEntries: number, seed: number = (Math.random() * 0x1_0000_0000) >>> 0) {
    this.maxEntries = maxEntries
    this.#seed = seed
    this.#keys = new Uint32Array(FIRST_SLOTS * KEY_WORDS)
    this.#values = new Uint32Array(FIRST_SLOTS)
    this.#mask = FIRST_SLOTS - 1
  }

  get size(): number {
    return this.#size
  }

  /** @param words an address's four words begin at `at`, as they lie in memory @returns the number, 0 when absent */
  get(words: Uint32Array, at: number, extra: number): number {
    const values = this.#values
    const keys = this.#keys
    const a = words[at]!
    const b = words[at + 1]!
    const c = words[at + 2]!
    const d = words[at + 3]!
    let slot = this.#hash(a, b, c, d, extra) & this.#mask
    for (;;) {
      const value = values[slot]!
      if (value === 0) return 0
      const k = slot * KEY_WORDS
      if (keys[k + 3] === d && keys[k + 4] === extra && keys[k] === a && keys[k + 1] === b && keys[k + 2] === c) {
        return value
      }
      slot = (slot + 1) & this.#mask
    }
  }

  /** @param value ≥ 1 @returns false when the entry is new and the table full */
  set(words: Uint32Array, at: number, extra: number, value: number): boolean {
    const slot = this.#find(words, at, extra)
    if (this.#values[slot] !== 0) {
      this.#values[slot] = value
      return true
    }
    if (this.#size >= this.maxEntries) return false
    this.#put(slot, words, at, extra, value)
    this.#size++
    if (this.#size * 2 > this.#mask) this.#grow()
    return true
  }

  delete(words: Uint32Array, at: number, extra: number): boolean {
    let hole = this.#find(words, at, extra)
    if (this.#values[hole] === 0) return false
    this.#size--
    // Entries behind the hole move up where that brings them nearer to their own slot: no tombstones.
    for (let slot = (hole + 1) & this.#mask; this.#values[slot] !== 0; slot = (slot + 1) & this.#mask) {
      const home = this.#home(slot)
      if (((slot - home) & this.#mask) >= ((slot - hole) & this.#mask)) {
        this.#values[hole] = this.#values[slot]!
        this.#keys.copyWithin(hole * KEY_WORDS, slot * KEY_WORDS, slot * KEY_WORDS + KEY_WORDS)
        hole = slot
      }
    }
    this.#values[hole] = 0
    return true
  }

  /** Visits all entries; the table must not change meanwhile. @param visit the address's words begin at `at` */
  forEach(visit: (words: Uint32Array, at: number, value: number) => void): void {
    for (let slot = 0; slot < this.#values.length; slot++) {
      if (this.#values[slot] !== 0) visit(this.#keys, slot * KEY_WORDS, this.#values[slot]!)
    }
  }

  clear(): void {
    this.#values.fill(0)
    this.#size = 0
  }

  #find(words: Uint32Array, at: number, extra: number): number {
    const keys = this.#keys
    let slot = this.#hash(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!, extra) & this.#mask
    for (; this.#values[slot] !== 0; slot = (slot + 1) & this.#mask) {
      const k = slot * KEY_WORDS
      let same = keys[k + 4] === extra
      for (let i = 0; same && i < 4; i++) same = keys[k + i] === words[at + i]
      if (same) return slot
    }
    return slot
  }

  #put(slot: number, words: Uint32Array, at: number, extra: number, value: number): void {
    const k = slot * KEY_WORDS
    for (let i = 0; i < 4; i++) this.#keys[k + i] = words[at + i]!
    this.#keys[k + 4] = extra
    this.#values[slot] = value
  }

  #home(slot: number): number {
    const keys = this.#keys
    const k = slot * KEY_WORDS
    return this.#hash(keys[k]!, keys[k + 1]!, keys[k + 2]!, keys[k + 3]!, keys[k + 4]!) & this.#mask
  }

  #grow(): void {
    const keys = this.#keys
    const values = this.#values
    const slots = values.length * 2
    this.#keys = new Uint32Array(slots * KEY_WORDS)
    this.#values = new Uint32Array(slots)
    this.#mask = slots - 1
    for (let slot = 0; slot < values.length; slot++) {
      if (values[slot] === 0) continue
      const k = slot * KEY_WORDS
      this.#put(this.#find(keys, k, keys[k + 4]!), keys, k, keys[k + 4]!, values[slot]!)
    }
  }

  #hash(a: number, b: number, c: number, d: number, e: number): number {
    let h = this.#seed
    h = Math.imul(h ^ a, 0x9e3779b1)
    h = Math.imul((h ^ (h >>> 15)) + b, 0x85ebca6b)
    h = Math.imul((h ^ (h >>> 13)) + c, 0xc2b2ae35)
    h = Math.imul((h ^ (h >>> 16)) + d, 0x27d4eb2f)
    h = Math.imul((h ^ (h >>> 15)) + e, 0x165667b1)
    return (h ^ (h >>> 16)) >>> 0
  }
}
