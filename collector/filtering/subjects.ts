import { TimeSlice } from '../../base/time-slice.ts'
import type { Endpoint } from '../../model/endpoint.ts'
import { ADDRESS_ENTRY, FilterClassId, FilterLimit, SubjectFlag } from '../../model/layouts.gen.ts'
import type { EndpointTable } from '../endpoints.ts'
import { encodeSubject, type FilterMaps } from '../kernel/filter-maps.ts'
import type { FilterSet } from '../kernel/filter-tables.ts'
import { AddressMirror, NO_CLASS } from './address-mirror.ts'
import type { ClassTable } from './class-table.ts'

/** Addresses of one write: half a millisecond of work. */
const BATCH = 256
/** Addresses that went and are not deleted yet have their slots beside those that came. */
const SLACK = 8192
const KEY_BYTES = 16

const SETS: readonly FilterSet[] = [0, 1]

/** Class of a subject in each set of rules. */
type Classes = [number, number]

interface DeviceState {
  readonly classes: Classes
  /** SubjectFlag */
  readonly flags: number
}

const UNKNOWN_DEVICE: DeviceState = { classes: [NO_CLASS, NO_CLASS], flags: 0 }

/**
 * Whose the addresses, devices and ranges are, in the kernel's tables: follows the collector's tables, and gives each
 * subject its class in every set of rules that is in force or being prepared. Changes are noted at once and written in
 * batches; a subject that changes often is written as it is in the end.
 */
export class Subjects implements Disposable {
  /** Addresses that found no room in the kernel's table; they are tried again. */
  refused = 0
  /** The kernel refused writes since a set was opened: classes that they had to give up are held as long as that set is. */
  holdsClasses = false
  readonly #maps: FilterMaps
  readonly #endpoints: EndpointTable
  readonly #mirror = new AddressMirror(FilterLimit.ADDRESSES + SLACK)
  readonly #devices = new Map<number, DeviceState>()
  readonly #dirtyDevices = new Set<number>()
  readonly #tables: [ClassTable | undefined, ClassTable | undefined] = [undefined, undefined]
  readonly #subscriptions: Disposable[]
  readonly #keys = new Uint8Array(BATCH * KEY_BYTES)
  readonly #keyWords = new Uint32Array(this.#keys.buffer)
  readonly #values = new Uint8Array(BATCH * ADDRESS_ENTRY.SIZE)
  #networks: Classes[] = []
  #networksDirty = true
  /** What was written since flush() told of it may change the answers for flows that live. */
  #isChanged = false
  /** Slots of addresses that found no room. */
  #unwritten: number[] = []

