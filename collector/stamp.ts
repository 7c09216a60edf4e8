import { type L7Record, L7Type } from '../model/l7.ts'
import { EventType, FLOW_EVENT, FLOW_SLOT, FLOW_STAMP, FlowState } from '../model/layouts.gen.ts'
import type { RecordClock } from './clock.ts'
import type { EndpointTable } from './endpoints.ts'
import type { FlowHistory } from './history.ts'
import type { L7Decoder } from './l7/decoder.ts'
import type { NameTable } from './names.ts'
import type { NamespaceTable } from './namespaces.ts'
import type { ServiceTable } from './services.ts'
import type { RecordReader } from './source.ts'

const S = FLOW_SLOT.stamp
const AT = {
  recordNs: FLOW_EVENT.timeNs >> 2,
  srcIp: FLOW_EVENT.srcIp >> 2,
  dstIp: FLOW_EVENT.dstIp >> 2,
  ports: FLOW_EVENT.srcPort >> 2,
  ifindex: FLOW_EVENT.ifindex >> 2,
  srcEndpoint: (S + FLOW_STAMP.srcEndpoint) >> 2,
  dstEndpoint: (S + FLOW_STAMP.dstEndpoint) >> 2,
  srcNames: (S + FLOW_STAMP.srcNames) >> 2,
  dstNames: (S + FLOW_STAMP.dstNames) >> 2,
  services: (S + FLOW_STAMP.srcService) >> 2,
  l7: (S + FLOW_STAMP.l7) >> 2,
} as const

/** What a source knows of a record beyond its bytes; a replayed flow brings its names along. */
export interface RecordFacts {
  readonly srcEndpoint: number
  readonly dstEndpoint: number
  readonly srcNames: number
  readonly dstNames: number
  readonly srcService: number
  readonly dstService: number
  readonly l7: L7Record | undefined
}

/** A source of records for the pipeline. */
export interface RecordSource {
  /** `kernel`, `replay`, ...: unique, a label. */
  readonly name: string
  readonly reader: RecordReader
  /** What the records' time_ns is: CLOCK_BOOTTIME (default), or nanoseconds since 1970. */
  readonly clock?: 'boot' | 'wall'
  /** Bytes that may wait in the source for exporters to settle; half of a doubly mapped ring unless given. */
  readonly holdBytes?: number
  /** Facts that go before what the tables say; undefined for records that bring none. */
  facts?(offset: number): RecordFacts | undefined
}

export interface StamperParts {
  readonly history: FlowHistory
  readonly clock: RecordClock
  readonly endpoints: EndpointTable
  readonly services: ServiceTable
  readonly names: NameTable
  readonly namespaces: NamespaceTable
  readonly l7: L7Decoder
  /** As KernelNames.dropReasonAt(). */
  dropReasonAt(reason: number, location: number): number
}

/** Admits records to the history with everything that is known of them at this moment. Allocates only for L7 messages. */
export class Stamper {
  readonly #parts: StamperParts
  readonly #u32: Uint32Array
  readonly #u8: Uint8Array

  constructor(parts: StamperParts) {
    this.#parts = parts
    this.#u32 = parts.history.arrays.u32
    this.#u8 = parts.history.arrays.u8
  }

  /**
   * Admits one record whose form has been checked.
   *
   * @returns false when it was left out: an L7 payload that is no message of its protocol. L7 records carry no packet
   *   counts, so leaving one out loses none.
   */
  admit(source: RecordSource, offset: number): boolean {
    const { reader } = source
    const facts = source.facts?.(offset)
    const isL7 = reader.u8[offset + FLOW_EVENT.type]! >= EventType.DNS
    const l7 = isL7 ? (facts ? facts.l7 : this.#parts.l7.decode(reader, offset)) : undefined
    if (isL7 && l7 === undefined) return false
    const { clock, history } = this.#parts
    const word = offset >>> 2
    if (source.clock === 'wall') clock.stampWall(reader.u32[word]!, reader.u32[word + 1]!)
    else clock.stamp(reader.u32[word]!, reader.u32[word + 1]!)
    const slot = history.admit(reader.u32, offset, clock.low, clock.high)
    if (clock.shift > 0) this.#shiftRecordTime(slot, clock.shift)
    if (facts === undefined) this.#stamp(slot)
    else this.#stampFacts(slot, facts)
    if (l7 === undefined) this.#u32[slot + AT.l7] = 0
    else this.#stampL7(slot, l7)
    return true
  }

  /** The record's own time is what a flow is known by over restarts, so it is as unique as the wall time. */
  #shiftRecordTime(slot: number, ns: number): void {
    const u32 = this.#u32
    const low = u32[slot + AT.recordNs]! + ns
    u32[slot + AT.recordNs] = low
    if (low > 0xffff_ffff) u32[slot + AT.recordNs + 1]!++
  }

