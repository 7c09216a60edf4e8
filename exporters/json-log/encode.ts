import { type FlowView, fillUuid } from '../../model/flow-view.ts'
import { EventCause, FLOW_EVENT, FLOW_SLOT, FLOW_STAMP, FlowState } from '../../model/layouts.gen.ts'
import { PROTOCOL } from '../../model/protocol-names.ts'
import {
  bytesOf,
  isZeroMac,
  type LineBuffer,
  type Literal,
  literal,
  putBytes,
  putFraction,
  putIp,
  putLiteral,
  putMac,
  putUint,
  putUuid,
} from './bytes.ts'
import { MAX_LINE_BYTES } from './config.ts'
import type { FieldMask } from './field-mask.ts'
import { type Emitter, EXTENSIONS_OPEN, FlowFragments } from './flow-fragments.ts'
import { l7Member, traceContextMember } from './fragments.ts'
import { type Wants, wantsOf } from './wants.ts'
import { WordsCache } from './words-cache.ts'

/** Bytes of a line beside its cached pieces: addresses, numbers, times, keys. Counted from the longest of each: 1,211. */
const FIXED_BYTES = 1_536
/** Where a slot has its wall clock. */
const TIME_OFFSET = FLOW_SLOT.stamp + FLOW_STAMP.unixNs
const NO_BYTES = new Uint8Array(0)
const NO_LITERAL = literal('')
/** `{` is written over the comma of an object's first member. */
const OPEN = 123
const QUOTE = 34
const CLOSE = 125
const NEWLINE = 10

