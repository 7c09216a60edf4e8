import type { FlowView } from '../model/flow-view.ts'
import type { L7Record } from '../model/l7.ts'
import { FLOW_EVENT } from '../model/layouts.gen.ts'
import { writeL7 } from './flow-l7.ts'
import { isMacSet, writeIp, writeMac } from './flow-text.ts'
import type { WireWriter } from './wire.ts'

/*
 * The messages inside flow.Flow that are written field by field, tag and length included. Who calls them has made ROOM.
 */

const PROTOCOL = { ICMP: 1, TCP: 6, UDP: 17, ICMPV6: 58, SCTP: 132 } as const

/** Field of flow.Layer4 by IP protocol, 0 for protocols of which the kernel's record says nothing. */
const L4_MEMBER = new Uint8Array(256)
L4_MEMBER[PROTOCOL.TCP] = 1
L4_MEMBER[PROTOCOL.UDP] = 2
L4_MEMBER[PROTOCOL.ICMP] = 3
L4_MEMBER[PROTOCOL.ICMPV6] = 4
L4_MEMBER[PROTOCOL.SCTP] = 5

/** flow.SCTPChunkType by the chunk's type on the wire (RFC 9260, section 3.2). */
const SCTP_CHUNK = new Uint8Array(256)
SCTP_CHUNK[1] = 1
SCTP_CHUNK[2] = 2
SCTP_CHUNK[6] = 6
SCTP_CHUNK[7] = 3
SCTP_CHUNK[8] = 4
SCTP_CHUNK[14] = 5

/** Room for all parts of a flow whose size their type bounds: numbers, addresses, uuid, flags. */
export const ROOM = 640

/** Length and content of a google.protobuf.Timestamp. */
export function writeTime(out: WireWriter, secs: number, nanos: number): void {
  const mark = out.begin()
  if (secs !== 0) {
    out.byte(0x08)
    out.varint53(secs)
  }
  if (nanos !== 0) {
    out.byte(0x10)
    out.varint(nanos)
  }
  out.end(mark)
}

export function writeEthernet(out: WireWriter, view: FlowView): void {
  const bytes = view.bytesArray
  const source = view.byteOffset + FLOW_EVENT.srcMac
  const destination = view.byteOffset + FLOW_EVENT.dstMac
  const hasSource = isMacSet(bytes, source)
  const hasDestination = isMacSet(bytes, destination)
  if (!hasSource && !hasDestination) return
  out.byte(0x22)
  const mark = out.begin()
  if (hasSource) {
    out.byte(0x0a)
    out.byte(17)
    writeMac(out, bytes, source)
  }
  if (hasDestination) {
    out.byte(0x12)
    out.byte(17)
    writeMac(out, bytes, destination)
  }
  out.end(mark)
}

export function writeIpMessage(out: WireWriter, view: FlowView): void {
  const bytes = view.bytesArray
  const offset = view.byteOffset
  const ipVersion = view.ipVersion
  out.byte(0x2a)
  const mark = out.begin()
  out.byte(0x0a)
  const source = out.begin()
  writeIp(out, bytes, offset + FLOW_EVENT.srcIp, ipVersion)
  out.end(source)
  out.byte(0x12)
  const destination = out.begin()
  writeIp(out, bytes, offset + FLOW_EVENT.dstIp, ipVersion)
  out.end(destination)
  out.byte(0x18)
  out.byte(ipVersion === 4 ? 1 : 2)
  if (view.isEncrypted) {
    out.byte(0x20)
    out.byte(1)
  }
  out.end(mark)
}

export function writeL4(out: WireWriter, view: FlowView): void {
  const protocol = view.protocol
  const member = L4_MEMBER[protocol]!
  if (member === 0 || view.ipVersion === 0) return
  out.byte(0x32)
  const mark = out.begin()
  out.byte((member << 3) | 2)
  const inner = out.begin()
  if (protocol === PROTOCOL.ICMP || protocol === PROTOCOL.ICMPV6) {
    out.uint(1, view.icmpType)
    out.uint(2, view.icmpCode)
  } else {
    out.uint(1, view.srcPort)
    out.uint(2, view.dstPort)
    if (protocol === PROTOCOL.TCP && !view.isL7) writeTcpFlags(out, view.tcpFlags)
    if (protocol === PROTOCOL.SCTP && !view.isL7) out.uint(3, SCTP_CHUNK[view.sctpChunk & 0xff]!)
  }
  out.end(inner)
  out.end(mark)
}

/** flow.TCPFlags has the order of the bits: FIN is field 1 and bit 0, NS field 9 and bit 8. */
function writeTcpFlags(out: WireWriter, flags: number): void {
  out.byte(0x1a)
  const mark = out.begin()
  for (let bit = 0; bit < 9; bit++) {
    if ((flags & (1 << bit)) === 0) continue
    out.byte((bit + 1) << 3)
    out.byte(1)
  }
  out.end(mark)
}

export function writeEventType(out: WireWriter, view: FlowView): void {
  out.byte(0x9a)
  out.byte(0x01)
  const mark = out.begin()
  out.uint(1, view.eventType)
  out.uint(2, view.eventSubType)
  out.end(mark)
}

export function writeIsReply(out: WireWriter, isReply: boolean): void {
  out.byte(0xd2)
  out.byte(0x01)
  const mark = out.begin()
  if (isReply) out.uint(1, 1)
  out.end(mark)
}

/** An L7 flow whose message is forgotten still says that it was one. */
export function writeL7Message(out: WireWriter, record: L7Record | undefined): void {
  out.byte(0x7a)
  const mark = out.beginLong()
  if (record !== undefined) writeL7(out, record)
  out.endLong(mark)
}

export function writeTraceContext(out: WireWriter, traceId: string): void {
  out.ensure(ROOM)
  out.byte(0xf2)
  out.byte(0x01)
  const mark = out.begin()
  out.byte(0x0a)
  const parent = out.begin()
  out.text(1, traceId)
  out.end(parent)
  out.end(mark)
}
