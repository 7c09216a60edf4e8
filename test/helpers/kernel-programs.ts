import {
  DROP_KEY,
  DROP_VALUE,
  ENDPOINT_CONFIG,
  ENDPOINT_COUNTERS,
  FLOW_ENTRY,
  FLOW_KEY,
  LedgerCounter,
  SWEEP_ARGS,
} from '../../model/layouts.gen.ts'
import { BpfLink, type BpfMap, BpfObject, type BpfProgram, mapRing } from '../../native/index.ts'
import { BPF_OBJECT, drain, type KernelRecord, RingReader } from './kernel-records.ts'

export type LedgerName = Exclude<keyof typeof LedgerCounter, 'LEDGER_COUNTERS'>
export type KernelLedger = Record<LedgerName, number>

/** enum l7_kind and enum endpoint_kind are in model/layouts.gen.ts; numbers are plain here. */
export interface ProgramsOptions {
  /** `const volatile` variables of bpf/lib/config.h by name. */
  readonly constants?: Readonly<Record<string, number | bigint>>
  readonly maxEntries?: Readonly<Record<string, number>>
  /** Programs to load, all when left out. A tc program takes a few hundred milliseconds to verify. */
  readonly programs?: readonly string[]
  readonly object?: string
}

export interface SweepTimes {
  readonly tcpIdleNs?: bigint
  readonly otherIdleNs?: bigint
  readonly closedIdleNs?: bigint
  /** Flows that find the ring full stay in the table. */
  readonly keepUnreported?: boolean
  /** Flows look up their devices' slots again. */
  readonly refreshSlots?: boolean
}

export interface SweepResult {
  readonly entries: number
  readonly openPackets: number
  readonly openBytes: number
  readonly removed: number
  readonly reported: number
}

export interface EndpointCounts {
  readonly ingressPackets: number
  readonly ingressBytes: number
  readonly egressPackets: number
  readonly egressBytes: number
}

export interface DropCount {
  readonly slot: number
  readonly reason: number
  readonly direction: number
  readonly packets: number
  readonly bytes: number
}

/** The programs of bpf/, loaded for one test without pins: nothing of them is left after dispose. */
export class KernelPrograms implements Disposable {
  readonly ring: RingReader
  readonly #object: BpfObject
  readonly #maps = new Map<string, BpfMap>()
  readonly #programs = new Map<string, BpfProgram>()
  readonly #links: Disposable[] = []

