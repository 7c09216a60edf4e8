import { type FlowView, fillUuid, unixSeconds } from '../../model/flow-view.ts'
import { EventCause, FLOW_EVENT, FlowState } from '../../model/layouts.gen.ts'
import { PROTOCOL } from '../../model/protocol-names.ts'
import { flowSummary } from '../../model/summary.ts'
import { bytesOf, isZeroMac, putBytes, putFraction, putIp, putMac, putUint, putUuid } from './bytes.ts'
import { MAX_LINE_BYTES } from './config.ts'
import type { FieldMask } from './field-mask.ts'
import { type Emitter, FlowFragments } from './flow-fragments.ts'
import { l7Member, summaryMember, traceContextMember } from './fragments.ts'
import { type Wants, wantsOf } from './wants.ts'

/** Bytes of a line beside its cached pieces: addresses, numbers, times, keys. Counted from the longest of each: 1,211. */
const FIXED_BYTES = 1_536
const NO_BYTES = new Uint8Array(0)
/** `{` is written over the comma of an object's first member. */
const OPEN = 123
const QUOTE = 34
const CLOSE = 125
const NEWLINE = 10

const text = (value: string) => bytesOf(value)
const FLOW_OPEN = text('{"flow":')
const TIME = text(',"time":"')
const UUID = text(',"uuid":"')
const ETHERNET = text(',"ethernet":')
const IP = text(',"IP":')
const SOURCE = text(',"source":"')
const DESTINATION = text(',"destination":"')
const ENCRYPTED = text(',"encrypted":true')
const L4_EMPTY = text(',"l4":{}')
const SOURCE_PORT = text(',"source_port":')
const DESTINATION_PORT = text(',"destination_port":')
const ICMP_TYPE = text(',"type":')
const ICMP_CODE = text(',"code":')
const EXTENSIONS = text(',"extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":')
const BYTES = text(',"bytes":')
const DROPS = text(',"drops":')
const GUESSED = text(',"direction_guessed":true')
const FRAGMENT = text(',"fragment":true')
const PACKETS = text(',"packets":')
const REPLY_BYTES = text(',"reply_bytes":')
const REPLY_PACKETS = text(',"reply_packets":')
const RETRANSMITS = text(',"retransmits":')
const RTT = text(',"rtt_us":')
const RULE = text(',"rule":')
const SCTP_CHUNK = text(',"sctp_chunk":')
const SRTT = text(',"srtt_us":')
const VLAN = text(',"vlan":')
const IP_VERSION = [4, 6].map((version) => text(`,"ipVersion":"IPv${version}"`))
const CAUSES = Object.entries(EventCause).map(([name, value]) => (value === 0 ? NO_BYTES : text(`,"cause":"${name}"`)))
const L4_OPEN = new Map<number, Uint8Array>([
  [PROTOCOL.TCP, text(',"l4":{"TCP":')],
  [PROTOCOL.UDP, text(',"l4":{"UDP":')],
  [PROTOCOL.ICMP, text(',"l4":{"ICMPv4":')],
  [PROTOCOL.ICMPV6, text(',"l4":{"ICMPv6":')],
  [PROTOCOL.SCTP, text(',"l4":{"SCTP":')],
])

/** Who Sluice says it is, where the agent says nothing else. */
export const DEFAULT_EMITTER: Emitter = { name: 'Sluice', version: '0.1.0' }

export interface EncoderOptions {
  readonly fieldMask?: FieldMask | undefined
  readonly emitter?: Emitter | undefined
}

/**
 * Writes flows as lines of JSON, one Hubble ExportEvent each, byte for byte as protojson within Go's encoder would.
 * Everything about an endpoint, a set of names, a service, a kind of event is a piece of bytes made once; only
 * addresses, numbers and times are written anew. L3/L4 flows allocate nothing once their pieces are made.
 */
export class FlowEncoder {
  readonly #mask: FieldMask | undefined
  readonly #emitter: Emitter
  readonly #wants: Wants
  readonly #words = new Uint32Array(4)
  /** `2026-11-22T07:15:04` of the last second met. */
  readonly #clock = new Uint8Array(19)
  #clockSecs = -1
  #pieces: FlowFragments | undefined
  #discardedMisses = 0

  constructor(options: EncoderOptions = {}) {
    this.#mask = options.fieldMask
    this.#emitter = options.emitter ?? DEFAULT_EMITTER
    this.#wants = wantsOf(options.fieldMask)
  }

  /** Pieces of lines that had to be made since start. */
  get misses(): number {
    return this.#discardedMisses + (this.#pieces?.misses ?? 0)
  }

  /** Bytes of pieces held. */
  get cachedBytes(): number {
    return this.#pieces?.bytes ?? 0
  }

