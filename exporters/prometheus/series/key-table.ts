const MIN_BUCKETS = 64

/**
 * Slots by a key of some 32-bit words: open addressing with linear probing over typed arrays, so that finding a
 * series neither hashes text nor allocates. Buckets hold slot + 1; the key of a slot stays where the slot is.
 *
 *   buckets  [0 | 3 | 0 | 1 | ...]       power of two, at most half full
 *   keys     [word0 word1 .. | word0 word1 .. | ...]   by slot
 */
export class KeyTable {
  readonly words: number
  /** Slots handed out are below this. */
  highWater = 0
  readonly #seed: number
  #keys: Uint32Array
  #hashes: Uint32Array
  #live: Uint8Array
  #buckets: Int32Array
  #mask: number
  #size = 0
  readonly #free: number[] = []

  /** @param words words of a key, at least 1 @param seed any 32-bit number; makes collisions hard to foresee */
  constructor(words: number, seed: number) {
    this.words = words
    this.#seed = seed >>> 0
    this.#keys = new Uint32Array(MIN_BUCKETS * words)
    this.#hashes = new Uint32Array(MIN_BUCKETS)
    this.#live = new Uint8Array(MIN_BUCKETS)
    this.#buckets = new Int32Array(2 * MIN_BUCKETS)
    this.#mask = this.#buckets.length - 1
  }

  get size(): number {
    return this.#size
  }

  /** Slots that the arrays have room for; values beside them are sized by it. */
  get capacity(): number {
    return this.#live.length
  }

  isLive(slot: number): boolean {
    return this.#live[slot] === 1
  }

  /** Word `index` of a live slot's key. */
  word(slot: number, index: number): number {
    return this.#keys[slot * this.words + index]!
  }

  /** Copies a slot's key out. */
  read(slot: number, out: Uint32Array): void {
    const at = slot * this.words
    for (let i = 0; i < this.words; i++) out[i] = this.#keys[at + i]!
  }

  /** @returns the key's slot, or -1 */
  find(key: Uint32Array): number {
    const words = this.words
    const keys = this.#keys
    const hash = this.#hash(key)
    for (let bucket = hash & this.#mask; ; bucket = (bucket + 1) & this.#mask) {
      const slot = this.#buckets[bucket]! - 1
      if (slot < 0) return -1
      const at = slot * words
      let i = 0
      while (i < words && keys[at + i] === key[i]) i++
      if (i === words) return slot
    }
  }

  /** Gives a key that is not in the table a slot, a freed one where there is one. */
  insert(key: Uint32Array): number {
    const slot = this.#free.pop() ?? this.highWater++
    if (slot >= this.#live.length) this.#growSlots()
    if (2 * (this.#size + 1) > this.#buckets.length) this.#growBuckets()
    const at = slot * this.words
    for (let i = 0; i < this.words; i++) this.#keys[at + i] = key[i]!
    this.#hashes[slot] = this.#hash(key)
    this.#live[slot] = 1
    this.#size++
    this.#place(slot)
    return slot
  }

  /** Frees a live slot. Later entries of its run move up, so that no tombstones stay. */
  remove(slot: number): void {
    let hole = this.#hashes[slot]! & this.#mask
    while (this.#buckets[hole] !== slot + 1) hole = (hole + 1) & this.#mask
    for (let next = (hole + 1) & this.#mask; this.#buckets[next] !== 0; next = (next + 1) & this.#mask) {
      const home = this.#hashes[this.#buckets[next]! - 1]! & this.#mask
      // An entry may fill the hole when the hole lies between its home and where it stands.
      if (((next - home) & this.#mask) >= ((next - hole) & this.#mask)) {
        this.#buckets[hole] = this.#buckets[next]!
        hole = next
      }
    }
    this.#buckets[hole] = 0
    this.#live[slot] = 0
    this.#size--
    this.#free.push(slot)
  }

  #place(slot: number): void {
    let bucket = this.#hashes[slot]! & this.#mask
    while (this.#buckets[bucket] !== 0) bucket = (bucket + 1) & this.#mask
    this.#buckets[bucket] = slot + 1
  }

  #hash(key: Uint32Array): number {
    let h = this.#seed
    for (let i = 0; i < this.words; i++) {
      h = Math.imul(h ^ key[i]!, 0x9e3779b1)
      h ^= h >>> 15
    }
    h = Math.imul(h, 0x85ebca6b)
    return (h ^ (h >>> 13)) >>> 0
  }

  #growSlots(): void {
    const capacity = 2 * this.#live.length
    this.#keys = grown(this.#keys, new Uint32Array(capacity * this.words))
    this.#hashes = grown(this.#hashes, new Uint32Array(capacity))
    this.#live = grown(this.#live, new Uint8Array(capacity))
  }

  #growBuckets(): void {
    this.#buckets = new Int32Array(2 * this.#buckets.length)
    this.#mask = this.#buckets.length - 1
    for (let slot = 0; slot < this.highWater; slot++) if (this.#live[slot] === 1) this.#place(slot)
  }
}

function grown<T extends Uint32Array | Uint8Array>(from: T, to: T): T {
  to.set(from)
  return to
}
