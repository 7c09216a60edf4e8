import { DROP_KEY, DROP_VALUE, ENDPOINT_COUNTERS, LEDGER, LedgerCounter } from '../../model/layouts.gen.ts'
import { type BatchCursor, type BpfMap, possibleCpus } from '../../native/index.ts'
import type { DatapathState } from './datapath-state.ts'

/** A batch must hold the fullest bucket of the hash. */
const BATCH = 256
const ZERO_KEY = new Uint8Array(4)

/** Packets and bytes of one endpoint, by its own view: ingress = towards it. */
export interface EndpointTotals {
  ingressPackets: number
  ingressBytes: number
  egressPackets: number
  egressBytes: number
}

/** DropTotals.slot of what was counted for endpoints whose slots have been given to others since. */
export const GONE = -1

/** Packets that the kernel dropped of one endpoint, for one reason. */
export interface DropTotals {
  /** GONE, or index of the counters; a slot keeps its numbers after its device went, until another one gets it. */
  readonly slot: number
  /** As flow_event.drop_reason. */
  readonly reason: number
  /** 0 unknown, 1 towards the endpoint, 2 from it. */
  readonly direction: number
  readonly packets: number
  readonly bytes: number
}

/** The maps that count. */
export interface CounterMaps {
  readonly ledger: BpfMap
  readonly endpointCounters: BpfMap
  readonly dropCounters: BpfMap
  readonly state: DatapathState
}

/**
 * Reads the kernel's counters, adding up what each CPU has. Numbers are doubles: exact below 2^53, 285 years of a
 * gigabyte a second. Every call reads the maps; nothing is cached.
 */
export class KernelCounters {
  readonly #maps: CounterMaps
  readonly #ledgerValue: Uint8Array
  readonly #ledgerWords: Uint32Array
  readonly #endpointValue: Uint8Array
  readonly #endpointWords: Uint32Array
  readonly #dropKeys = new Uint8Array(BATCH * DROP_KEY.SIZE)
  readonly #dropValues: Uint8Array
  readonly #key = new Uint8Array(4)
  /** What was in slots when they were cleared, so that the node's sums never go back. */
  readonly #cleared = emptyTotals()
  /** By reason << 2 | direction: bounded by the 16 bits of a reason. */
  readonly #clearedDrops = new Map<number, { packets: number; bytes: number }>()

  constructor(maps: CounterMaps) {
    this.#maps = maps
    this.#ledgerValue = new Uint8Array(maps.ledger.valueBytes)
    this.#ledgerWords = new Uint32Array(this.#ledgerValue.buffer)
    this.#endpointValue = new Uint8Array(maps.endpointCounters.valueBytes)
    this.#endpointWords = new Uint32Array(this.#endpointValue.buffer)
    this.#dropValues = new Uint8Array(BATCH * maps.dropCounters.valueBytes)
  }

