import { isMapped, type Prefix } from '../address.ts'

/**
 * Addresses and prefixes as sorted ranges that do not overlap: a look-up is one binary search, also over thousands of
 * prefixes of as many lengths. IPv4 ranges are words of their own, so that `::/0` never holds an IPv4 address.
 */
export class AddressSet {
  /** First and last address of each IPv4 range, one word each. */
  readonly #firsts4: Uint32Array
  readonly #lasts4: Uint32Array
  /** First and last address of each IPv6 range, four words each. */
  readonly #firsts6: Uint32Array
  readonly #lasts6: Uint32Array

  /** @param addresses 16 bytes each, IPv4 mapped */
  constructor(addresses: readonly Uint8Array[], prefixes: readonly Prefix[]) {
    const ranges4: Range[] = []
    const ranges6: Range[] = []
    for (const bytes of addresses) (isMapped(bytes, 0) ? ranges4 : ranges6).push(range(bytes, 128))
    for (const { bytes, bits, isIpv4 } of prefixes) {
      if (isIpv4) ranges4.push(range(bytes, bits + 96))
      else ranges6.push(range(bytes, bits))
    }
    const four = disjoint(ranges4)
    this.#firsts4 = Uint32Array.from(four, ({ first }) => first[3]!)
    this.#lasts4 = Uint32Array.from(four, ({ last }) => last[3]!)
    const six = disjoint(ranges6)
    this.#firsts6 = Uint32Array.from(six.flatMap(({ first }) => [...first]))
    this.#lasts6 = Uint32Array.from(six.flatMap(({ last }) => [...last]))
  }

  /** Is the address of 16 bytes at `at` in the set? Allocates nothing. */
  has(bytes: Uint8Array, at: number): boolean {
    return isMapped(bytes, at) ? this.#has4(wordAt(bytes, at + 12)) : this.#has6(bytes, at)
  }

  #has4(address: number): boolean {
    const firsts = this.#firsts4
    let low = 0
    let high = firsts.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (firsts[middle]! <= address) low = middle + 1
      else high = middle
    }
    return low > 0 && address <= this.#lasts4[low - 1]!
  }

  #has6(bytes: Uint8Array, at: number): boolean {
    if (this.#firsts6.length === 0) return false
    const a = wordAt(bytes, at)
    const b = wordAt(bytes, at + 4)
    const c = wordAt(bytes, at + 8)
    const d = wordAt(bytes, at + 12)
    let low = 0
    let high = this.#firsts6.length >>> 2
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compare(this.#firsts6, 4 * middle, a, b, c, d) <= 0) low = middle + 1
      else high = middle
    }
    return low > 0 && compare(this.#lasts6, 4 * (low - 1), a, b, c, d) >= 0
  }
}

interface Range {
  readonly first: Uint32Array
  readonly last: Uint32Array
}

/** The range of a prefix of `bits` of 128; host bits that are set are ignored. */
function range(bytes: Uint8Array, bits: number): Range {
  const first = new Uint32Array(4)
  const last = new Uint32Array(4)
  for (let word = 0; word < 4; word++) {
    const kept = Math.min(32, Math.max(0, bits - 32 * word))
    const hosts = kept === 32 ? 0 : 0xffff_ffff >>> kept
    const value = wordAt(bytes, 4 * word)
    first[word] = value & ~hosts
    last[word] = value | hosts
  }
  return { first, last }
}

/** Prefixes are nested or apart, so a range is dropped when the one before it ends behind it. */
function disjoint(ranges: Range[]): Range[] {
  const order = (a: Uint32Array, b: Uint32Array) => compare(a, 0, b[0]!, b[1]!, b[2]!, b[3]!)
  ranges.sort((a, b) => order(a.first, b.first) || order(b.last, a.last))
  const kept: Range[] = []
  for (const one of ranges) {
    const before = kept.at(-1)
    if (before === undefined || order(before.last, one.last) < 0) kept.push(one)
  }
  return kept
}

/** Negative, 0 or positive as the four words at `at` are less than, equal to or greater than the address a:b:c:d. */
function compare(words: Uint32Array, at: number, a: number, b: number, c: number, d: number): number {
  return words[at]! - a || words[at + 1]! - b || words[at + 2]! - c || words[at + 3]! - d
}

function wordAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}