  /** @param onChange called when something is to be written; the caller then sees to it that flush() is called soon */
  constructor(maps: FilterMaps, endpoints: EndpointTable, onChange: () => void) {
    this.#maps = maps
    this.#endpoints = endpoints
    endpoints.addresses.forEach((words, at, ref) => void this.#mirror.set(words, at, ref))
    for (const ifindex of endpoints.devices()) this.#dirtyDevices.add(ifindex)
    this.#subscriptions = [
      endpoints.addresses.onChange(({ words, ref }) => {
        if (!this.#mirror.set(words, 0, ref)) this.refused++
        onChange()
      }),
      endpoints.onDevice((ifindex) => {
        this.#dirtyDevices.add(ifindex)
        onChange()
      }),
      endpoints.cluster.onCidrs(() => {
        this.#networksDirty = true
        onChange()
      }),
    ]
  }

  /** Addresses known. */
  get addresses(): number {
    return this.#mirror.size
  }

  /** Subjects that changed and are not written yet. */
  get pending(): number {
    return this.#mirror.dirtyCount + this.#unwritten.length + this.#dirtyDevices.size + (this.#networksDirty ? 1 : 0)
  }

  /** Whether there is a named range, or the kernel may still have one. */
  get hasNetworks(): boolean {
    return this.#networks.length > 0
  }

  /** Is the address of 16 bytes one of the cluster's? */
  has(words: Uint32Array, at: number): boolean {
    return this.#mirror.has(words, at)
  }

  /** From now on changes of subjects reach this set too. */
  open(set: FilterSet, table: ClassTable): void {
    this.close(set)
    this.#tables[set] = table
    this.holdsClasses = false
    // They get their classes with the next write of all.
    this.#networksDirty = true
  }

  /** A set that is not in force any more. */
  close(set: FilterSet): void {
    this.#tables[set] = undefined
    this.#mirror.classes[set].fill(NO_CLASS)
    for (const { classes } of this.#devices.values()) classes[set] = NO_CLASS
    for (const classes of this.#networks) classes[set] = NO_CLASS
  }

  /** Gives every subject its class in a set and writes all of it. */
  async build(set: FilterSet, slice: TimeSlice = new TimeSlice()): Promise<void> {
    const mirror = this.#mirror
    const table = this.#tables[set]!
    for (let slot = 0; slot < mirror.end; slot++) {
      const ref = mirror.refs[slot]!
      if (ref === 0 || mirror.classes[set][slot] !== NO_CLASS) continue
      mirror.classes[set][slot] = table.acquire(this.#endpoints.get(ref))
      if ((slot & 31) === 0 && slice.isOver) await slice.yield()
    }
    this.#flushClasses()
    for (let first = 0; first < mirror.end; first += BATCH) {
      this.#writeRange(first, Math.min(first + BATCH, mirror.end))
      if (slice.isOver) await slice.yield()
    }
    for (const ifindex of this.#devices.keys()) this.#dirtyDevices.add(ifindex)
  }

  /**
   * Writes what changed, in slices.
   *
   * @param inForce the set whose classes matter
   * @returns whether a flow that is judged again may get another answer
   */
  async flush(inForce: FilterSet, slice: TimeSlice = new TimeSlice()): Promise<boolean> {
    for (const slot of this.#unwritten.splice(0)) if (this.#mirror.refs[slot] !== 0) this.#mirror.mark(slot)
    while (this.#mirror.dirtyCount > 0) {
      const slots = this.#mirror.takeDirty(BATCH)
      this.#attempt(
        () => this.#flushAddresses(slots, inForce),
        () => slots.forEach((slot) => void this.#mirror.mark(slot)),
      )
      if (slice.isOver) await slice.yield()
    }
    if (this.#networksDirty) await slice.yieldTo(this.#flushNetworks())
    // Copied: a device may change while the loop lets others in.
    for (const ifindex of [...this.#dirtyDevices]) {
      this.#dirtyDevices.delete(ifindex)
      this.#attempt(
        () => this.#flushDevice(ifindex, inForce),
        () => this.#dirtyDevices.add(ifindex),
      )
      if (slice.isOver) await slice.yield()
    }
    slice.end()
    const changed = this.#isChanged
    this.#isChanged = false
    return changed
  }

  /** Writes, or notes that it is still to be written: what the kernel refused for want of memory it may take later. */
  #attempt(write: () => boolean, again: () => void): void {
    try {
      if (write()) this.#isChanged = true
    } catch (error) {
      again()
      this.holdsClasses = true
      throw error
    }
  }

  [Symbol.dispose](): void {
    for (const one of this.#subscriptions) one[Symbol.dispose]()
  }

  #flushAddresses(slots: readonly number[], inForce: FilterSet): boolean {
    const mirror = this.#mirror
    const gone: number[] = []
    const there: number[] = []
    let changed = false
    const released: Classes[] = []
    for (const slot of slots) {
      const ref = mirror.refs[slot]!
      const endpoint = ref === 0 ? undefined : this.#endpoints.get(ref)
      const list = endpoint === undefined ? gone : there
      list.push(slot)
      const before = mirror.classesOf(slot)
      const after = this.#classesOf(endpoint)
      mirror.setClasses(slot, after)
      released.push(before)
      const flags = endpoint?.isLocal && endpoint.podName !== '' ? SubjectFlag.LOCAL_POD : 0
      if (flags !== mirror.flags[slot] || this.#matters(before[inForce], after[inForce])) changed = true
      mirror.flags[slot] = flags
    }
    this.#flushClasses()
    this.#delete(gone)
    this.#write(there)
    // Not before all is written: what is tried again has its slots.
    for (const slot of gone) mirror.drop(slot)
    // Last: until now the kernel could still find them by these addresses.
    for (const classes of released) this.#release(classes)
    return changed
  }

  /** What nobody claims is the world, or a range's. */
  #matters(before: number, after: number): boolean {
    if (before === after) return false
    const isWorld = (id: number) => id === NO_CLASS || id === FilterClassId.WORLD
    return this.hasNetworks || !(isWorld(before) && isWorld(after))
  }

  #flushClasses(): void {
    for (const set of SETS) {
      this.#tables[set]?.flush((first, masks) => this.#maps.writeClasses(set, first, masks))
    }
  }

  #delete(slots: readonly number[]): void {
    if (slots.length === 0) return
    for (const [i, slot] of slots.entries()) this.#putKey(slot, i)
    this.#maps.deleteAddresses(this.#keys, slots.length)
  }

  #write(slots: readonly number[]): void {
    if (slots.length === 0) return
    for (const [i, slot] of slots.entries()) this.#put(slot, i)
    const written = this.#maps.setAddresses(this.#keys, this.#values, slots.length)
    if (written === slots.length) return
    this.refused += slots.length - written
    this.#unwritten.push(...slots.slice(written))
  }

  /** Writes the addresses of slots [first, end) that are there. */
  #writeRange(first: number, end: number): void {
    const slots: number[] = []
    for (let slot = first; slot < end; slot++) if (this.#mirror.refs[slot] !== 0) slots.push(slot)
    this.#write(slots)
  }

  #putKey(slot: number, at: number): void {
    for (let i = 0; i < 4; i++) this.#keyWords[at * 4 + i] = this.#mirror.words[slot * 4 + i]!
  }

  #put(slot: number, at: number): void {
    const { identity } = this.#endpoints.get(this.#mirror.refs[slot]!)
    const [first, second] = this.#mirror.classesOf(slot)
    this.#putKey(slot, at)
    const subject = { identity, classes: [shown(first), shown(second)] as const }
    encodeSubject(this.#values, at * ADDRESS_ENTRY.SIZE, subject, this.#mirror.flags[slot]!)
  }

  #flushDevice(ifindex: number, inForce: FilterSet): boolean {
    const ref = this.#endpoints.byInterface(ifindex)
    const endpoint = ref === 0 ? undefined : this.#endpoints.get(ref)
    const before = this.#devices.get(ifindex) ?? UNKNOWN_DEVICE
    const classes = this.#classesOf(endpoint)
    // While nobody knows whose addresses are behind it, the packet's own may be a pod's: as in stamp.ts.
    const asks = endpoint?.podName === '' && !this.#endpoints.hasAddresses(ifindex)
    const flags = asks ? SubjectFlag.ASK_ADDRESS : 0
    if (endpoint === undefined) {
      this.#devices.delete(ifindex)
    } else {
      this.#devices.set(ifindex, { classes, flags })
      this.#flushClasses()
      const shownClasses = [shown(classes[0]), shown(classes[1])] as const
      // One that is not watched any more is nobody's concern.
      this.#maps.setDevice(ifindex, { identity: endpoint.identity, classes: shownClasses, flags })
    }
    this.#release(before.classes)
    return before.flags !== flags || before.classes[inForce] !== classes[inForce]
  }

  #classesOf(endpoint: Endpoint | undefined): Classes {
    const [first, second] = this.#tables
    if (endpoint === undefined) return [NO_CLASS, NO_CLASS]
    return [first?.acquire(endpoint) ?? NO_CLASS, second?.acquire(endpoint) ?? NO_CLASS]
  }

