import type { RecordReader } from '../../collector/source.ts'
import { EVENT_VERSION, EventCause, EventType, FLOW_EVENT, FlowState, Verdict } from '../../model/layouts.gen.ts'
import { ipBytes } from './flow-store.ts'

/** Fields of a record for tests; what is left out gets a TCP SYN from 10.0.0.1:40000 to 10.0.0.2:80. */
export interface RecordSpec {
  timeNs?: bigint
  type?: number
  version?: number
  /** Instead of the right one. */
  size?: number
  srcIp?: string
  dstIp?: string
  srcPort?: number
  dstPort?: number
  protocol?: number
  /** Instead of the one of srcIp. */
  ipVersion?: number
  ifindex?: number
  l4Info?: number
  state?: number
  packets?: number
  bytes?: number
  payload?: Uint8Array
}

/** A RecordReader over memory that tests fill; positions count bytes. Does not wrap: give it room enough. */
export class MemoryReader implements RecordReader {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  readonly #view: DataView
  readonly #offsets: number[] = []
  #written = 0
  #read = 0
  #time = 1_000_000_000n
  position = 0
  released = 0
  releases = 0

  constructor(bytes = 1 << 20) {
    const buffer = new ArrayBuffer(bytes)
    this.u8 = new Uint8Array(buffer)
    this.u16 = new Uint16Array(buffer)
    this.u32 = new Uint32Array(buffer)
    this.#view = new DataView(buffer)
  }

  next(): number {
    const offset = this.#offsets[this.#read]
    if (offset === undefined) return -1
    this.#read++
    this.position = this.#offsets[this.#read] ?? this.#written
    return offset
  }

  release(position: number): void {
    if (position < this.released) throw new Error(`released ${position} after ${this.released}`)
    this.released = position
    this.releases++
  }

  push(...specs: RecordSpec[]): void {
    for (const spec of specs) this.#write(spec)
  }

  #write(spec: RecordSpec): void {
    const at = this.#written
    const payload = spec.payload ?? new Uint8Array(0)
    const v = this.#view
    this.#time += 1000n
    v.setBigUint64(at + FLOW_EVENT.timeNs, spec.timeNs ?? this.#time, true)
    v.setUint16(at + FLOW_EVENT.size, spec.size ?? FLOW_EVENT.SIZE + payload.length, true)
    v.setUint16(at + FLOW_EVENT.payloadLen, payload.length, true)
    this.u8[at + FLOW_EVENT.type] = spec.type ?? EventType.FLOW
    this.u8[at + FLOW_EVENT.version] = spec.version ?? EVENT_VERSION
    const srcIp = spec.srcIp ?? '10.0.0.1'
    this.u8.set(ipBytes(srcIp), at + FLOW_EVENT.srcIp)
    this.u8.set(ipBytes(spec.dstIp ?? '10.0.0.2'), at + FLOW_EVENT.dstIp)
    v.setUint16(at + FLOW_EVENT.srcPort, spec.srcPort ?? 40_000, true)
    v.setUint16(at + FLOW_EVENT.dstPort, spec.dstPort ?? 80, true)
    this.u8[at + FLOW_EVENT.protocol] = spec.protocol ?? 6
    this.u8[at + FLOW_EVENT.ipVersion] = spec.ipVersion ?? (srcIp.includes(':') ? 6 : 4)
    v.setUint16(at + FLOW_EVENT.l4Info, spec.l4Info ?? 2, true)
    v.setUint32(at + FLOW_EVENT.ifindex, spec.ifindex ?? 7, true)
    this.u8[at + FLOW_EVENT.verdict] = Verdict.FORWARDED
    this.u8[at + FLOW_EVENT.cause] = EventCause.NEW
    this.u8[at + FLOW_EVENT.state] = spec.state ?? FlowState.REPLY_KNOWN | FlowState.EGRESS | FlowState.FROM_POD
    v.setUint32(at + FLOW_EVENT.packets, spec.packets ?? 1, true)
    v.setUint32(at + FLOW_EVENT.bytes, spec.bytes ?? 74, true)
    this.u8.set(payload, at + FLOW_EVENT.SIZE)
    this.#offsets.push(at)
    this.#written = at + Math.ceil((FLOW_EVENT.SIZE + payload.length) / 8) * 8
    if (this.#offsets.length === this.#read + 1 && this.#read === 0) this.position = at
  }
}
