import {
  ADDRESS_ENTRY,
  ENDPOINT_CONFIG,
  FILTER_CLASS,
  FILTER_RULES,
  FILTER_STATE,
  FilterClassId,
  FilterLimit,
  FilterMatchId,
} from '../../model/layouts.gen.ts'
import { type BpfMap, gracePeriod } from '../../native/index.ts'
import { type MatchReading, readMatches, resetMatches, undecidedMatch } from './filter-matches.ts'
import { type KernelPrefix, NETWORKS, PrefixMap } from './filter-prefixes.ts'
import { deleteWhere, type FilterSet, type MapSource } from './filter-tables.ts'

/** What is in force. */
export interface FilterForce {
  /** 32 bits, wraps. Its lowest bit is the set in force, and CONSUMER_BIT_SET of the records that it judged. */
  readonly generation: number
  /** False: nothing is judged; every record has all bits of DatapathOptions.defaultConsumers. */
  readonly enabled: boolean
}

/** Whose an address, a range or a device is. */
export interface FilterSubject {
  /** Security identity, as Endpoint.identity. */
  readonly identity: number
  /** Class in each set; FilterClassId.UNDECIDED where the class is not known: user space decides. */
  readonly classes: readonly [number, number]
}

/** A device's own end. */
export interface DeviceSubject extends FilterSubject {
  /** SubjectFlag.ASK_ADDRESS: the packet's own address may say more, as long as it is a SubjectFlag.LOCAL_POD. */
  readonly flags: number
}

/** A range of addresses that is no pod's. */
export interface KernelNetwork extends FilterSubject, KernelPrefix {}

/**
 * The kernel's half of the filters, as bytes in maps (bpf/maps.h, "Filters."). Two sets: write the one that is not in force,
 * then flip(). Synchronous calls take microseconds for each entry; those that walk maps return promises and let the
 * event loop turn every millisecond. All maps are pinned: after a restart generation() says what is still in force.
 *
 * One call of flip(), resetMatches(), clearTables() or setNetworks() at a time; the others may come in between.
 */
export class FilterMaps {
  readonly #source: MapSource
  readonly #state: BpfMap
  readonly #addresses: BpfMap
  readonly #devices: BpfMap
  readonly #networks: PrefixMap
  readonly #prefixes: readonly [PrefixMap, PrefixMap]

  constructor(source: MapSource) {
    this.#source = source
    this.#state = source.map('filter_state')
    this.#addresses = source.map('addresses')
    this.#devices = source.map('endpoints')
    const lengths = source.map('filter_lengths')
    const prefixes = source.map('filter_prefixes')
    this.#networks = new PrefixMap(source.map('networks'), lengths, NETWORKS)
    this.#prefixes = [new PrefixMap(prefixes, lengths, 0), new PrefixMap(prefixes, lengths, 1)]
  }

  /** What is in force now: {0, false} in a new map. */
  generation(): FilterForce {
    const value = new DataView(new ArrayBuffer(FILTER_STATE.SIZE))
    this.#state.lookup(u32(0), bytes(value))
    return {
      generation: value.getUint32(FILTER_STATE.generation, true),
      enabled: value.getUint32(FILTER_STATE.enabled, true) !== 0,
    }
  }

  /**
   * Puts a generation into force: every event is judged either wholly by the set before or wholly by this one. Resolves when
   * no program works with the former one any more, 10 to 30 ms later: then its tables may be written, its counts are final.
   * Records that it judged may still be in the ring.
   *
   * @param generation its lowest bit is the set; another one than that in force
   */
  async flip(generation: number, enabled: boolean): Promise<void> {
    const before = this.generation()
    // One word at a time, which no program can read in halves; nothing is judged by a set that is not ready.
    if (before.enabled && !enabled) this.#writeState({ generation: before.generation, enabled })
    if (!before.enabled && enabled) this.#writeState({ generation, enabled: false })
    this.#writeState({ generation, enabled })
    await gracePeriod()
  }

  /**
   * Has every flow look up its two ends again, by the set that is in force: for when an address, a device or a range got
   * another class. Takes effect with each flow's next event; costs that event about half a microsecond. To be called after
   * the writes, and not more often than some ten times a second. The generation grows by two.
   *
   * @returns the generation in force from now on
   */
  reevaluate(): number {
    const { generation, enabled } = this.generation()
    const next = (generation + 2) >>> 0
    this.#writeState({ generation: next, enabled })
    return next
  }