  constructor(options: ProgramsOptions = {}) {
    this.#object = BpfObject.open(options.object ?? BPF_OBJECT)
    const sizes = new Map(this.#object.constants().map(({ name, size }) => [name, size]))
    for (const [name, value] of Object.entries(options.constants ?? {})) {
      const bytes = Buffer.alloc(8)
      bytes.writeBigUInt64LE(BigInt(value))
      this.#object.setConstant(name, bytes.subarray(0, sizes.get(name)))
    }
    // Full size is not what these tests are about, and zeroing 57 MB each time is slow.
    const maxEntries = { flows: 16384, events: 1 << 20, ...options.maxEntries }
    for (const [name, entries] of Object.entries(maxEntries)) this.#object.setMaxEntries(name, entries)
    if (options.programs) {
      for (const { name } of this.#object.programs()) this.#object.setAutoload(name, options.programs.includes(name))
    }
    this.#object.load()
    this.ring = new RingReader(mapRing(this.map('events')))
  }

  map(name: string): BpfMap {
    let map = this.#maps.get(name)
    if (!map) {
      map = this.#object.map(name)
      this.#maps.set(name, map)
    }
    return map
  }

  program(name: string): BpfProgram {
    let program = this.#programs.get(name)
    if (!program) {
      program = this.#object.program(name)
      this.#programs.set(name, program)
    }
    return program
  }

  /** Keeps a link until dispose. */
  keep(link: Disposable): void {
    this.#links.push(link)
  }

  /** Attaches the programs for drops and TCP sockets. */
  attachTracing(): void {
    for (const name of ['packet_dropped', 'segment_retransmitted', 'tcp_state_changed'])
      this.keep(BpfLink.attachTracing(this.program(name)))
  }

  /** Puts a packet through a tc program. @returns its verdict and the packet behind it */
  run(program: string, packet: Uint8Array): { verdict: number; packet: Buffer } {
    const out = Buffer.alloc(packet.length + 256)
    const { retval, dataSize } = this.program(program).testRun({ dataIn: packet, dataOut: out, repeat: 1 })
    return { verdict: retval | 0, packet: out.subarray(0, dataSize) }
  }

  /** Records that were waiting in the ring. */
  records(): KernelRecord[] {
    return drain(this.ring)
  }

  /** The kernel's ledger, all CPUs. */
  ledger(): KernelLedger {
    const map = this.map('ledger')
    const value = Buffer.alloc(map.valueBytes)
    map.lookup(new Uint8Array(4), value)
    const sum = {} as KernelLedger
    for (const [name, index] of Object.entries(LedgerCounter)) {
      if (name === 'LEDGER_COUNTERS') continue
      let total = 0
      for (let at = index * 8; at < value.length; at += map.valueStride) total += Number(value.readBigUInt64LE(at))
      sum[name as LedgerName] = total
    }
    return sum
  }

  /** Runs the sweep; by default nothing is idle. */
  sweep(times: SweepTimes = {}): SweepResult {
    const args = Buffer.alloc(SWEEP_ARGS.SIZE)
    const never = 1n << 62n
    args.writeBigUInt64LE(times.tcpIdleNs ?? never, SWEEP_ARGS.tcpIdleNs)
    args.writeBigUInt64LE(times.otherIdleNs ?? never, SWEEP_ARGS.otherIdleNs)
    args.writeBigUInt64LE(times.closedIdleNs ?? never, SWEEP_ARGS.closedIdleNs)
    args.writeBigUInt64LE(times.keepUnreported ? 1n : 0n, SWEEP_ARGS.keepUnreported)
    args.writeBigUInt64LE(times.refreshSlots ? 1n : 0n, SWEEP_ARGS.refreshSlots)
    const { retval } = this.program('flow_sweep').testRun({ ctxIn: args })
    if (retval !== 0) throw new Error(`flow_sweep returned ${retval}`)
    const out = (offset: number) => Number(args.readBigUInt64LE(offset))
    return {
      entries: out(SWEEP_ARGS.entries),
      openPackets: out(SWEEP_ARGS.openPackets),
      openBytes: out(SWEEP_ARGS.openBytes),
      removed: out(SWEEP_ARGS.removed),
      reported: out(SWEEP_ARGS.reported),
    }
  }

  watch(ifindex: number, slot: number, kind: number): void {
    const config = Buffer.alloc(ENDPOINT_CONFIG.SIZE)
    config.writeUInt32LE(slot, ENDPOINT_CONFIG.slot)
    config.writeUInt8(kind, ENDPOINT_CONFIG.kind)
    this.map('endpoints').update(u32(ifindex), config)
  }

  watchNetns(cookie: bigint, ifindex: number): void {
    const key = Buffer.alloc(8)
    key.writeBigUInt64LE(cookie)
    this.map('netns').update(key, u32(ifindex))
  }

  captureL7(port: number, kind: number): void {
    const word = Buffer.alloc(8)
    this.map('l7_ports').lookup(u32(port >> 5), word)
    word.writeBigUInt64LE(word.readBigUInt64LE() | (BigInt(kind) << BigInt((port & 31) * 2)))
    this.map('l7_ports').update(u32(port >> 5), word)
  }

  endpointCounts(slot: number): EndpointCounts {
    const map = this.map('endpoint_counters')
    const value = Buffer.alloc(map.valueBytes)
    map.lookup(u32(slot), value)
    const sum = (offset: number) => {
      let total = 0
      for (let at = offset; at < value.length; at += map.valueStride) total += Number(value.readBigUInt64LE(at))
      return total
    }
    return {
      ingressPackets: sum(ENDPOINT_COUNTERS.ingressPackets),
      ingressBytes: sum(ENDPOINT_COUNTERS.ingressBytes),
      egressPackets: sum(ENDPOINT_COUNTERS.egressPackets),
      egressBytes: sum(ENDPOINT_COUNTERS.egressBytes),
    }
  }

  dropCounts(): DropCount[] {
    const map = this.map('drop_counters')
    const rows: DropCount[] = []
    let key: Buffer | null = null
    for (let next = Buffer.alloc(DROP_KEY.SIZE); map.nextKey(key, next); next = Buffer.alloc(DROP_KEY.SIZE)) {
      key = next
      const value = Buffer.alloc(map.valueBytes)
      if (!map.lookup(key, value)) continue
      let packets = 0
      let bytes = 0
      for (let at = 0; at < value.length; at += map.valueStride) {
        packets += Number(value.readBigUInt64LE(at + DROP_VALUE.packets))
        bytes += Number(value.readBigUInt64LE(at + DROP_VALUE.bytes))
      }
      rows.push({
        slot: key.readUInt32LE(DROP_KEY.slot),
        reason: key.readUInt16LE(DROP_KEY.reason),
        direction: key.readUInt8(DROP_KEY.direction),
        packets,
        bytes,
      })
    }
    return rows
  }

  /** Entries of the flow table: keys and values as the kernel has them. */
  flows(): { key: Buffer; entry: Buffer }[] {
    const map = this.map('flows')
    const all: { key: Buffer; entry: Buffer }[] = []
    let key: Buffer | null = null
    for (let next = Buffer.alloc(FLOW_KEY.SIZE); map.nextKey(key, next); next = Buffer.alloc(FLOW_KEY.SIZE)) {
      key = next
      const entry = Buffer.alloc(FLOW_ENTRY.SIZE)
      if (map.lookup(key, entry)) all.push({ key, entry })
    }
    return all
  }

  [Symbol.dispose](): void {
    for (const link of this.#links) link[Symbol.dispose]()
    for (const program of this.#programs.values()) program[Symbol.dispose]()
    for (const map of this.#maps.values()) map[Symbol.dispose]()
    this.#object[Symbol.dispose]()
  }
}

/** Packets that ended in a class of their own: of these and PACKETS_FLOW each packet seen is in exactly one. */
export const CLASSES = [
  'PACKETS_FLOW',
  'PACKETS_NON_IP',
  'PACKETS_MALFORMED_L2',
  'PACKETS_MALFORMED_L3',
  'PACKETS_MALFORMED_EXT',
  'PACKETS_MALFORMED_L4',
  'PACKETS_TABLE_FULL',
  'PACKETS_CLOSING',
] as const satisfies readonly LedgerName[]

/** What bpf/enums.h promises of the ledger: each difference is 0 when it holds. @param open from the sweep */
export function ledgerGaps(l: KernelLedger, open: { openPackets: number; openBytes: number }): Record<string, number> {
  const classes = CLASSES.reduce((sum, name) => sum + l[name], 0)
  return {
    packets: l.PACKETS_SEEN - classes,
    flowPackets: l.PACKETS_FLOW - l.PACKETS_REPORTED - l.PACKETS_UNREPORTED - l.PACKETS_FILTERED - open.openPackets,
    flowBytes: l.BYTES_FLOW - l.BYTES_REPORTED - l.BYTES_UNREPORTED - l.BYTES_FILTERED - open.openBytes,
    events: l.EVENTS_WANTED - l.EVENTS_SUBMITTED - l.EVENTS_RING_FULL - l.EVENTS_FILTERED - l.EVENTS_L7_LIMITED,
  }
}

/**
 * The ledger's differences now, nothing being on the wire. The sweep comes first: it may make records, which the ledger
 * then has.
 */
export function gapsNow(k: KernelPrograms): Record<string, number> {
  const open = k.sweep()
  return ledgerGaps(k.ledger(), open)
}

export const NO_GAPS = { packets: 0, flowPackets: 0, flowBytes: 0, events: 0 }

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