const FLOW_OPEN = literal('{"flow":')
const TIME = literal(',"time":"')
const UUID = literal(',"uuid":"')
const ETHERNET = literal(',"ethernet":')
const IP = literal(',"IP":')
const SOURCE = literal(',"source":"')
const DESTINATION = literal(',"destination":"')
const ENCRYPTED = literal(',"encrypted":true')
const L4_EMPTY = literal(',"l4":{}')
const SOURCE_PORT = literal(',"source_port":')
const DESTINATION_PORT = literal(',"destination_port":')
const ICMP_TYPE = literal(',"type":')
const ICMP_CODE = literal(',"code":')
const BYTES = literal(',"bytes":')
const DROPS = literal(',"drops":')
const GUESSED = literal(',"direction_guessed":true')
const FRAGMENT = literal(',"fragment":true')
const PACKETS = literal(',"packets":')
const REPLY_BYTES = literal(',"reply_bytes":')
const REPLY_PACKETS = literal(',"reply_packets":')
const RETRANSMITS = literal(',"retransmits":')
const RTT = literal(',"rtt_us":')
const RULE = literal(',"rule":')
const SCTP_CHUNK = literal(',"sctp_chunk":')
const SRTT = literal(',"srtt_us":')
const VLAN = literal(',"vlan":')
const IP_VERSION = [4, 6].map((version) => literal(`,"ipVersion":"IPv${version}"`))
const CAUSES = Object.entries(EventCause).map(([name, value]) =>
  value === 0 ? NO_LITERAL : literal(`,"cause":"${name}"`),
)
const L4_OPEN = new Map<number, Literal>([
  [PROTOCOL.TCP, literal(',"l4":{"TCP":')],
  [PROTOCOL.UDP, literal(',"l4":{"UDP":')],
  [PROTOCOL.ICMP, literal(',"l4":{"ICMPv4":')],
  [PROTOCOL.ICMPV6, literal(',"l4":{"ICMPv6":')],
  [PROTOCOL.SCTP, literal(',"l4":{"SCTP":')],
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
  readonly #uuid = new Uint32Array(4)
  readonly #uuidSigned = new Int32Array(this.#uuid.buffer)
  /** `2026-11-22T07:15:04` of the last second met. */
  #clock = NO_LITERAL
  /** Its beginning in nanoseconds since 1970, as two words. */
  #secondHigh = -1
  #secondLow = 0
  /** Bytes of the time at the head of the line being written. */
  #timeLength = 0
  /** `ethernet` by both MACs: 12 bytes. */
  readonly #links = new WordsCache(1024, 3)
  /** `IP` by both addresses: 32 bytes. 8,192 x (36 + about 170) bytes = 1.7 MB. */
  readonly #addresses = new WordsCache(8192, 8)
  #recordBytes: Uint8Array | undefined
  #recordWords: Int32Array = new Int32Array(0)
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
  encode(view: FlowView, out: LineBuffer, at: number): number {
    const pieces = this.#piecesFor(view)
    const record = view.l7
    const l7 = record === undefined ? NO_BYTES : bytesOf(l7Member(record, this.#mask))
    const traceContext = record === undefined ? NO_BYTES : bytesOf(traceContextMember(record.traceId, this.#mask))
    const isL7 = view.isL7
    const summary = isL7 ? bytesOf(pieces.l7Summary(view)) : pieces.summary(view)
    const source = pieces.source(view.sourceRef)
    const destination = pieces.destinationAndNode(view.destinationRef, isL7)
    const sourceNames = pieces.sourceNames(view.sourceNamesRef)
    const destinationNames = pieces.destinationNames(view.destinationNamesRef)
    const sourceService = pieces.sourceService(view.sourceServiceRef)
    const destinationService = pieces.destinationService(view.destinationServiceRef)
    const cached =
      source.length +
      destination.length +
      sourceNames.length +
      destinationNames.length +
      sourceService.length +
      destinationService.length +
      pieces.envelope.length +
      summary.length +
      l7.length +
      traceContext.length
    if (cached + FIXED_BYTES > MAX_LINE_BYTES) return -1

    const flowAt = putLiteral(out, at, FLOW_OPEN)
    let to = this.#putHead(view, pieces, out, flowAt)
    to = putBytes(out, to, source)
    to = putBytes(out, to, destination)
    to = putBytes(out, to, sourceNames)
    to = putBytes(out, to, destinationNames)
    to = putBytes(out, to, l7)
    if (sourceService.length + destinationService.length === 0) {
      to = putBytes(out, to, pieces.kind(view))
    } else {
      to = putBytes(out, to, pieces.eventType(view))
      to = putBytes(out, to, sourceService)
      to = putBytes(out, to, destinationService)
      to = putBytes(out, to, pieces.direction(view))
    }
    if (!isL7) to = putBytes(out, to, pieces.interfaceName(view.ifindex))
    to = putBytes(out, to, traceContext)
    to = putBytes(out, to, summary)
    if (this.#wants.extensions) to = putExtensions(view, pieces, out, to)
    if (to === flowAt) to++
    out.bytes[flowAt] = OPEN

    to = putBytes(out, to, pieces.envelope)
    if (this.#wants.time) {
      const from = flowAt + TIME.length
      const length = this.#timeLength
      out.bytes.copyWithin(to, from, from + length)
      to += length
    } else {
      to = this.#putTime(view, out, to)
    }
    out.bytes[to] = QUOTE
    out.bytes[to + 1] = CLOSE
    out.bytes[to + 2] = NEWLINE
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
  #putHead(view: FlowView, pieces: FlowFragments, out: LineBuffer, at: number): number {
    const wants = this.#wants
    let to = at
    if (wants.time) {
      const from = putLiteral(out, to, TIME)
      to = this.#putTime(view, out, from)
      this.#timeLength = to - from
      out.bytes[to++] = QUOTE
    }
    if (wants.uuid) {
      const words = this.#wordsOf(view)
      const low = (view.byteOffset + TIME_OFFSET) >> 2
      fillUuid(view.context.uuidSeed, words[low + 1]!, words[low]!, this.#uuid)
      to = putUuid(out, putLiteral(out, to, UUID), this.#uuidSigned)
      out.bytes[to++] = QUOTE
    }
    to = putBytes(out, to, pieces.verdict(view))
    if (view.isDrop) to = putBytes(out, to, pieces.dropReason(view.dropReason))
    if (wants.ethernet && !view.isL7) to = this.#putLink(view, out, to)
    if (wants.ip && view.ipVersion !== 0) to = this.#putAddresses(view, out, to)
    const l4 = L4_OPEN.get(view.protocol)
    if (wants.l4 && l4 !== undefined) to = putL4(view, pieces, wants, l4, out, to)
    return to
  }

  #putLink(view: FlowView, out: LineBuffer, at: number): number {
    const piece = this.#links.find(this.#wordsOf(view), (view.byteOffset + FLOW_EVENT.srcMac) >> 2, 1)
    if (piece !== undefined) return putBytes(out, at, piece)
    const to = putEthernet(view, this.#wants, out, at)
    this.#links.admit(out.bytes, at, to)
    return to
  }

  #putAddresses(view: FlowView, out: LineBuffer, at: number): number {
    const extra = view.ipVersion | (view.state & FlowState.ENCRYPTED)
    const piece = this.#addresses.find(this.#wordsOf(view), (view.byteOffset + FLOW_EVENT.srcIp) >> 2, extra)
    if (piece !== undefined) return putBytes(out, at, piece)
    const to = putIpMember(view, this.#wants, out, at)
    this.#addresses.admit(out.bytes, at, to)
    return to
  }

  /** The view's buffer as words. Signed: an unsigned word above 2^31 is an object on the heap wherever it is handed on. */
  #wordsOf(view: FlowView): Int32Array {
    const bytes = view.bytesArray
    if (bytes !== this.#recordBytes) {
      this.#recordBytes = bytes
      this.#recordWords = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
    }
    return this.#recordWords
  }

  #putTime(view: FlowView, out: LineBuffer, at: number): number {
    const words = this.#wordsOf(view)
    const low = (view.byteOffset + TIME_OFFSET) >> 2
    const past = ((words[low + 1]! >>> 0) - this.#secondHigh) * 4_294_967_296 + ((words[low]! >>> 0) - this.#secondLow)
    const nanos = past >= 0 && past < 1_000_000_000 ? past | 0 : this.#enterSecond(view)
    const to = putFraction(out, putLiteral(out, at, this.#clock), nanos)
    out.bytes[to] = 90
    return to + 1
  }

  /** @returns nanoseconds past it */
  #enterSecond(view: FlowView): number {
    const low = view.unixNsLow
    const nanos = view.timeNanos
    this.#secondLow = (low - nanos) >>> 0
    this.#secondHigh = low < nanos ? view.unixNsHigh - 1 : view.unixNsHigh
    this.#clock = literal(new Date(view.timeSecs * 1000).toISOString().slice(0, 19))
    return nanos
  }
}

function putEthernet(view: FlowView, wants: Wants, out: LineBuffer, at: number): number {
  const from = view.bytesArray
  const source = view.byteOffset + FLOW_EVENT.srcMac
  const destination = view.byteOffset + FLOW_EVENT.dstMac
  const hasSource = !isZeroMac(from, source)
  const hasDestination = !isZeroMac(from, destination)
  if (!hasSource && !hasDestination) return at
  const open = putLiteral(out, at, ETHERNET)
  let to = open
  if (hasSource && wants.ethernetSource) {
    to = putMac(out, putLiteral(out, to, SOURCE), from, source)
    out.bytes[to++] = QUOTE
  }
  if (hasDestination && wants.ethernetDestination) {
    to = putMac(out, putLiteral(out, to, DESTINATION), from, destination)
    out.bytes[to++] = QUOTE
  }
  return close(out, open, to)
}

function putIpMember(view: FlowView, wants: Wants, out: LineBuffer, at: number): number {
  const open = putLiteral(out, at, IP)
  let to = open
  if (wants.ipSource) {
    to = putIp(out, putLiteral(out, to, SOURCE), view.bytesArray, view.byteOffset + FLOW_EVENT.srcIp)
    out.bytes[to++] = QUOTE
  }
  if (wants.ipDestination) {
    to = putIp(out, putLiteral(out, to, DESTINATION), view.bytesArray, view.byteOffset + FLOW_EVENT.dstIp)
    out.bytes[to++] = QUOTE
  }
  if (wants.ipVersion) to = putLiteral(out, to, IP_VERSION[view.ipVersion === 6 ? 1 : 0]!)
  if (wants.ipEncrypted && view.isEncrypted) to = putLiteral(out, to, ENCRYPTED)
  return close(out, open, to)
}

function putL4(
  view: FlowView,
  pieces: FlowFragments,
  wants: Wants,
  opening: Literal,
  out: LineBuffer,
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
  if (!isWanted) return putLiteral(out, at, L4_EMPTY)
  const open = putLiteral(out, at, opening)
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
  out.bytes[to] = CLOSE
  return to + 1
}

/**
 * Facts that flow.proto has no field for, as a Struct; keys in order of the alphabet, as protojson writes a map's.
 *
 * @param at behind EXTENSIONS_OPEN, which is taken back when there is no such fact
 */
function putExtensions(view: FlowView, pieces: FlowFragments, out: LineBuffer, at: number): number {
  const open = at
  let to = putNonZero(out, open, BYTES, view.bytes)
  to = putLiteral(out, to, CAUSES[view.cause] ?? NO_LITERAL)
  if (view.state & FlowState.GUESSED) to = putLiteral(out, to, GUESSED)
  to = putBytes(out, to, pieces.dropLocation(view.dropLocation))
  to = putNonZero(out, to, DROPS, view.drops)
  if (view.isFragment) to = putLiteral(out, to, FRAGMENT)
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
  if (to === open) return open - EXTENSIONS_OPEN.length
  to = close(out, open, to)
  out.bytes[to] = CLOSE
  return to + 1
}

function putNonZero(out: LineBuffer, at: number, key: Literal, value: number): number {
  return value === 0 ? at : putUint(out, putLiteral(out, at, key), value)
}

/** Ends an object whose members start at `open` with a comma each. */
function close(out: LineBuffer, open: number, at: number): number {
  const to = at === open ? at + 1 : at
  out.bytes[open] = OPEN
  out.bytes[to] = CLOSE
  return to + 1
}