  #writeState({ generation, enabled }: FilterForce): void {
    const value = new DataView(new ArrayBuffer(FILTER_STATE.SIZE))
    value.setUint32(FILTER_STATE.generation, generation, true)
    value.setUint32(FILTER_STATE.enabled, enabled ? 1 : 0, true)
    this.#state.update(u32(0), bytes(value))
  }

  /** Writes the rules of a set, and with them what an undecided event is for. @param rules struct filter_rules */
  writeRules(set: FilterSet, rules: Uint8Array): void {
    this.#need(rules, FILTER_RULES.SIZE, 'rules')
    this.#source.map('filter_rules').update(u32(set), rules)
    const at = u32(set * FilterLimit.MATCHES + FilterMatchId.UNDECIDED)
    this.#source.map('filter_matches').update(at, undecidedMatch(set, rules))
  }

  /**
   * Writes classes of a set, one after another. The set may be in force: a class must then be one that no subject has yet, or
   * its masks may be read while they are half written.
   *
   * @param first index of the first @param masks struct filter_class each: rules that accept it as source, as destination
   */
  writeClasses(set: FilterSet, first: number, masks: Uint8Array): void {
    const count = masks.length / FILTER_CLASS.SIZE
    if (!Number.isInteger(count) || first + count > FilterLimit.CLASSES) {
      throw new RangeError(`Classes ${first} and ${masks.length} bytes from there do not fit ${FilterLimit.CLASSES}`)
    }
    const keys = new Uint32Array(count)
    for (let i = 0; i < count; i++) keys[i] = set * FilterLimit.CLASSES + first + i
    this.#source.map('filter_classes').updateBatch(new Uint8Array(keys.buffer), masks, count)
  }

  /**
   * Adds ports to a set; FILTER_USES_PORTS of its rules says whether they are looked up at all. @param masks struct
   * filter_class each: rules that accept it as a source's, as a destination's port
   * @returns ports written: fewer when the table (FilterLimit.PORTS, both sets together) is full
   */
  writePorts(set: FilterSet, ports: readonly number[], masks: Uint8Array): number {
    this.#need(masks, ports.length * FILTER_CLASS.SIZE, 'masks')
    const keys = new Uint16Array(2 * ports.length)
    ports.forEach((port, i) => {
      keys[2 * i] = port
      keys[2 * i + 1] = set
    })
    return this.#source.map('filter_ports').updateBatch(new Uint8Array(keys.buffer), masks, ports.length)
  }

  /**
   * Adds prefixes to a set that has none; FILTER_USES_PREFIXES of its rules says whether they are looked up at all. Only the
   * longest prefix of an address counts: each must accept what the wider ones around it do. An IPv4 address meets
   * prefixes within ::ffff:0:0/96 alone, an IPv6 address all others alone.
   *
   * @param masks struct filter_class each
   * @returns prefixes written: fewer when the table (FilterLimit.PREFIXES, both sets together) is full
   */
  writePrefixes(set: FilterSet, prefixes: readonly KernelPrefix[], masks: Uint8Array): number {
    this.#need(masks, prefixes.length * FILTER_CLASS.SIZE, 'masks')
    return this.#prefixes[set].add(prefixes, masks)
  }

  /** Empties ports and prefixes of a set that is not in force. */
  async clearTables(set: FilterSet): Promise<void> {
    await this.#prefixes[set].clear()
    const ports = this.#source.map('filter_ports')
    await deleteWhere(ports, (keys, at) => keys.getUint16(at + 2, true) === set)
  }

  /**
   * Adds addresses, or changes whose they are. A flow that was judged before keeps its answer until reevaluate().
   *
   * @param keys 16 bytes each, IPv4 as ::ffff:a.b.c.d @param values struct address_entry each, see encodeSubject()
   * @returns addresses written: fewer when the next one found the table (FilterLimit.ADDRESSES) full; an address that is not
   *   there counts as one of a range, or of the world
   */
  setAddresses(keys: Uint8Array, values: Uint8Array, count: number): number {
    return this.#addresses.updateBatch(keys, values, count)
  }

  /** @returns how many of them were there */
  deleteAddresses(keys: Uint8Array, count: number): number {
    return this.#addresses.deleteBatch(keys, count)
  }

  /** Removes addresses that `isKnown` says no of: what a former agent left. @param isKnown 16 bytes at an offset */
  async deleteStaleAddresses(isKnown: (keys: Uint8Array, at: number) => boolean): Promise<number> {
    return deleteWhere(this.#addresses, (view, at) => !isKnown(bytes(view), at))
  }

  /**
   * Makes these ranges the ones that there are; while it runs, an event may meet some of both. reevaluate() afterwards.
   * @returns ranges written: fewer when there are more than FilterLimit.NETWORKS
   */
  async setNetworks(networks: readonly KernelNetwork[]): Promise<number> {
    const values = new Uint8Array(networks.length * ADDRESS_ENTRY.SIZE)
    networks.forEach((network, i) => {
      encodeSubject(values, i * ADDRESS_ENTRY.SIZE, network, 0)
    })
    return this.#networks.replace(networks, values)
  }

  /**
   * Says whose a device is. Until then, and for a device that comes anew, user space decides.
   * @returns false when the device is not watched
   */
  setDevice(ifindex: number, subject: DeviceSubject): boolean {
    const value = new DataView(new ArrayBuffer(ENDPOINT_CONFIG.SIZE))
    if (!this.#devices.lookup(u32(ifindex), bytes(value))) return false
    value.setUint32(ENDPOINT_CONFIG.identity, subject.identity, true)
    value.setUint16(ENDPOINT_CONFIG.classes, subject.classes[0], true)
    value.setUint16(ENDPOINT_CONFIG.classes + 2, subject.classes[1], true)
    value.setUint8(ENDPOINT_CONFIG.flags, subject.flags)
    this.#devices.update(u32(ifindex), bytes(value))
    return true
  }

  /** Whose a device is to the kernel; undefined when it is not watched. */
  device(ifindex: number): DeviceSubject | undefined {
    const value = new DataView(new ArrayBuffer(ENDPOINT_CONFIG.SIZE))
    if (!this.#devices.lookup(u32(ifindex), bytes(value))) return undefined
    const classOf = (set: FilterSet) => value.getUint16(ENDPOINT_CONFIG.classes + 2 * set, true)
    return {
      identity: value.getUint32(ENDPOINT_CONFIG.identity, true),
      classes: [classOf(0), classOf(1)],
      flags: value.getUint8(ENDPOINT_CONFIG.flags),
    }
  }

  /** Has user space decide for all devices, as for new ones: what a former agent said of them means nothing to these rules. */
  undecideDevices(set: FilterSet): void {
    const value = new DataView(new ArrayBuffer(ENDPOINT_CONFIG.SIZE))
    const key = new Uint8Array(4)
    for (let more = this.#devices.nextKey(null, key); more; more = this.#devices.nextKey(key, key)) {
      if (!this.#devices.lookup(key, bytes(value))) continue
      value.setUint16(ENDPOINT_CONFIG.classes + 2 * set, FilterClassId.UNDECIDED, true)
      this.#devices.update(key, bytes(value))
    }
  }

  /** Ids given away in a set, of FilterLimit.MATCHES - FilterMatchId.FIRST; at that bound user space decides new flows. */
  matchesUsed(set: FilterSet): number {
    return Math.min(this.#matchesGiven(set), FilterLimit.MATCHES - FilterMatchId.FIRST)
  }

  #matchesGiven(set: FilterSet): number {
    const value = new DataView(new ArrayBuffer(4))
    this.#source.map('filter_next').lookup(u32(set), bytes(value))
    return value.getUint32(0, true)
  }

  /** Matches and counts of a set; it may be in force. */
  async readMatches(set: FilterSet): Promise<MatchReading> {
    return readMatches(this.#source, set, this.matchesUsed(set))
  }

  /** Forgets matches and counts of a set that is not in force: before it comes into force again with other rules. */
  async resetMatches(set: FilterSet): Promise<void> {
    await resetMatches(this.#source, set, this.matchesUsed(set))
  }

  #need(given: Uint8Array, size: number, name: string): void {
    if (given.length < size) throw new RangeError(`Argument "${name}" has ${given.length} bytes, needs ${size}`)
  }
}

/** Writes a struct address_entry. @param flags SubjectFlag */
export function encodeSubject(into: Uint8Array, at: number, subject: FilterSubject, flags: number): void {
  const view = new DataView(into.buffer, into.byteOffset + at, ADDRESS_ENTRY.SIZE)
  view.setUint32(ADDRESS_ENTRY.identity, subject.identity, true)
  view.setUint16(ADDRESS_ENTRY.classes, subject.classes[0], true)
  view.setUint16(ADDRESS_ENTRY.classes + 2, subject.classes[1], true)
  view.setUint32(ADDRESS_ENTRY.flags, flags, true)
}

function u32(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array([value]).buffer)
}

function bytes(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}
