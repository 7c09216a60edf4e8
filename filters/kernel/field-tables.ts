import { isMapped, type Prefix, prefixCovers } from '../address.ts'
import { Atoms, type SidedRule } from './atoms.ts'
import { MASK_BYTES, PAIR_BYTES } from './mask.ts'
import type { IpTest, PortTest } from './term.ts'

/** Ports that rules name, and the rules that accept each; bytes for filter_ports. */
export interface PortTable {
  /** Rules that accept any other port, as a source's and as a destination's: struct rule_mask[2]. */
  readonly other: Uint8Array
  readonly ports: readonly number[]
  /** For each port the two masks: struct rule_mask[2]. */
  readonly masks: Uint8Array
}

/** @param rules whose terms are tests of ports */
export function portTable(rules: readonly SidedRule[]): PortTable {
  const atoms = new Atoms<PortTest>(rules)
  const byPort = new Map<number, number[]>()
  atoms.tests.forEach((test, atom) => {
    for (const port of test.ports) {
      const known = byPort.get(port)
      if (known === undefined) byPort.set(port, [atom])
      else known.push(atom)
    }
  })
  const writer = new MaskWriter(atoms, byPort.size)
  const other = writer.nothing()
  for (const held of byPort.values()) writer.push(held)
  return { other, ports: [...byPort.keys()], masks: writer.masks }
}

/** A prefix as the kernel's keys have it: IPv4 and IPv6 are looked up apart, so `::/0` holds no IPv4 address. */
export interface NetworkPrefix {
  /** 16 bytes, IPv4 mapped; host bits are 0. */
  readonly bytes: Uint8Array
  /** Over the 16 bytes: 96 and more for IPv4. */
  readonly bits: number
  readonly isIpv4: boolean
}

/** Prefixes that rules name, and the rules that accept an address in each, those of wider ones with them. */
export interface PrefixTable {
  /** Rules that accept an address in none of them: struct rule_mask[2]. */
  readonly none: Uint8Array
  readonly prefixes: readonly NetworkPrefix[]
  /** For each the two masks: struct filter_class. */
  readonly masks: Uint8Array
}

interface Node {
  readonly prefix: Prefix
  readonly own: number[]
}

/** @param rules whose terms are tests of addresses */
export function prefixTable(rules: readonly SidedRule[]): PrefixTable {
  const atoms = new Atoms<IpTest>(rules)
  const nodes = collectNodes(atoms)
  const writer = new MaskWriter(atoms, nodes.length)
  const none = writer.nothing()
  // Wider ones come before what is inside of them: those that hold the one at hand are on the stack.
  const open: { readonly prefix: Prefix; readonly held: readonly number[] }[] = []
  for (const { prefix, own } of nodes) {
    while (open.length > 0 && !prefixCovers(open.at(-1)!.prefix, prefix)) open.pop()
    const held = [...(open.at(-1)?.held ?? []), ...own]
    open.push({ prefix, held })
    writer.push(held)
  }
  const prefixes = nodes.map(({ prefix }) => ({ ...prefix, bits: bitsOf(prefix) }))
  return { none, prefixes, masks: writer.masks }
}

function collectNodes(atoms: Atoms<IpTest>): Node[] {
  const nodes = new Map<string, Node>()
  const add = (prefix: Prefix, atom: number) => {
    const cut = withoutHostBits(prefix)
    const key = `${cut.bits}/${cut.isIpv4}/${Buffer.from(cut.bytes).toString('latin1')}`
    const node = nodes.get(key)
    if (node === undefined) nodes.set(key, { prefix: cut, own: [atom] })
    else node.own.push(atom)
  }
  atoms.tests.forEach((test, atom) => {
    for (const bytes of test.addresses) {
      const isIpv4 = isMapped(bytes, 0)
      add({ bytes, isIpv4, bits: isIpv4 ? 32 : 128 }, atom)
    }
    // Written as IPv6, a part of ::ffff:0:0/96 holds no address at all.
    for (const prefix of test.prefixes) {
      if (prefix.isIpv4 || prefix.bits < 96 || !isMapped(prefix.bytes, 0)) add(prefix, atom)
    }
  })
  return [...nodes.values()].sort(
    (a, b) =>
      Number(a.prefix.isIpv4) - Number(b.prefix.isIpv4) ||
      Buffer.compare(a.prefix.bytes, b.prefix.bytes) ||
      a.prefix.bits - b.prefix.bits,
  )
}

/** Over 16 bytes. */
function bitsOf({ isIpv4, bits }: Prefix): number {
  return isIpv4 ? bits + 96 : bits
}

function withoutHostBits(prefix: Prefix): Prefix {
  const bytes = Uint8Array.from(prefix.bytes)
  for (let bit = bitsOf(prefix); bit < 128; bit++) bytes[bit >> 3]! &= ~(0x80 >> (bit & 7))
  return { ...prefix, bytes }
}

/** Masks one after another. Most things are alike, so masks are worked out once for each set of tests that hold. */
class MaskWriter {
  readonly masks: Uint8Array
  readonly #atoms: Atoms<IpTest> | Atoms<PortTest>
  readonly #known = new Map<string, Uint8Array>()
  #count = 0

  constructor(atoms: Atoms<IpTest> | Atoms<PortTest>, count: number) {
    this.#atoms = atoms
    this.masks = new Uint8Array(count * PAIR_BYTES)
  }

  /** Masks of what no test is true of. */
  nothing(): Uint8Array {
    return this.#masksOf([])
  }

  push(held: readonly number[]): void {
    this.masks.set(this.#masksOf(held), this.#count++ * PAIR_BYTES)
  }

  #masksOf(held: readonly number[]): Uint8Array {
    this.#atoms.begin()
    for (const atom of held) this.#atoms.hold(atom)
    const key = this.#atoms.key()
    let masks = this.#known.get(key)
    if (masks === undefined) {
      masks = new Uint8Array(2 * MASK_BYTES)
      this.#atoms.writeMasks(masks)
      this.#known.set(key, masks)
    }
    return masks
  }
}
