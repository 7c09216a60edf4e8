import { BinaryReader } from '@bufbuild/protobuf/wire'
import type { FlowContext, FlowView } from '../model/flow-view.ts'
import { unixNanos, unixSeconds } from '../model/flow-view.ts'
import { FLOW_EVENT } from '../model/layouts.gen.ts'
import { flowSummary } from '../model/summary.ts'
import { type MaskTree, projectMessage } from './field-mask.ts'
import { writeFlowExtensions } from './flow-extensions.ts'
import { FLOW_FIELD, type FlowFieldSet, flowFields, NONE, PART } from './flow-fields.ts'
import { FlowFragments } from './flow-fragments.ts'
import { writeL7 } from './flow-l7.ts'
import { isMacSet, writeIp, writeMac, writeUuid } from './flow-text.ts'
import { WireWriter } from './wire.ts'

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
const ROOM = 640

export interface FlowEncoderOptions {
  /** Emitter.version */
  readonly version: string
  /** Fields to send; undefined: all. */
  readonly mask?: MaskTree | undefined
  /** Adds Flow.extensions, a sluice.v1.FlowExtensions, whatever the mask. */
  readonly withExtensions?: boolean
  /** Endpoints that the caches hold; a power of two, 8,192 unless given (about 4 MB when full). */
  readonly slots?: number
}

/**
 * Writes observer.GetFlowsResponse messages straight from flows of a history: numbers and addresses are converted
 * where they stand, everything that many flows share (endpoints, names, services) is copied from cached bytes.
 * As in Hubble, L7 flows have no ethernet, interface, TCP flags and trace fields: they stand for a message.
 */
export class FlowEncoder {
  readonly #context: FlowContext
  readonly #fields: FlowFieldSet
  readonly #fragments: FlowFragments
  readonly #withExtensions: boolean
  readonly #nodeName: Uint8Array
  readonly #scratch = new WireWriter(1024)

