import { parseIp } from '../../base/ip.ts'
import { ConsumerFlag, EVENT_VERSION, FilterLimit, FLOW_EVENT } from '../../model/layouts.gen.ts'
import type { ReplayedFlow } from './flow-line.ts'

/** Numbers for the kernel's words; 0 for those that there is no number for. */
interface WordNumbers {
  reason(name: string): number
  place(text: string): number
}

/** For every consumer, and no kernel has judged it: who wants it is decided here. */
const CONSUMERS = 2 ** FilterLimit.CONSUMERS - 1 + 2 ** ConsumerFlag.UNDECIDED

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i

/** Writes replayed flows as struct flow_event. */
export class RecordWriter {
  readonly #u8: Uint8Array
  readonly #view: DataView
  readonly #words: WordNumbers

  constructor(u8: Uint8Array, words: WordNumbers) {
    this.#u8 = u8
    this.#view = new DataView(u8.buffer, u8.byteOffset, u8.byteLength)
    this.#words = words
  }

  /** @param at byte offset of the record @param time nanoseconds since 1970 @returns false when an address is none */
  write(at: number, flow: ReplayedFlow, time: bigint): boolean {
    const u8 = this.#u8
    u8.fill(0, at, at + FLOW_EVENT.SIZE)
    if (flow.ipVersion !== 0) {
      if (parseIp(flow.srcIp, u8, at + FLOW_EVENT.srcIp) === 0) return false
      if (parseIp(flow.dstIp, u8, at + FLOW_EVENT.dstIp) === 0) return false
    }
    this.#view.setBigUint64(at + FLOW_EVENT.timeNs, time, true)
    this.#writePacket(at, flow)
    this.#writeCounts(at, flow)
    writeMac(flow.srcMac, u8, at + FLOW_EVENT.srcMac)
    writeMac(flow.dstMac, u8, at + FLOW_EVENT.dstMac)
    return true
  }

  #writePacket(at: number, flow: ReplayedFlow): void {
    const u8 = this.#u8
    u8[at + FLOW_EVENT.type] = flow.type
    u8[at + FLOW_EVENT.version] = EVENT_VERSION
    u8[at + FLOW_EVENT.protocol] = flow.protocol
    u8[at + FLOW_EVENT.ipVersion] = flow.ipVersion
    u8[at + FLOW_EVENT.verdict] = flow.verdict
    u8[at + FLOW_EVENT.point] = flow.point
    u8[at + FLOW_EVENT.cause] = flow.cause
    u8[at + FLOW_EVENT.state] = flow.state
    u8[at + FLOW_EVENT.hubbleReason] = flow.hubbleReason
    u8[at + FLOW_EVENT.traceReason] = flow.traceReason
    this.#u16(at + FLOW_EVENT.size, FLOW_EVENT.SIZE)
    this.#u16(at + FLOW_EVENT.srcPort, flow.srcPort)
    this.#u16(at + FLOW_EVENT.dstPort, flow.dstPort)
    this.#u16(at + FLOW_EVENT.l4Info, flow.l4Info)
    this.#u32(at + FLOW_EVENT.ifindex, flow.ifindex)
    this.#u32(at + FLOW_EVENT.consumers, CONSUMERS)
    this.#u32(at + FLOW_EVENT.srcIdentity, flow.source.identity)
    this.#u32(at + FLOW_EVENT.dstIdentity, flow.destination.identity)
  }

  #writeCounts(at: number, { extras }: ReplayedFlow): void {
    this.#u16(at + FLOW_EVENT.vlan, extras.vlan)
    this.#u16(at + FLOW_EVENT.retransmits, extras.retransmits)
    this.#u16(at + FLOW_EVENT.drops, extras.drops)
    this.#u16(at + FLOW_EVENT.rule, extras.rule)
    this.#u16(at + FLOW_EVENT.dropReason, this.#words.reason(extras.kernelDropReason))
    this.#u32(at + FLOW_EVENT.dropLocation, this.#words.place(extras.dropLocation))
    this.#u32(at + FLOW_EVENT.packets, extras.packets)
    this.#u32(at + FLOW_EVENT.replyPackets, extras.replyPackets)
    this.#u32(at + FLOW_EVENT.bytes, extras.bytes)
    this.#u32(at + FLOW_EVENT.replyBytes, extras.replyBytes)
    this.#u32(at + FLOW_EVENT.rttUs, extras.rttUs)
    this.#u32(at + FLOW_EVENT.srttUs, extras.srttUs)
  }

  #u16(at: number, value: number): void {
    this.#view.setUint16(at, value, true)
  }

  #u32(at: number, value: number): void {
    this.#view.setUint32(at, value, true)
  }
}

function writeMac(text: string, out: Uint8Array, at: number): void {
  if (!MAC.test(text)) return
  for (let i = 0; i < 6; i++) out[at + i] = Number.parseInt(text.slice(3 * i, 3 * i + 2), 16)
}
