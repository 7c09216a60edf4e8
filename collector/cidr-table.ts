import type { IpRange } from '../base/ip.ts'
import { AddressTable } from './address-table.ts'

/** Named ranges of the world that are kept. */
export const MAX_CIDRS = 16_384

/**
 * Longest-prefix match over ranges: a hash table for all, tried once for each prefix length in use, longest first.
 * Allocates nothing at look-up.
 */
export class CidrTable {
  readonly #table = new AddressTable(MAX_CIDRS)
  /** Prefix lengths in use, over 16 bytes; longest first. IPv4 and IPv6 apart, as ::/0 does not hold IPv4. */
  #lengths4: number[] = []
  #lengths6: number[] = []
  readonly #masked = new Uint32Array(4)
  readonly #maskedBytes = new Uint8Array(this.#masked.buffer)

  get size(): number {
    return this.#table.size
  }

  get isFull(): boolean {
    return this.#table.size >= MAX_CIDRS
  }

  clear(): void {
    this.#table.clear()
    this.#lengths4 = []
    this.#lengths6 = []
  }

  /** @param value ≥ 1 @returns false when the table is full */
  set(range: IpRange, value: number): boolean {
    this.#maskedBytes.set(range.bytes)
    if (!this.#table.set(this.#masked, 0, key(range.family, range.bits), value)) return false
    const lengths = range.family === 4 ? this.#lengths4 : this.#lengths6
    if (!lengths.includes(range.bits)) {
      lengths.push(range.bits)
      lengths.sort((a, b) => b - a)
    }
    return true
  }

  /** @returns the value of the longest range that holds the address, 0 when none does */
  get(words: Uint32Array, at: number, family: number): number {
    const lengths = family === 4 ? this.#lengths4 : this.#lengths6
    const masked = this.#masked
    for (let i = 0; i < lengths.length; i++) {
      const bits = lengths[i]!
      for (let word = 0; word < 4; word++) masked[word] = (words[at + word]! & maskOf(bits - 32 * word)) >>> 0
      const value = this.#table.get(masked, 0, key(family, bits))
      if (value !== 0) return value
    }
    return 0
  }
}

function key(family: number, bits: number): number {
  return (family << 8) | bits
}

/** Mask of the leading `bits` bits of four bytes in network order, read as a little-endian word. */
function maskOf(bits: number): number {
  if (bits <= 0) return 0
  if (bits >= 32) return 0xffff_ffff
  const mask = (0xffff_ffff << (32 - bits)) >>> 0
  return ((mask >>> 24) | ((mask >>> 8) & 0xff00) | ((mask & 0xff00) << 8) | (mask << 24)) >>> 0
}
