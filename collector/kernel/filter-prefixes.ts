import { setImmediate as nextTurn } from 'node:timers/promises'
import { NETWORK_KEY, PREFIX_LENGTHS } from '../../model/layouts.gen.ts'
import type { BpfMap } from '../../native/index.ts'
import { deleteWhere, SLICE } from './filter-tables.ts'

/** Index into filter_lengths: LENGTHS_NETWORKS of bpf/maps.h. */
export const NETWORKS = 2

/** A range of addresses. */
export interface KernelPrefix {
  /** 16 bytes, IPv4 as ::ffff:a.b.c.d; zero behind the prefix. */
  readonly bytes: Uint8Array
  /** Of the 16 bytes: 96 more than is written for IPv4. */
  readonly bits: number
}

const FAMILIES = 2
const LENGTHS_PER_FAMILY = PREFIX_LENGTHS.SIZE / FAMILIES

/**
 * Prefixes in a hash, and beside it the lengths that occur, which the kernel tries one after another, longest first.
 * Several of these may share a hash: `which` tells their keys apart.
 */
export class PrefixMap {
  readonly #map: BpfMap
  readonly #lengths: BpfMap
  readonly #which: number

  /** @param which index into the map of lengths: 0 or 1, or NETWORKS for a hash of its own */
  constructor(map: BpfMap, lengths: BpfMap, which: number) {
    this.#map = map
    this.#lengths = lengths
    this.#which = which
  }

  /** @param values one for each, as the map has them @returns prefixes written: fewer when the map is full */
  add(prefixes: readonly KernelPrefix[], values: Uint8Array): number {
    const written = this.#map.updateBatch(this.#keysOf(prefixes), values, prefixes.length)
    this.#writeLengths(mergeLengths(this.#readLengths(), lengthsOf(prefixes.slice(0, written))))
    return written
  }

  async clear(): Promise<void> {
    this.#writeLengths([new Set(), new Set()])
    const set = this.#set
    await deleteWhere(this.#map, (keys, at) => keys.getUint32(at + NETWORK_KEY.set, true) === set)
  }

  /** Makes these the prefixes that there are. @returns prefixes written: fewer when the map is full */
  async replace(prefixes: readonly KernelPrefix[], values: Uint8Array): Promise<number> {
    const slices = Array.from({ length: Math.ceil(prefixes.length / SLICE) }, (_, i) => i * SLICE)
    const wanted = new Set<string>()
    for (const first of slices) {
      const keys = this.#keysOf(prefixes.slice(first, first + SLICE))
      for (let at = 0; at < keys.length; at += NETWORK_KEY.SIZE) wanted.add(textOf(keys, at))
      await nextTurn()
    }
    const set = this.#set
    await deleteWhere(this.#map, (view, at) => {
      if (view.getUint32(at + NETWORK_KEY.set, true) !== set) return false
      return !wanted.has(textOf(new Uint8Array(view.buffer, view.byteOffset), at))
    })
    const lengths = lengthsOf(prefixes)
    this.#writeLengths(mergeLengths(this.#readLengths(), lengths))
    const { valueSize } = this.#map.info
    let written = 0
    for (const first of slices) {
      const some = prefixes.slice(first, first + SLICE)
      written += this.#map.updateBatch(this.#keysOf(some), values.subarray(first * valueSize), some.length)
      await nextTurn()
    }
    this.#writeLengths(lengths)
    return written
  }

  get #set(): number {
    return this.#which === NETWORKS ? 0 : this.#which
  }

  #keysOf(prefixes: readonly KernelPrefix[]): Uint8Array {
    const keys = new Uint8Array(prefixes.length * NETWORK_KEY.SIZE)
    const view = new DataView(keys.buffer)
    prefixes.forEach(({ bytes, bits }, i) => {
      const at = i * NETWORK_KEY.SIZE
      keys.set(bytes, at + NETWORK_KEY.address)
      view.setUint32(at + NETWORK_KEY.prefixLength, bits, true)
      view.setUint32(at + NETWORK_KEY.set, this.#set, true)
    })
    return keys
  }

  #readLengths(): FamilyLengths {
    const value = new Uint8Array(PREFIX_LENGTHS.SIZE)
    this.#lengths.lookup(this.#key(), value)
    return [0, 1].map((family) => {
      const at = family * LENGTHS_PER_FAMILY
      const list = value.subarray(at, at + LENGTHS_PER_FAMILY)
      return new Set([...list].filter((length) => length > 0).map((length) => length - 1))
    }) as unknown as FamilyLengths
  }

  #writeLengths(lengths: FamilyLengths): void {
    const value = new Uint8Array(PREFIX_LENGTHS.SIZE)
    lengths.forEach((set, family) => {
      const longestFirst = [...set].sort((a, b) => b - a)
      longestFirst.forEach((length, i) => {
        value[family * LENGTHS_PER_FAMILY + i] = length + 1
      })
    })
    this.#lengths.update(this.#key(), value)
  }

  #key(): Uint8Array {
    return new Uint8Array(new Uint32Array([this.#which]).buffer)
  }
}

/** Lengths that occur, of IPv4 and of IPv6. */
type FamilyLengths = readonly [ReadonlySet<number>, ReadonlySet<number>]

function lengthsOf(prefixes: readonly KernelPrefix[]): FamilyLengths {
  const lengths = [new Set<number>(), new Set<number>()] as const
  for (const { bytes, bits } of prefixes) lengths[bits >= 96 && isMapped(bytes) ? 0 : 1].add(bits)
  return lengths
}

function mergeLengths(a: FamilyLengths, b: FamilyLengths): FamilyLengths {
  return [new Set([...a[0], ...b[0]]), new Set([...a[1], ...b[1]])]
}

/** Within ::ffff:0:0/96. */
function isMapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false
  return bytes[10] === 0xff && bytes[11] === 0xff
}

function textOf(keys: Uint8Array, at: number): string {
  return Buffer.from(keys.buffer, keys.byteOffset + at, NETWORK_KEY.SIZE).toString('latin1')
}