  constructor(context: FlowContext, options: FlowEncoderOptions) {
    this.#context = context
    this.#fields = flowFields(options.mask)
    this.#fragments = new FlowFragments(context, this.#fields, {
      slots: options.slots ?? 8192,
      version: options.version,
    })
    this.#withExtensions = options.withExtensions ?? false
    const nodeName = new WireWriter(256)
    nodeName.text(1000, context.nodeName)
    this.#nodeName = nodeName.slice(0)
  }

  /** Appends one response: flow, node_name and time. */
  write(out: WireWriter, view: FlowView): void {
    out.ensure(ROOM)
    const high = view.unixNsHigh
    const low = view.unixNsLow
    const secs = unixSeconds(high, low)
    const nanos = unixNanos(high, low)
    out.byte(0x0a)
    const mark = out.beginLong()
    const start = out.at
    if (this.#fields.time !== NONE) {
      out.byte(0x0a)
      writeTime(out, secs, nanos)
      if (this.#fields.time === PART) this.#project(out, start, FLOW_FIELD.time)
    }
    this.#packet(out, view)
    this.#peers(out, view)
    this.#event(out, view)
    this.#rest(out, view)
    out.endLong(mark)
    out.raw(this.#nodeName)
    out.ensure(32)
    out.byte(0xca)
    out.byte(0x3e)
    writeTime(out, secs, nanos)
  }

  /** Verdict, drop reason, Ethernet, IP and L4. */
  #packet(out: WireWriter, view: FlowView): void {
    const f = this.#fields
    if (f.verdict !== NONE) out.uint(FLOW_FIELD.verdict, view.verdict)
    if (view.isDrop) this.#drop(out, view)
    let start = out.at
    if (f.ethernet !== NONE) {
      if (!view.isL7) writeEthernet(out, view)
      if (f.ethernet === PART) this.#project(out, start, FLOW_FIELD.ethernet)
    }
    start = out.at
    if (f.ip !== NONE) {
      if (view.ipVersion !== 0) writeIpMessage(out, view)
      if (f.ip === PART) this.#project(out, start, FLOW_FIELD.ip)
    }
    start = out.at
    if (f.l4 !== NONE) {
      writeL4(out, view)
      if (f.l4 === PART) this.#project(out, start, FLOW_FIELD.l4)
    }
  }

  #drop(out: WireWriter, view: FlowView): void {
    const f = this.#fields
    const reason = view.dropReason
    if (f.dropReason !== NONE) out.uint(FLOW_FIELD.dropReason, reason)
    if (f.dropReasonDesc !== NONE) out.uint(FLOW_FIELD.dropReasonDesc, reason)
    const kernel = view.kernelDropReason
    if (f.extDropReason === NONE || kernel === 0) return
    out.raw(this.#fragments.dropReason.get(kernel, this.#context.kernelDropReason(kernel)))
    out.ensure(ROOM)
  }

  /** Endpoints, names and services of both sides: cached bytes. */
  #peers(out: WireWriter, view: FlowView): void {
    const f = this.#fields
    const fragments = this.#fragments
    const context = this.#context
    if (f.source !== NONE) out.raw(fragments.source.get(view.sourceRef, view.source))
    if (f.destination !== NONE) out.raw(fragments.destination.get(view.destinationRef, view.destination))
    let ref = view.sourceNamesRef
    if (f.sourceNames !== NONE && ref !== 0) out.raw(fragments.sourceNames.get(ref, context.names(ref)))
    ref = view.destinationNamesRef
    if (f.destinationNames !== NONE && ref !== 0) out.raw(fragments.destinationNames.get(ref, context.names(ref)))
    ref = view.sourceServiceRef
    if (f.sourceService === PART || (f.sourceService !== NONE && ref !== 0)) {
      out.raw(fragments.sourceService.get(ref, context.service(ref)))
    }
    ref = view.destinationServiceRef
    if (f.destinationService === PART || (f.destinationService !== NONE && ref !== 0)) {
      out.raw(fragments.destinationService.get(ref, context.service(ref)))
    }
    out.ensure(ROOM)
  }

  /** What kind of event it is: type, L7 message, direction, place. */
  #event(out: WireWriter, view: FlowView): void {
    const f = this.#fields
    const isL7 = view.isL7
    if (f.type !== NONE) out.uint(FLOW_FIELD.type, isL7 ? 2 : 1)
    let start = out.at
    if (f.l7 !== NONE) {
      if (isL7) writeL7Message(out, view)
      if (f.l7 === PART) this.#project(out, start, FLOW_FIELD.l7)
      out.ensure(ROOM)
    }
    start = out.at
    if (f.traceContext !== NONE) {
      if (isL7) writeTraceContext(out, view)
      if (f.traceContext === PART) this.#project(out, start, FLOW_FIELD.traceContext)
    }
    start = out.at
    if (f.eventType !== NONE) {
      writeEventType(out, view)
      if (f.eventType === PART) this.#project(out, start, FLOW_FIELD.eventType)
    }
    const isReply = view.isReply
    if (f.reply !== NONE && isReply === true) out.uint(FLOW_FIELD.reply, 1)
    start = out.at
    if (f.isReply !== NONE) {
      if (isReply !== undefined) writeIsReply(out, isReply)
      if (f.isReply === PART) this.#project(out, start, FLOW_FIELD.isReply)
    }
    if (f.direction !== NONE) out.uint(FLOW_FIELD.direction, view.trafficDirection)
    if (isL7 || view.isDrop) return
    if (f.point !== NONE) out.uint(FLOW_FIELD.point, view.observationPoint)
    if (f.traceReason !== NONE) out.uint(FLOW_FIELD.traceReason, view.traceReason)
  }

  /** Device, uuid, what all flows of the node say, summary. */
  #rest(out: WireWriter, view: FlowView): void {
    const f = this.#fields
    if (f.networkInterface !== NONE) {
      const ifindex = view.isL7 ? 0 : view.ifindex
      if (ifindex !== 0 || f.networkInterface === PART) {
        out.raw(this.#fragments.interfaceOf(ifindex, ifindex === 0 ? '' : this.#context.interfaceName(ifindex)))
      }
    }
    out.raw(this.#fragments.constant)
    out.ensure(ROOM)
    if (f.uuid !== NONE) {
      out.byte(0x92)
      out.byte(0x02)
      out.byte(36)
      writeUuid(out, this.#context.uuidSeed, view.unixNsHigh, view.unixNsLow)
    }
    if (f.summary !== NONE) {
      const summary = flowSummary(view)
      // L7 summaries hardly repeat; the others are few.
      if (view.isL7) out.text(FLOW_FIELD.summary, summary)
      else out.raw(this.#fragments.summary.get((view.protocol << 2) ^ view.tcpFlags, summary))
    }
    if (this.#withExtensions) writeFlowExtensions(out, view)
    for (const field of f.absent) this.#project(out, out.at, field)
  }

  /** Keeps the wanted part of the message written since `start`; nothing written counts as an empty message. */
  #project(out: WireWriter, start: number, field: number): void {
    let content: Uint8Array = new Uint8Array()
    if (out.at > start) {
      const reader = new BinaryReader(out.bytes.subarray(start, out.at))
      reader.uint32()
      content = reader.bytes()
    }
    const scratch = this.#scratch
    scratch.at = 0
    projectMessage(content, this.#fields.parts.get(field) ?? new Map(), scratch)
    out.at = start
    out.ensure(ROOM)
    out.tag(field, 2)
    const mark = out.begin()
    out.raw(scratch.bytes.subarray(0, scratch.at))
    out.end(mark)
    out.ensure(ROOM)
  }
}

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

function writeEthernet(out: WireWriter, view: FlowView): void {
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

function writeIpMessage(out: WireWriter, view: FlowView): void {
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

function writeL4(out: WireWriter, view: FlowView): void {
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

function writeEventType(out: WireWriter, view: FlowView): void {
  out.byte(0x9a)
  out.byte(0x01)
  const mark = out.begin()
  out.uint(1, view.eventType)
  out.uint(2, view.eventSubType)
  out.end(mark)
}

function writeIsReply(out: WireWriter, isReply: boolean): void {
  out.byte(0xd2)
  out.byte(0x01)
  const mark = out.begin()
  if (isReply) out.uint(1, 1)
  out.end(mark)
}

/** An L7 flow whose message is forgotten still says that it was one. */
function writeL7Message(out: WireWriter, view: FlowView): void {
  const record = view.l7
  out.byte(0x7a)
  const mark = out.beginLong()
  if (record !== undefined) writeL7(out, record)
  out.endLong(mark)
}

function writeTraceContext(out: WireWriter, view: FlowView): void {
  const traceId = view.l7?.traceId ?? ''
  if (traceId === '') return
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
