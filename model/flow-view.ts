import type { Endpoint, Service } from './endpoint.ts'
import type { L7Record } from './l7.ts'
import {
  EventCause,
  EventType,
  FLOW_EVENT,
  FLOW_SLOT,
  FLOW_STAMP,
  FlowState,
  ObservationPoint,
  Verdict,
} from './layouts.gen.ts'

const S = FLOW_SLOT.stamp

/** Byte offset of each field of a slot, event and stamp together; generated offsets, no number of our own. */
const AT = {
  type: FLOW_EVENT.type,
  vlan: FLOW_EVENT.vlan >> 1,
  cpu: FLOW_EVENT.cpu >> 1,
  srcIp: FLOW_EVENT.srcIp,
  dstIp: FLOW_EVENT.dstIp,
  srcPort: FLOW_EVENT.srcPort >> 1,
  dstPort: FLOW_EVENT.dstPort >> 1,
  protocol: FLOW_EVENT.protocol,
  ipVersion: FLOW_EVENT.ipVersion,
  l4Info: FLOW_EVENT.l4Info >> 1,
  ifindex: FLOW_EVENT.ifindex >> 2,
  verdict: FLOW_EVENT.verdict,
  point: FLOW_EVENT.point,
  cause: FLOW_EVENT.cause,
  state: FLOW_EVENT.state,
  packets: FLOW_EVENT.packets >> 2,
  replyPackets: FLOW_EVENT.replyPackets >> 2,
  bytes: FLOW_EVENT.bytes >> 2,
  replyBytes: FLOW_EVENT.replyBytes >> 2,
  dropLocation: FLOW_EVENT.dropLocation >> 2,
  dropReason: FLOW_EVENT.dropReason >> 1,
  hubbleReason: FLOW_EVENT.hubbleReason,
  traceReason: FLOW_EVENT.traceReason,
  rttUs: FLOW_EVENT.rttUs >> 2,
  srttUs: FLOW_EVENT.srttUs >> 2,
  retransmits: FLOW_EVENT.retransmits >> 1,
  drops: FLOW_EVENT.drops >> 1,
  consumers: FLOW_EVENT.consumers >> 2,
  srcMac: FLOW_EVENT.srcMac,
  dstMac: FLOW_EVENT.dstMac,
  rule: FLOW_EVENT.rule >> 1,
  recordNsLow: FLOW_EVENT.timeNs >> 2,
  recordNsHigh: (FLOW_EVENT.timeNs + 4) >> 2,
  unixNsLow: (S + FLOW_STAMP.unixNs) >> 2,
  unixNsHigh: (S + FLOW_STAMP.unixNs + 4) >> 2,
  srcEndpoint: (S + FLOW_STAMP.srcEndpoint) >> 2,
  dstEndpoint: (S + FLOW_STAMP.dstEndpoint) >> 2,
  srcNames: (S + FLOW_STAMP.srcNames) >> 2,
  dstNames: (S + FLOW_STAMP.dstNames) >> 2,
  srcService: (S + FLOW_STAMP.srcService) >> 1,
  dstService: (S + FLOW_STAMP.dstService) >> 1,
  l7: (S + FLOW_STAMP.l7) >> 2,
} as const

/** A kernel drop reason: the running kernel's own name, and the nearest flow.proto DropReason number. */
export interface KernelDropReason {
  /** `NO_SOCKET`, without the SKB_DROP_REASON_ prefix; the number in decimals when this kernel has no name for it. */
  readonly name: string
  /** flow.proto DropReason */
  readonly hubble: number
}

/**
 * What the numbers in a record stand for. The collector implements it; every reader of flows resolves through it.
 * All look-ups are by small integers and allocate nothing.
 */