  /**
   * Writes one line, newline included.
   *
   * @param view on a flow
   * @param out with room for MAX_LINE_BYTES at `at`
   * @returns position after the line, or -1 when it would be longer than MAX_LINE_BYTES: nothing was written then
   */
  encode(view: FlowView, out: Uint8Array, at: number): number {
    const pieces = this.#piecesFor(view)
    const record = view.isL7 ? view.l7 : undefined
    const l7 = record === undefined ? NO_BYTES : text(l7Member(record, this.#mask))
    const traceContext = record === undefined ? NO_BYTES : text(traceContextMember(record.traceId, this.#mask))
    const summary = view.isL7 ? text(summaryMember(flowSummary(view), this.#mask)) : pieces.summary(view)
    const source = pieces.source(view.sourceRef)
    const destination = pieces.destination(view.destinationRef)
    const sourceNames = pieces.sourceNames(view.sourceNamesRef)
    const destinationNames = pieces.destinationNames(view.destinationNamesRef)
    const sourceService = pieces.sourceService(view.sourceServiceRef)
    const destinationService = pieces.destinationService(view.destinationServiceRef)
    const node = view.isL7 ? pieces.typeAndNodeL7 : pieces.typeAndNode
    const cached =
      source.length +
      destination.length +
      sourceNames.length +
      destinationNames.length +
      sourceService.length +
      destinationService.length +
      node.length +
      pieces.envelope.length +
      summary.length +
      l7.length +
      traceContext.length
    if (cached + FIXED_BYTES > MAX_LINE_BYTES) return -1

    const flowAt = putBytes(out, at, FLOW_OPEN)
    let to = this.#putHead(view, pieces, out, flowAt)
    to = putBytes(out, to, source)
    to = putBytes(out, to, destination)
    to = putBytes(out, to, node)
    to = putBytes(out, to, sourceNames)
    to = putBytes(out, to, destinationNames)
    to = putBytes(out, to, l7)
    to = putBytes(out, to, pieces.eventType(view))
    to = putBytes(out, to, sourceService)
    to = putBytes(out, to, destinationService)
    to = putBytes(out, to, pieces.direction(view))
    if (!view.isL7) to = putBytes(out, to, pieces.interfaceName(view.ifindex))
    to = putBytes(out, to, traceContext)
    to = putBytes(out, to, summary)
    if (this.#wants.extensions) to = putExtensions(view, pieces, out, to)
    if (to === flowAt) to++
    out[flowAt] = OPEN

    to = putBytes(out, to, pieces.envelope)
    to = this.#putTime(view, out, to)
    out[to] = QUOTE
    out[to + 1] = CLOSE
    out[to + 2] = NEWLINE
    return to + 3
  }

  #piecesFor(view: FlowView): FlowFragments {
    const known = this.#pieces
    if (known?.fits(view.context)) return known
    this.#discardedMisses += known?.misses ?? 0
    this.#pieces = new FlowFragments(view.context, this.#mask, this.#emitter)
    return this.#pieces
  }

  /** `time` to `l4`. */
  #putHead(view: FlowView, pieces: FlowFragments, out: Uint8Array, at: number): number {
    const wants = this.#wants
    let to = at
    if (wants.time) {
      to = this.#putTime(view, out, putBytes(out, to, TIME))
      out[to++] = QUOTE
    }
    if (wants.uuid) {
      fillUuid(view.context.uuidSeed, view.unixNsHigh, view.unixNsLow, this.#words)
      to = putUuid(out, putBytes(out, to, UUID), this.#words)
      out[to++] = QUOTE
    }
    to = putBytes(out, to, pieces.verdict(view))
    if (view.isDrop) to = putBytes(out, to, pieces.dropReason(view.dropReason))
    if (wants.ethernet && !view.isL7) to = putEthernet(view, wants, out, to)
    if (wants.ip && view.ipVersion !== 0) to = putIpMember(view, wants, out, to)
    const l4 = L4_OPEN.get(view.protocol)
    if (wants.l4 && l4 !== undefined) to = putL4(view, pieces, wants, l4, out, to)
    return to
  }

  #putTime(view: FlowView, out: Uint8Array, at: number): number {
    const low = view.unixNsLow
    const secs = unixSeconds(view.unixNsHigh, low)
    if (secs !== this.#clockSecs) {
      this.#clock.set(text(new Date(secs * 1000).toISOString().slice(0, 19)))
      this.#clockSecs = secs
    }
    const to = putFraction(out, putBytes(out, at, this.#clock), (low - Math.imul(secs, 1_000_000_000)) >>> 0)
    out[to] = 90
    return to + 1
  }
}

function putEthernet(view: FlowView, wants: Wants, out: Uint8Array, at: number): number {
  const from = view.bytesArray
  const source = view.byteOffset + FLOW_EVENT.srcMac
  const destination = view.byteOffset + FLOW_EVENT.dstMac
  const hasSource = !isZeroMac(from, source)
  const hasDestination = !isZeroMac(from, destination)
  if (!hasSource && !hasDestination) return at
  const open = putBytes(out, at, ETHERNET)
  let to = open
  if (hasSource && wants.ethernetSource) {
    to = putMac(out, putBytes(out, to, SOURCE), from, source)
    out[to++] = QUOTE
  }
  if (hasDestination && wants.ethernetDestination) {
    to = putMac(out, putBytes(out, to, DESTINATION), from, destination)
    out[to++] = QUOTE
  }
  return close(out, open, to)
}

function putIpMember(view: FlowView, wants: Wants, out: Uint8Array, at: number): number {
  const open = putBytes(out, at, IP)
  let to = open
  if (wants.ipSource) {
    to = putIp(out, putBytes(out, to, SOURCE), view.bytesArray, view.byteOffset + FLOW_EVENT.srcIp)
    out[to++] = QUOTE
  }
  if (wants.ipDestination) {
    to = putIp(out, putBytes(out, to, DESTINATION), view.bytesArray, view.byteOffset + FLOW_EVENT.dstIp)
    out[to++] = QUOTE
  }
  if (wants.ipVersion) to = putBytes(out, to, IP_VERSION[view.ipVersion === 6 ? 1 : 0]!)
  if (wants.ipEncrypted && view.isEncrypted) to = putBytes(out, to, ENCRYPTED)
  return close(out, open, to)
}

function putL4(
  view: FlowView,
  pieces: FlowFragments,
  wants: Wants,
  opening: Uint8Array,
  out: Uint8Array,
  at: number,
): number {
  const protocol = view.protocol
  // A mask that takes another member of the oneof leaves `l4` present and empty, as Hubble's does.
  const isWanted =
    protocol === PROTOCOL.TCP
      ? wants.tcp
      : protocol === PROTOCOL.UDP
        ? wants.udp
        : protocol === PROTOCOL.SCTP
          ? wants.sctp
          : protocol === PROTOCOL.ICMP
            ? wants.icmp
            : wants.icmp6
  if (!isWanted) return putBytes(out, at, L4_EMPTY)
  const open = putBytes(out, at, opening)
  let to = open
  if (protocol === PROTOCOL.ICMP || protocol === PROTOCOL.ICMPV6) {
    const is4 = protocol === PROTOCOL.ICMP
    if (is4 ? wants.icmpType : wants.icmp6Type) to = putNonZero(out, to, ICMP_TYPE, view.icmpType)
    if (is4 ? wants.icmpCode : wants.icmp6Code) to = putNonZero(out, to, ICMP_CODE, view.icmpCode)
  } else {
    const isTcp = protocol === PROTOCOL.TCP
    const isUdp = protocol === PROTOCOL.UDP
    const wantsSource = isTcp ? wants.tcpSource : isUdp ? wants.udpSource : wants.sctpSource
    const wantsDestination = isTcp ? wants.tcpDestination : isUdp ? wants.udpDestination : wants.sctpDestination
    if (wantsSource) to = putNonZero(out, to, SOURCE_PORT, view.srcPort)
    if (wantsDestination) to = putNonZero(out, to, DESTINATION_PORT, view.dstPort)
    if (isTcp && !view.isL7) to = putBytes(out, to, pieces.tcpFlags(view.tcpFlags))
  }
  to = close(out, open, to)
  out[to] = CLOSE
  return to + 1
}

/** Facts that flow.proto has no field for, as a Struct; keys in order of the alphabet, as protojson writes a map's. */
function putExtensions(view: FlowView, pieces: FlowFragments, out: Uint8Array, at: number): number {
  const open = putBytes(out, at, EXTENSIONS)
  let to = putNonZero(out, open, BYTES, view.bytes)
  to = putBytes(out, to, CAUSES[view.cause] ?? NO_BYTES)
  if (view.state & FlowState.GUESSED) to = putBytes(out, to, GUESSED)
  to = putBytes(out, to, pieces.dropLocation(view.dropLocation))
  to = putNonZero(out, to, DROPS, view.drops)
  if (view.isFragment) to = putBytes(out, to, FRAGMENT)
  to = putBytes(out, to, pieces.kernelDropReason(view.kernelDropReason))
  to = putNonZero(out, to, PACKETS, view.packets)
  to = putNonZero(out, to, REPLY_BYTES, view.replyBytes)
  to = putNonZero(out, to, REPLY_PACKETS, view.replyPackets)
  to = putNonZero(out, to, RETRANSMITS, view.retransmits)
  to = putNonZero(out, to, RTT, view.rttUs)
  to = putNonZero(out, to, RULE, view.rule)
  if (view.protocol === PROTOCOL.SCTP && !view.isL7) to = putNonZero(out, to, SCTP_CHUNK, view.sctpChunk)
  to = putNonZero(out, to, SRTT, view.srttUs)
  to = putNonZero(out, to, VLAN, view.vlan)
  if (to === open) return at
  to = close(out, open, to)
  out[to] = CLOSE
  return to + 1
}

function putNonZero(out: Uint8Array, at: number, key: Uint8Array, value: number): number {
  return value === 0 ? at : putUint(out, putBytes(out, at, key), value)
}

/** Ends an object whose members start at `open` with a comma each. */
function close(out: Uint8Array, open: number, at: number): number {
  const to = at === open ? at + 1 : at
  out[open] = OPEN
  out[to] = CLOSE
  return to + 1
}