  /**
   * The kernel's half of the ledger, index LedgerCounter, with what a former agent took away when it replaced a map.
   * @param into reused if given: LEDGER_COUNTERS numbers
   */
  ledger(into: Float64Array = new Float64Array(LedgerCounter.LEDGER_COUNTERS)): Float64Array {
    this.#maps.ledger.lookup(ZERO_KEY, this.#ledgerValue)
    into.fill(0)
    for (let cpu = 0; cpu < possibleCpus(); cpu++) {
      const at = (cpu * this.#maps.ledger.valueStride + LEDGER.count) / 4
      for (let i = 0; i < LedgerCounter.LEDGER_COUNTERS; i++) into[i]! += u64(this.#ledgerWords, at + 2 * i)
    }
    const { retired } = this.#maps.state
    into[LedgerCounter.PACKETS_UNREPORTED]! += retired.packets
    into[LedgerCounter.BYTES_UNREPORTED]! += retired.bytes
    into[LedgerCounter.FLOWS_REMOVED]! += retired.flows
    return into
  }

  /** Records that lay unread in a ring that an agent replaced by one of another size. */
  get unreadRecords(): number {
    return this.#maps.state.retired.records
  }

  /** Index slots; slot 0 holds the devices that found no slot of their own. */
  get slots(): number {
    return this.#maps.endpointCounters.info.maxEntries
  }

  /** @param into reused if given */
  endpoint(slot: number, into: EndpointTotals = emptyTotals()): EndpointTotals {
    new DataView(this.#key.buffer).setUint32(0, slot, true)
    if (!this.#maps.endpointCounters.lookup(this.#key, this.#endpointValue)) {
      throw new RangeError(`There is no counter slot ${slot}: there are ${this.slots}`)
    }
    into.ingressPackets = into.ingressBytes = into.egressPackets = into.egressBytes = 0
    addEndpoint(this.#endpointWords, 0, this.#maps.endpointCounters.valueStride / 4, into)
    return into
  }

  /** Sum over all endpoints that are and have been since this agent started. */
  total(): EndpointTotals {
    const map = this.#maps.endpointCounters
    const sum = { ...this.#cleared }
    const keys = new Uint8Array(BATCH * 4)
    const values = new Uint8Array(BATCH * map.valueBytes)
    const words = new Uint32Array(values.buffer)
    const cursor = map.cursor()
    while (!cursor.done) {
      const read = map.readBatch(cursor, keys, values)
      for (let i = 0; i < read; i++) addEndpoint(words, (i * map.valueBytes) / 4, map.valueStride / 4, sum)
    }
    return sum
  }

  /** Visits every drop counter, then the sums of those GONE; reads 256 of them with one call to the kernel. */
  forEachDrop(visit: (drop: DropTotals) => void): void {
    const map = this.#maps.dropCounters
    const cursor: BatchCursor = map.cursor()
    const keys = new DataView(this.#dropKeys.buffer)
    const words = new Uint32Array(this.#dropValues.buffer)
    while (!cursor.done) {
      const read = map.readBatch(cursor, this.#dropKeys, this.#dropValues)
      for (let i = 0; i < read; i++) {
        const key = i * DROP_KEY.SIZE
        let packets = 0
        let bytes = 0
        for (let cpu = 0; cpu < possibleCpus(); cpu++) {
          const at = (i * map.valueBytes + cpu * map.valueStride) / 4
          packets += u64(words, at + DROP_VALUE.packets / 4)
          bytes += u64(words, at + DROP_VALUE.bytes / 4)
        }
        visit({
          slot: keys.getUint32(key + DROP_KEY.slot, true),
          reason: keys.getUint16(key + DROP_KEY.reason, true),
          direction: keys.getUint8(key + DROP_KEY.direction),
          packets,
          bytes,
        })
      }
    }
    for (const [key, sum] of this.#clearedDrops) visit({ slot: GONE, reason: key >> 2, direction: key & 3, ...sum })
  }

  /** Makes a slot ready for another endpoint: counters zero, drop counters gone; both stay in the node's sums. */
  clearSlot(slot: number): void {
    this.endpoint(slot, scratchTotals)
    for (const name of TOTALS) this.#cleared[name] += scratchTotals[name]
    new DataView(this.#key.buffer).setUint32(0, slot, true)
    this.#endpointValue.fill(0)
    this.#maps.endpointCounters.update(this.#key, this.#endpointValue)
    const stale: DropTotals[] = []
    this.forEachDrop((drop) => {
      if (drop.slot === slot) stale.push(drop)
    })
    const key = new Uint8Array(DROP_KEY.SIZE)
    const view = new DataView(key.buffer)
    for (const drop of stale) {
      view.setUint32(DROP_KEY.slot, drop.slot, true)
      view.setUint16(DROP_KEY.reason, drop.reason, true)
      view.setUint8(DROP_KEY.direction, drop.direction)
      this.#maps.dropCounters.delete(key)
      const sum = this.#clearedDrops.get((drop.reason << 2) | drop.direction) ?? { packets: 0, bytes: 0 }
      sum.packets += drop.packets
      sum.bytes += drop.bytes
      this.#clearedDrops.set((drop.reason << 2) | drop.direction, sum)
    }
  }
}

const TOTALS = ['ingressPackets', 'ingressBytes', 'egressPackets', 'egressBytes'] as const
const scratchTotals = emptyTotals()

/** Adds up what the CPUs have of one slot. @param at, stride in words */
function addEndpoint(words: Uint32Array, at: number, stride: number, into: EndpointTotals): void {
  for (let cpu = 0, here = at; cpu < possibleCpus(); cpu++, here += stride) {
    for (const name of TOTALS) into[name] += u64(words, here + ENDPOINT_COUNTERS[name] / 4)
  }
}

function emptyTotals(): EndpointTotals {
  return { ingressPackets: 0, ingressBytes: 0, egressPackets: 0, egressBytes: 0 }
}

function u64(words: Uint32Array, at: number): number {
  return words[at + 1]! * 4294967296 + words[at]!
}