export interface FlowContext {
  /** Hubble's node_name: `node`, or `cluster/node` when the cluster's name is set and is not `default`. */
  readonly nodeName: string
  readonly nodeLabels: readonly string[]
  /** Kept over restarts of the agent; makes uuids differ between nodes, and between boots of a node. */
  readonly uuidSeed: Uint32Array
  endpoint(ref: number): Endpoint
  /** DNS names, lower case, without trailing dot. Empty for 0 or a forgotten reference. */
  names(ref: number): readonly string[]
  service(ref: number): Service | undefined
  l7(ref: number): L7Record | undefined
  kernelDropReason(reason: number): KernelDropReason
  /** Kernel function and offset, `tcp_v4_rcv+0x5c`; empty for 0. */
  dropLocation(location: number): string
  /** Name of the node's device, empty when it is gone and forgotten. */
  interfaceName(ifindex: number): string
}

/** The arrays over one buffer of slots; made once per buffer. */
export class SlotArrays {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array

  /** @param buffer a whole number of slots (FLOW_SLOT.SIZE bytes each) */
  constructor(buffer: ArrayBufferLike) {
    this.u8 = new Uint8Array(buffer)
    this.u16 = new Uint16Array(buffer)
    this.u32 = new Uint32Array(buffer)
  }
}

/**
 * A cursor over the slots of a history: reads fields of one flow in place, copies nothing. Valid until it is moved
 * or the slot is overwritten; nobody keeps one beyond the call it was handed in. Names follow flow.proto.
 */
export class FlowView {
  readonly context: FlowContext
  readonly #u8: Uint8Array
  readonly #u16: Uint16Array
  readonly #u32: Uint32Array
  /** Position in the history's sequence, set by seek(). */
  sequence = 0
  #o8 = 0
  #o16 = 0
  #o32 = 0

  constructor(arrays: SlotArrays, context: FlowContext) {
    this.context = context
    this.#u8 = arrays.u8
    this.#u16 = arrays.u16
    this.#u32 = arrays.u32
  }

  /** Moves to a slot. @param slot index of the slot in the buffer @param sequence the flow's place in the history */
  move(slot: number, sequence: number): void {
    this.sequence = sequence
    this.#o8 = slot * FLOW_SLOT.SIZE
    this.#o16 = this.#o8 >>> 1
    this.#o32 = this.#o8 >>> 2
  }

