import type { Steps } from '../../base/steps.ts'
import { isMapped, type Prefix, prefixCovers } from '../address.ts'
import { Atoms, type SidedRule } from './atoms.ts'
import { MASK_BYTES, PAIR_BYTES } from './mask.ts'
import type { IpTest, PortTest } from './term.ts'

/** Entries of a table that make a step. */
const STEP_ENTRIES = 128

/** Ports that rules name, and the rules that accept each; bytes for filter_ports. */
export interface PortTable {
  /** Rules that accept any other port, as a source's and as a destination's: struct rule_mask[2]. */
  readonly other: Uint8Array
  readonly ports: readonly number[]
  /** For each port the two masks: struct rule_mask[2]. */
  readonly masks: Uint8Array
}

/** @param rules whose terms are tests of ports */
export function* portTable(rules: readonly SidedRule[]): Steps<PortTable> {
  const atoms = yield* Atoms.of<PortTest>(rules)
  const byPort = new Map<number, number[]>()
  for (const [atom, test] of atoms.tests.entries()) {
    for (const port of test.ports) {
      const known = byPort.get(port)
      if (known === undefined) byPort.set(port, [atom])
      else known.push(atom)
    }
    yield
  }
  const writer = new MaskWriter(atoms, byPort.size)
  const other = writer.nothing()
  for (const held of byPort.values()) yield* writer.push(held)
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
export function* prefixTable(rules: readonly SidedRule[]): Steps<PrefixTable> {
  const atoms = yield* Atoms.of<IpTest>(rules)
  const nodes = yield* collectNodes(atoms)
  const writer = new MaskWriter(atoms, nodes.length)
  const none = writer.nothing()
  // Wider ones come before what is inside of them: those that hold the one at hand are on the stack.
  const open: { readonly prefix: Prefix; readonly held: readonly number[] }[] = []
  for (const { prefix, own } of nodes) {
    while (open.length > 0 && !prefixCovers(open.at(-1)!.prefix, prefix)) open.pop()
    const held = [...(open.at(-1)?.held ?? []), ...own]
    open.push({ prefix, held })
    yield* writer.push(held)
  }
  const prefixes = nodes.map(({ prefix }) => ({ ...prefix, bits: bitsOf(prefix) }))
  return { none, prefixes, masks: writer.masks }
}

function* collectNodes(atoms: Atoms<IpTest>): Steps<Node[]> {
  const nodes = new Map<string, Node>()
  let count = 0
  for (const [atom, test] of atoms.tests.entries()) {
    for (const prefix of prefixesOf(test)) {
      const cut = withoutHostBits(prefix)
      const key = orderOf(cut)
      const node = nodes.get(key)
      if (node === undefined) nodes.set(key, { prefix: cut, own: [atom] })
      else node.own.push(atom)
      if (++count % STEP_ENTRIES === 0) yield
    }
  }
  // By the units of the text: the fastest order there is.
  return [...nodes.keys()].sort().map((key) => nodes.get(key)!)
}

function* prefixesOf(test: IpTest): Generator<Prefix> {
  for (const bytes of test.addresses) {
    const isIpv4 = isMapped(bytes, 0)
    yield { bytes, isIpv4, bits: isIpv4 ? 32 : 128 }
  }
  for (const prefix of test.prefixes) {
    // Written as IPv6, a part of ::ffff:0:0/96 holds no address at all.
    if (prefix.isIpv4 || prefix.bits < 96 || !isMapped(prefix.bytes, 0)) yield prefix
  }
}

/** A text for each prefix, ordered by family, address, length. */
function orderOf({ isIpv4, bytes, bits }: Prefix): string {
  return String.fromCharCode(isIpv4 ? 4 : 6, ...bytes, bits)
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
  /** Whether the last masks had to be worked out: by 256 rules some microseconds. */
  #isNew = false

  constructor(atoms: Atoms<IpTest> | Atoms<PortTest>, count: number) {
    this.#atoms = atoms
    this.masks = new Uint8Array(count * PAIR_BYTES)
  }

  /** Masks of what no test is true of. */
  nothing(): Uint8Array {
    return this.#masksOf([])
  }

  *push(held: readonly number[]): Steps<void> {
    this.masks.set(this.#masksOf(held), this.#count++ * PAIR_BYTES)
    if (this.#count % STEP_ENTRIES === 0 || this.#isNew) yield
  }

  #masksOf(held: readonly number[]): Uint8Array {
    this.#atoms.begin()
    for (const atom of held) this.#atoms.hold(atom)
    const key = this.#atoms.key()
    let masks = this.#known.get(key)
    this.#isNew = masks === undefined
    if (masks === undefined) {
      masks = new Uint8Array(2 * MASK_BYTES)
      this.#atoms.writeMasks(masks)
      this.#known.set(key, masks)
    }
    return masks
  }
}