  #release(classes: Classes): void {
    for (const set of SETS) if (classes[set] !== NO_CLASS) this.#tables[set]?.release(classes[set])
  }

  async #flushNetworks(): Promise<void> {
    this.#networksDirty = false
    const old = this.#networks
    // Of a range that was named twice the last one holds.
    const ranges = new Map(
      this.#endpoints.cluster.cidrs().map((one) => [`${one.range.bits}/${one.range.bytes.join()}`, one]),
    )
    const networks = Array.from(ranges.values(), ({ range, ref }) => {
      const endpoint = this.#endpoints.get(ref)
      return { ...range, identity: endpoint.identity, classes: this.#classesOf(endpoint) }
    })
    this.#networks = networks.map(({ classes }) => classes)
    this.#flushClasses()
    const shownNetworks = networks.map((one) => ({
      ...one,
      classes: [shown(one.classes[0]), shown(one.classes[1])] as const,
    }))
    this.#isChanged = true
    try {
      await this.#maps.setNetworks(shownNetworks)
    } catch (error) {
      this.#networksDirty = true
      this.holdsClasses = true
      throw error
    }
    for (const classes of old) this.#release(classes)
  }
}

/** What the kernel is told of a subject without a class: user space decides. */
function shown(id: number): number {
  return id === NO_CLASS ? FilterClassId.UNDECIDED : id
}