  /** EventType */
  get type(): number {
    return this.#u8[this.#o8 + AT.type]!
  }
  /** EventCause */
  get cause(): number {
    return this.#u8[this.#o8 + AT.cause]!
  }
  get isL7(): boolean {
    return this.type >= EventType.DNS
  }
  get isDrop(): boolean {
    return this.verdict === Verdict.DROPPED
  }
  get cpu(): number {
    return this.#u16[this.#o16 + AT.cpu]!
  }
  /** Outermost VLAN id, 0 = untagged. */
  get vlan(): number {
    return this.#u16[this.#o16 + AT.vlan]!
  }
  /** 4 or 6 */
  get ipVersion(): number {
    return this.#u8[this.#o8 + AT.ipVersion]!
  }
  /** IPPROTO_* */
  get protocol(): number {
    return this.#u8[this.#o8 + AT.protocol]!
  }
  /** Host order; 0 for ICMP and later fragments. */
  get srcPort(): number {
    return this.#u16[this.#o16 + AT.srcPort]!
  }
  get dstPort(): number {
    return this.#u16[this.#o16 + AT.dstPort]!
  }
  /** TCP flags of the packet: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, NS 256. */
  get tcpFlags(): number {
    return this.#u16[this.#o16 + AT.l4Info]!
  }
  get icmpType(): number {
    return this.#u16[this.#o16 + AT.l4Info]! >>> 8
  }
  get icmpCode(): number {
    return this.#u16[this.#o16 + AT.l4Info]! & 0xff
  }
  /** Type of the first SCTP chunk as on the wire. */
  get sctpChunk(): number {
    return this.#u16[this.#o16 + AT.l4Info]!
  }
  get ifindex(): number {
    return this.#u32[this.#o32 + AT.ifindex]!
  }
  /** Verdict */
  get verdict(): number {
    return this.#u8[this.#o8 + AT.verdict]!
  }
  /** ObservationPoint (flow.proto numbers) */
  get observationPoint(): number {
    return this.#u8[this.#o8 + AT.point]!
  }
  /** Bits of FlowState. */
  get state(): number {
    return this.#u8[this.#o8 + AT.state]!
  }
  /** true, false, or undefined where the direction is not known (Hubble leaves is_reply out). */
  get isReply(): boolean | undefined {
    const state = this.state
    return state & FlowState.REPLY_KNOWN ? (state & FlowState.REPLY) !== 0 : undefined
  }
  /** flow.proto TrafficDirection: 0 unknown, 1 INGRESS, 2 EGRESS. */
  get trafficDirection(): number {
    const state = this.state
    return state & FlowState.EGRESS ? 2 : state & FlowState.INGRESS ? 1 : 0
  }
  get isEncrypted(): boolean {
    return (this.state & FlowState.ENCRYPTED) !== 0
  }
  get isFragment(): boolean {
    return (this.state & FlowState.FRAGMENT) !== 0
  }
  /** Packets from source to destination since the flow's previous record. */
  get packets(): number {
    return this.#u32[this.#o32 + AT.packets]!
  }
  get replyPackets(): number {
    return this.#u32[this.#o32 + AT.replyPackets]!
  }
  get bytes(): number {
    return this.#u32[this.#o32 + AT.bytes]!
  }
  get replyBytes(): number {
    return this.#u32[this.#o32 + AT.replyBytes]!
  }
  /** Kernel's skb_drop_reason, 0 = none; see context.kernelDropReason(). */
  get kernelDropReason(): number {
    return this.#u16[this.#o16 + AT.dropReason]!
  }
  /** flow.proto DropReason; 0 unless the verdict is DROPPED. */
  get dropReason(): number {
    if (!this.isDrop) return 0
    const own = this.#u8[this.#o8 + AT.hubbleReason]!
    return own !== 0 ? own : this.context.kernelDropReason(this.kernelDropReason).hubble
  }
  /** Number for context.dropLocation(). */
  get dropLocation(): number {
    return this.#u32[this.#o32 + AT.dropLocation]!
  }
  /** flow.proto TraceReason */
  get traceReason(): number {
    return this.#u8[this.#o8 + AT.traceReason]!
  }
  /** TCP handshake round trip, microseconds, 0 = unknown. */
  get rttUs(): number {
    return this.#u32[this.#o32 + AT.rttUs]!
  }
  /** Kernel's smoothed round trip of the local socket, microseconds, 0 = unknown. */
  get srttUs(): number {
    return this.#u32[this.#o32 + AT.srttUs]!
  }
  /** Segments sent again since the previous record. */
  get retransmits(): number {
    return this.#u16[this.#o16 + AT.retransmits]!
  }
  /** Packets of the flow dropped by the kernel since the previous record. */
  get drops(): number {
    return this.#u16[this.#o16 + AT.drops]!
  }
  /** Bit per consumer that wants the record. */
  get consumers(): number {
    return this.#u32[this.#o32 + AT.consumers]!
  }
  /** Policy rule that decided, 0 = none. */
  get rule(): number {
    return this.#u16[this.#o16 + AT.rule]!
  }
  /**
   * Low and high half of the record's time by the clock of its source, unique on a node: CLOCK_BOOTTIME for the
   * kernel's. Read again from the ring, a record has the same one, whatever became of the wall clock.
   */
  get recordNsLow(): number {
    return this.#u32[this.#o32 + AT.recordNsLow]!
  }
  get recordNsHigh(): number {
    return this.#u32[this.#o32 + AT.recordNsHigh]!
  }
  /** Low and high half of the wall clock, nanoseconds since 1970. */
  get unixNsLow(): number {
    return this.#u32[this.#o32 + AT.unixNsLow]!
  }
  get unixNsHigh(): number {
    return this.#u32[this.#o32 + AT.unixNsHigh]!
  }
  /** Whole seconds since 1970. */
  get timeSecs(): number {
    return unixSeconds(this.unixNsHigh, this.unixNsLow)
  }
  /** Nanoseconds within timeSecs, 0 to 999,999,999. */
  get timeNanos(): number {
    return unixNanos(this.unixNsHigh, this.unixNsLow)
  }
  get source(): Endpoint {
    return this.context.endpoint(this.sourceRef)
  }
  get destination(): Endpoint {
    return this.context.endpoint(this.destinationRef)
  }
  /** Endpoint.ref of the source: the key for caches of per-endpoint text. */
  get sourceRef(): number {
    return this.#u32[this.#o32 + AT.srcEndpoint]!
  }
  get destinationRef(): number {
    return this.#u32[this.#o32 + AT.dstEndpoint]!
  }
  get sourceNamesRef(): number {
    return this.#u32[this.#o32 + AT.srcNames]!
  }
  get destinationNamesRef(): number {
    return this.#u32[this.#o32 + AT.dstNames]!
  }
  get sourceServiceRef(): number {
    return this.#u16[this.#o16 + AT.srcService]!
  }
  get destinationServiceRef(): number {
    return this.#u16[this.#o16 + AT.dstService]!
  }
  get l7Ref(): number {
    return this.#u32[this.#o32 + AT.l7]!
  }
  /** The L7 message; undefined on L3/L4 flows. */
  get l7(): L7Record | undefined {
    return this.isL7 ? this.context.l7(this.l7Ref) : undefined
  }
  /** flow.proto event_type.type: 1 drop, 4 trace, 5 policy verdict, 129 L7. */
  get eventType(): number {
    return this.isL7 ? 129 : this.isDrop ? 1 : 4
  }
  /** flow.proto event_type.sub_type: drop reason, or the monitor's number of the observation point. */
  get eventSubType(): number {
    if (this.isL7) return 0
    if (this.isDrop) return this.dropReason
    const point = this.observationPoint
    return MONITOR_SUB_TYPE[point] ?? 0
  }
  /** Canonical text of the source address. Allocates: not for the hot path. */
  get srcIp(): string {
    return this.ipVersion === 0 ? '' : ipText(this.#u8, this.#o8 + AT.srcIp)
  }
  get dstIp(): string {
    return this.ipVersion === 0 ? '' : ipText(this.#u8, this.#o8 + AT.dstIp)
  }
  /** `aa:bb:cc:00:11:22`, empty when not recorded. */
  get srcMac(): string {
    return macText(this.#u8, this.#o8 + AT.srcMac)
  }
  get dstMac(): string {
    return macText(this.#u8, this.#o8 + AT.dstMac)
  }
  /** Hubble's uuid of this flow: version 4 form, the same every time it is asked. */
  get uuid(): string {
    return flowUuid(this.context.uuidSeed, this.recordNsHigh, this.recordNsLow)
  }
  /** The buffer's bytes and where this slot starts in them, for encoders that copy addresses and MACs themselves. */
  get bytesArray(): Uint8Array {
    return this.#u8
  }
  get byteOffset(): number {
    return this.#o8
  }
}

/** Monitor sub-types differ from observation points in one place: to-endpoint is 0. */
const MONITOR_SUB_TYPE: Readonly<Record<number, number>> = {
  [ObservationPoint.TO_PROXY]: 1,
  [ObservationPoint.TO_HOST]: 2,
  [ObservationPoint.TO_STACK]: 3,
  [ObservationPoint.TO_OVERLAY]: 4,
  [ObservationPoint.FROM_ENDPOINT]: 5,
  [ObservationPoint.FROM_PROXY]: 6,
  [ObservationPoint.FROM_HOST]: 7,
  [ObservationPoint.FROM_STACK]: 8,
  [ObservationPoint.FROM_OVERLAY]: 9,
  [ObservationPoint.FROM_NETWORK]: 10,
  [ObservationPoint.TO_NETWORK]: 11,
  [ObservationPoint.FROM_CRYPTO]: 12,
  [ObservationPoint.TO_CRYPTO]: 13,
  [ObservationPoint.TO_ENDPOINT]: 0,
}

/** Seconds of a 64-bit count of nanoseconds. Doubles are 256 ns coarse here, so the estimate is corrected once. */
export function unixSeconds(high: number, low: number): number {
  const estimate = Math.floor((high * 4294967296 + low) / 1e9)
  const rest = (low - Math.imul(estimate, 1_000_000_000)) >>> 0
  // `rest` is exact modulo 2^32: an estimate one too high leaves it just below 2^32, one too low just above 1e9.
  if (rest < 1_000_000_000) return estimate
  return rest > 0xf000_0000 ? estimate - 1 : estimate + 1
}

export function unixNanos(high: number, low: number): number {
  return (low - Math.imul(unixSeconds(high, low), 1_000_000_000)) >>> 0
}

/** Canonical text (RFC 5952; IPv4-mapped as dotted quad) of 16 bytes. */
export function ipText(bytes: Uint8Array, at: number): string {
  if (isMapped(bytes, at)) return `${bytes[at + 12]}.${bytes[at + 13]}.${bytes[at + 14]}.${bytes[at + 15]}`
  let bestStart = -1
  let bestLength = 1
  for (let i = 0, start = -1; i <= 8; i++) {
    const zero = i < 8 && bytes[at + 2 * i] === 0 && bytes[at + 2 * i + 1] === 0
    if (zero && start < 0) start = i
    if (!zero && start >= 0) {
      if (i - start > bestLength) {
        bestStart = start
        bestLength = i - start
      }
      start = -1
    }
  }
  let text = ''
  for (let i = 0; i < 8; i++) {
    if (i === bestStart) {
      text += '::'
      i += bestLength - 1
      continue
    }
    if (text !== '' && !text.endsWith(':')) text += ':'
    text += ((bytes[at + 2 * i]! << 8) | bytes[at + 2 * i + 1]!).toString(16)
  }
  return text
}

function isMapped(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 10; i++) if (bytes[at + i] !== 0) return false
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff
}

const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'))

function macText(bytes: Uint8Array, at: number): string {
  let any = 0
  for (let i = 0; i < 6; i++) any |= bytes[at + i]!
  if (any === 0) return ''
  return `${HEX[bytes[at]!]}:${HEX[bytes[at + 1]!]}:${HEX[bytes[at + 2]!]}:${HEX[bytes[at + 3]!]}:${HEX[bytes[at + 4]!]}:${HEX[bytes[at + 5]!]}`
}

const uuidWords = new Uint32Array(4)

/**
 * A uuid of version 4 form from the record's time, which is unique on a node, and a seed, which is unique to the node
 * and its boot.
 * 64 of its 122 free bits are a bijection of the time, so two flows of a node never share one.
 *
 * @param seed four random words
 */
export function flowUuid(seed: Uint32Array, high: number, low: number): string {
  fillUuid(seed, high, low, uuidWords)
  const [a, b, c, d] = uuidWords as unknown as [number, number, number, number]
  return `${hex32(a)}-${hex16(b >>> 16)}-${hex16(b & 0xffff)}-${hex16(c >>> 16)}-${hex16(c & 0xffff)}${hex32(d)}`
}

/** The same as four big-endian words: for encoders that write the bytes themselves. */
export function fillUuid(seed: Uint32Array, high: number, low: number, out: Uint32Array): void {
  // Four Feistel rounds over (low, high): a bijection of the 64-bit time, keyed by the seed. Signed words throughout:
  // the engine holds them as small integers, where an unsigned word above 2^31 becomes an object on the heap.
  let left = low | 0
  let right = high | 0
  for (let round = 0; round < 4; round++) {
    const next = left ^ mix((right + seed[round]!) | 0)
    left = right
    right = next
  }
  const rest = mix(left ^ seed[1]!)
  const rest2 = mix(right ^ seed[3]!)
  // Words: left | right spread around the six fixed bits of the version-4 form.
  out[0] = left
  out[1] = (right & 0xffff0000) | 0x4000 | (rest & 0x0fff)
  out[2] = 0x8000_0000 | ((right & 0xffff) << 14) | (rest2 & 0x3fff)
  out[3] = rest ^ rest2
}

/** murmur3's finaliser: a bijection of 32 bits that spreads every bit. Signed, as its input. */
function mix(value: number): number {
  let h = value
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

function hex16(value: number): string {
  return HEX[value >>> 8]! + HEX[value & 0xff]!
}

function hex32(value: number): string {
  return hex16(value >>> 16) + hex16(value & 0xffff)
}

export { EventCause, EventType, FlowState, ObservationPoint, Verdict }
