import type { FlowView } from '../../model/flow-view.ts'
import { EventCause, FLOW_EVENT, FlowState } from '../../model/layouts.gen.ts'
import { PROTOCOL } from '../../model/protocol-names.ts'
import {
  bytesOf,
  isZeroMac,
  type LineBuffer,
  type Literal,
  literal,
  putBytes,
  putIp,
  putLiteral,
  putMac,
  putUint,
} from './bytes.ts'
import { EXTENSIONS_OPEN, type FlowFragments } from './flow-fragments.ts'
import type { Wants } from './wants.ts'

/** Members of a line that are written from the record itself: addresses, ports, counters. Each begins with a comma. */

/** `{` is written over the comma of an object's first member. */
const OPEN = 123
const CLOSE = 125
const QUOTE = 34
const NO_LITERAL = literal('')
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
const GUESSED = bytesOf(',"direction_guessed":true')
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

export function putEthernet(view: FlowView, wants: Wants, out: LineBuffer, at: number): number {
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

export function putIpMember(view: FlowView, wants: Wants, out: LineBuffer, at: number): number {
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

export function putL4(view: FlowView, pieces: FlowFragments, wants: Wants, out: LineBuffer, at: number): number {
  const protocol = view.protocol
  const opening = L4_OPEN.get(protocol)
  if (opening === undefined) return at
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
export function putExtensions(view: FlowView, pieces: FlowFragments, out: LineBuffer, at: number): number {
  const open = at
  let to = putNonZero(out, open, BYTES, view.bytes)
  to = putLiteral(out, to, CAUSES[view.cause] ?? NO_LITERAL)
  if (view.state & FlowState.GUESSED) to = putBytes(out, to, GUESSED)
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
