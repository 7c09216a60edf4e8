import type { CidrTable } from './cidr-table.ts'

const SLOTS = 4096

/**
 * True for addresses that mean something on one link only: unspecified, loopback, link-local, link-scope multicast and
 * the limited broadcast. On the link between a pod and its node, whoever else has one is the node.
 */
export function isLinkScope(words: Uint32Array, at: number, family: number): boolean {
  // Words are little-endian reads of bytes in network order: the first byte of an address is the lowest.
  const last = words[at + 3]!
  if (family === 4) {
    const first = last & 0xff
    return (
      last === 0 ||
      last === 0xffff_ffff ||
      first === 127 ||
      (last & 0xffff) === (169 | (254 << 8)) ||
      (last & 0xff_ffff) === 224
    )
  }
  const top = words[at]!
  if ((top & 0xc0ff) === 0x80fe) return true
  if ((top & 0xff) === 0xff) return ((top >>> 8) & 0xf) <= 2
  return top === 0 && words[at + 1] === 0 && words[at + 2] === 0
}

/**
 * Longest-prefix matches of recent addresses outside the cluster: a match tries every prefix length in use, and a few
 * peers make most of the traffic. Direct-mapped, so bounded by construction; cleared when the ranges change.
 */
export class WorldCache {
  readonly #keys = new Uint32Array(SLOTS * 4)
  /** Reference + 1; 0 = nothing cached. */
  readonly #values = new Uint32Array(SLOTS)

  clear(): void {
    this.#values.fill(0)
  }

  /** @returns the range's reference, 0 when no range holds the address */
  lookup(words: Uint32Array, at: number, family: number, cidrs: CidrTable): number {
    const a = words[at]!
    const b = words[at + 1]!
    const c = words[at + 2]!
    const d = words[at + 3]!
    const mixed = Math.imul(a ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(d, 0xc2b2ae35), 0x9e3779b1)
    const slot = (mixed ^ (mixed >>> 16)) & (SLOTS - 1)
    const k = slot * 4
    const keys = this.#keys
    const cached = this.#values[slot]!
    if (cached !== 0 && keys[k + 3] === d && keys[k] === a && keys[k + 1] === b && keys[k + 2] === c) return cached - 1
    const found = cidrs.get(words, at, family)
    keys[k] = a
    keys[k + 1] = b
    keys[k + 2] = c
    keys[k + 3] = d
    this.#values[slot] = found + 1
    return found
  }
}