  #stamp(slot: number): void {
    const u32 = this.#u32
    const { endpoints, services, namespaces } = this.#parts
    const bytes = slot << 2
    const family = this.#u8[bytes + FLOW_EVENT.ipVersion]!
    const protocol = this.#u8[bytes + FLOW_EVENT.protocol]!
    const fromPod = (this.#u8[bytes + FLOW_EVENT.state]! & FlowState.FROM_POD) !== 0
    const local = this.#local(slot, fromPod)
    const podLink = local !== 0
    const src = podLink && fromPod ? local : endpoints.lookup(u32, slot + AT.srcIp, family, podLink)
    const dst = podLink && !fromPod ? local : endpoints.lookup(u32, slot + AT.dstIp, family, podLink)
    u32[slot + AT.srcEndpoint] = src
    u32[slot + AT.dstEndpoint] = dst
    namespaces.mark(src)
    namespaces.mark(dst)
    this.#stampNames(slot, src, dst)
    const ports = u32[slot + AT.ports]!
    const srcService = services.lookup(u32, slot + AT.srcIp, ports & 0xffff, protocol)
    const dstService = services.lookup(u32, slot + AT.dstIp, ports >>> 16, protocol)
    u32[slot + AT.services] = srcService | (dstService << 16)
    if (this.#u8[bytes + FLOW_EVENT.type] === EventType.DROP) this.#stampDrop(bytes)
  }

  /** A reason of our own programs goes before; else the place may say more than the kernel's reason. */
  #stampDrop(bytes: number): void {
    const at = bytes + FLOW_EVENT.hubbleReason
    if (this.#u8[at] !== 0) return
    const reason = this.#u8[bytes + FLOW_EVENT.dropReason]! | (this.#u8[bytes + FLOW_EVENT.dropReason + 1]! << 8)
    this.#u8[at] = this.#parts.dropReasonAt(reason, this.#u32[(bytes + FLOW_EVENT.dropLocation) >> 2]!)
  }

  /**
   * The pod behind the interface. While nobody knows the addresses behind it (a pod that has just come, a namespace that
   * may not be entered), the pod of this node that the packet's own address belongs to.
   */
  #local(slot: number, fromPod: boolean): number {
    const { endpoints } = this.#parts
    const ifindex = this.#u32[slot + AT.ifindex]!
    const ref = endpoints.byInterface(ifindex)
    if (ref === 0 || endpoints.get(ref).podName !== '' || endpoints.hasAddresses(ifindex)) return ref
    const owner = endpoints.addresses.get(this.#u32, slot + (fromPod ? AT.srcIp : AT.dstIp))
    const { podName, isLocal } = endpoints.get(owner)
    return podName !== '' && isLocal ? owner : ref
  }

  /** A name of an address is what the other end asked for: the destination's view of the source, and the reverse. */
  #stampNames(slot: number, src: number, dst: number): void {
    const u32 = this.#u32
    const { names, endpoints } = this.#parts
    if (names.size === 0) {
      u32[slot + AT.srcNames] = 0
      u32[slot + AT.dstNames] = 0
      return
    }
    const srcId = endpoints.get(src).id
    const dstId = endpoints.get(dst).id
    u32[slot + AT.srcNames] = dstId === 0 ? 0 : names.lookup(u32, slot + AT.srcIp, dstId)
    u32[slot + AT.dstNames] = srcId === 0 ? 0 : names.lookup(u32, slot + AT.dstIp, srcId)
  }

  #stampFacts(slot: number, facts: RecordFacts): void {
    const u32 = this.#u32
    u32[slot + AT.srcEndpoint] = facts.srcEndpoint
    u32[slot + AT.dstEndpoint] = facts.dstEndpoint
    u32[slot + AT.srcNames] = facts.srcNames
    u32[slot + AT.dstNames] = facts.dstNames
    u32[slot + AT.services] = facts.srcService | (facts.dstService << 16)
    this.#parts.namespaces.mark(facts.srcEndpoint)
    this.#parts.namespaces.mark(facts.dstEndpoint)
  }

  #stampL7(slot: number, l7: L7Record): void {
    const { history, endpoints, names } = this.#parts
    this.#u32[slot + AT.l7] = history.l7.put(l7, history.end - 1)
    // Hubble's rule for L7 flows: a response is the reply, whoever the kernel took for the opener.
    const state = (slot << 2) + FLOW_EVENT.state
    const bits = this.#u8[state]! & ~FlowState.REPLY
    this.#u8[state] = bits | FlowState.REPLY_KNOWN | (l7.type === L7Type.RESPONSE ? FlowState.REPLY : 0)
    const { dns } = l7
    if (dns === undefined || l7.type !== L7Type.RESPONSE || dns.rcode !== 0 || dns.ips.length === 0) return
    const observer = endpoints.get(this.#u32[slot + AT.dstEndpoint]!).id
    if (observer !== 0) names.learn(observer, dns.query, dns.ips, dns.ttl)
  }
}
