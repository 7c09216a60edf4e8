import { BinaryReader } from '@bufbuild/protobuf/wire'
import type { FlowContext, FlowView } from '../model/flow-view.ts'
import { unixNanos, unixSeconds } from '../model/flow-view.ts'
import type { L7Record } from '../model/l7.ts'
import { flowSummary, l7Summary } from '../model/summary.ts'
import { type MaskTree, projectMessage } from './field-mask.ts'
import { writeFlowExtensions } from './flow-extensions.ts'
import { FLOW_FIELD, type FlowFieldSet, flowFields, NONE, PART } from './flow-fields.ts'
import { FlowFragments } from './flow-fragments.ts'
import {
  ROOM,
  writeEthernet,
  writeEventType,
  writeIpMessage,
  writeIsReply,
  writeL4,
  writeL7Message,
  writeTime,
  writeTraceContext,
} from './flow-parts.ts'
import { writeUuid } from './flow-text.ts'
import { WireWriter } from './wire.ts'

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
    // Read once: the store decodes a message whenever it is asked.
    const l7 = view.l7
    this.#packet(out, view)
    this.#peers(out, view)
    this.#event(out, view, l7)
    this.#rest(out, view, l7)
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
  #event(out: WireWriter, view: FlowView, l7: L7Record | undefined): void {
    const f = this.#fields
    const isL7 = view.isL7
    if (f.type !== NONE) out.uint(FLOW_FIELD.type, isL7 ? 2 : 1)
    let start = out.at
    if (f.l7 !== NONE) {
      if (isL7) writeL7Message(out, l7)
      if (f.l7 === PART) this.#project(out, start, FLOW_FIELD.l7)
      out.ensure(ROOM)
    }
    start = out.at
    if (f.traceContext !== NONE) {
      if (l7 !== undefined && l7.traceId !== '') writeTraceContext(out, l7.traceId)
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
  #rest(out: WireWriter, view: FlowView, l7: L7Record | undefined): void {
    const f = this.#fields
    if (f.networkInterface !== NONE) {
      const ifindex = view.isL7 ? 0 : view.ifindex
      if (ifindex !== 0 || f.networkInterface === PART) {
        out.raw(
          this.#fragments.networkInterface.get(ifindex, ifindex === 0 ? '' : this.#context.interfaceName(ifindex)),
        )
      }
    }
    this.#fragments.writeNode(out, this.#context.nodeLabels)
    out.ensure(ROOM)
    if (f.uuid !== NONE) {
      out.byte(0x92)
      out.byte(0x02)
      out.byte(36)
      writeUuid(out, this.#context.uuidSeed, view.recordNsHigh, view.recordNsLow)
    }
    if (f.summary !== NONE) {
      // Summaries of L7 messages hardly repeat; the others are few.
      if (l7 !== undefined) out.text(FLOW_FIELD.summary, l7Summary(l7))
      else out.raw(this.#fragments.summary.get((view.protocol << 2) ^ view.tcpFlags, flowSummary(view)))
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
