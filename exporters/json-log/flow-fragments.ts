import { FragmentCache } from '../../base/fragment-cache.ts'
import type { Endpoint, Service } from '../../model/endpoint.ts'
import { type FieldMask, takes } from '../../model/field-mask.ts'
import type { FlowContext, FlowView } from '../../model/flow-view.ts'
import { FLOW_EVENT } from '../../model/layouts.gen.ts'
import { PROTOCOL, tcpFlagsText } from '../../model/protocol-names.ts'
import { flowSummary } from '../../model/summary.ts'
import { bytesOf } from './bytes.ts'
import {
  directionMembers,
  dropReasonMember,
  emitterAndVerdict,
  endpointMember,
  eventTypeMembers,
  type FlowKind,
  interfaceMember,
  namesMember,
  serviceMember,
  summaryMember,
  tcpFlagsMember,
  typeAndNode,
} from './fragments.ts'
import { JsonMembers } from './json-text.ts'

/** Who writes the flow, flow.proto Emitter. */
export interface Emitter {
  readonly name: string
  /** Semantic version without a leading v. */
  readonly version: string
}

/** Head of the member that holds what flow.proto has no field for. */
export const EXTENSIONS_OPEN = ',"extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":'

/*
 * Sizes of the caches. An endpoint takes 300 to 800 bytes, so 4,096 versions for each side are 2 x 2 MiB; a node has
 * at most some hundreds of pods, the rest is for peers. What is not cached costs 2 to 5 µs more to encode.
 */
const ENDPOINTS = 4096
const NAMES = 4096
const SMALL = 1024
const ENDPOINT_BYTES = 4 * 1_048_576
const SMALL_BYTES = 1_048_576

/** Verdict, observation point, cause and state are one word of a record, drop and trace reasons another. */
const VERDICT_WORD = FLOW_EVENT.verdict >> 2
const REASONS_WORD = FLOW_EVENT.dropReason >> 2
/** Place of the cause in its word: these pieces do not tell it, the record's type takes its place. */
const CAUSE_SHIFT = 8 * (FLOW_EVENT.cause & 3)
/** Combinations in use are some hundreds: verdicts, points, reasons, directions. Each has a choice of two slots. */
const KIND_SLOTS = 4096
const KIND_SHIFT = 20

/** Pieces made of a record's kind, and the bytes of the record that they are for. */
export interface KindPieces {
  /** Verdict, observation point, type (in the place of the cause) and state. */
  readonly verdict: number
  readonly reasons: number
  /** `reply` and `event_type`, then `traffic_direction` to `is_reply`. */
  readonly whole: Uint8Array
  /** The two halves of it, for flows that have a service between them. */
  readonly eventType: Uint8Array
  readonly direction: Uint8Array
}

/**
 * The encoded pieces of lines of one context and mask. Every look-up is by numbers of the record and allocates
 * nothing on a hit; what a name stands for is compared, so that a number that gets another meaning gets another piece.
 */
export class FlowFragments {
  readonly context: FlowContext
  readonly nodeName: string
  readonly nodeLabels: readonly string[]
  /** From the end of `flow` to the text of the outer `time`. */
  readonly envelope: Uint8Array
  /** As summary(), for L7 flows: text, not cached. */
  readonly l7Summary: (view: FlowView) => string
  readonly #verdicts: readonly Uint8Array[]
  readonly #tcpFlags: readonly Uint8Array[]
  readonly #dropReasons: readonly Uint8Array[]
  readonly #sources: FragmentCache<Endpoint>
  readonly #destinations: FragmentCache<Endpoint>
  readonly #destinationsL7: FragmentCache<Endpoint>
  readonly #sourceNames: FragmentCache<readonly string[]>
  readonly #destinationNames: FragmentCache<readonly string[]>
  readonly #sourceServices: FragmentCache<Service>
  readonly #destinationServices: FragmentCache<Service>
  readonly #interfaces: FragmentCache<string>
  readonly #kinds: (KindPieces | undefined)[] = new Array(KIND_SLOTS).fill(undefined)
  readonly #mask: FieldMask | undefined
  #kindMisses = 0
  readonly #summaries: FragmentCache<number>
  readonly #tcpSummaries: readonly Uint8Array[]
  readonly #dropLocations: FragmentCache<null>
  readonly #kernelReasons: FragmentCache<null>
  /** The view being encoded: pieces that are made of several of its fields read them here when they must be made. */
  #view: FlowView | undefined

  constructor(context: FlowContext, mask: FieldMask | undefined, emitter: Emitter) {
    this.context = context
    this.#mask = mask
    this.nodeName = context.nodeName
    this.nodeLabels = context.nodeLabels
    this.envelope = bytesOf(`}${new JsonMembers().string('node_name', context.nodeName).tail},"time":"`)
    this.#verdicts = table(256, (verdict) => emitterAndVerdict(emitter, verdict, mask))
    this.#tcpFlags = table(512, (flags) => tcpFlagsMember(flags, mask))
    this.#dropReasons = table(256, (reason) => dropReasonMember(reason, mask))
    const endpoints = (name: 'source' | 'destination', tail: string) =>
      new FragmentCache<Endpoint>(ENDPOINTS, ENDPOINT_BYTES, (it) => bytesOf(endpointMember(name, it, mask) + tail))
    const tail = (isL7: boolean) => typeAndNode(isL7, context.nodeName, context.nodeLabels, mask)
    this.#sources = endpoints('source', '')
    this.#destinations = endpoints('destination', tail(false))
    this.#destinationsL7 = endpoints('destination', tail(true))
    const names = (name: 'source_names' | 'destination_names') =>
      new FragmentCache<readonly string[]>(NAMES, SMALL_BYTES, (it) => bytesOf(namesMember(name, it, mask)))
    this.#sourceNames = names('source_names')
    this.#destinationNames = names('destination_names')
    const services = (name: 'source_service' | 'destination_service') =>
      new FragmentCache<Service>(SMALL, SMALL_BYTES, (it) => bytesOf(serviceMember(name, it, mask)))
    this.#sourceServices = services('source_service')
    this.#destinationServices = services('destination_service')
    this.#interfaces = small((name: string, index) => interfaceMember(index, name, mask))
    const open = takes(mask, 'extensions') ? EXTENSIONS_OPEN : ''
    this.l7Summary = (view) => summaryMember(flowSummary(view), mask) + open
    this.#summaries = small(() => this.l7Summary(this.#view!), 2 * SMALL)
    this.#tcpSummaries = table(512, (flags) => summaryMember(`TCP Flags: ${tcpFlagsText(flags)}`, mask) + open)
    this.#dropLocations = small((_, location) => {
      return new JsonMembers().string('drop_location', context.dropLocation(location)).tail
    })
    this.#kernelReasons = small((_, reason) => {
      return new JsonMembers().string('kernel_drop_reason', context.kernelDropReason(reason).name).tail
    })
  }

  /** Whether the pieces still say what the context says of the node. */
  fits(context: FlowContext): boolean {
    return context === this.context && context.nodeName === this.nodeName && context.nodeLabels === this.nodeLabels
  }

  /** Look-ups that had to build a piece, all caches together. */
  get misses(): number {
    return this.#caches().reduce((sum, cache) => sum + cache.misses, this.#kindMisses)
  }

  /** Bytes of the pieces held. */
  get bytes(): number {
    return this.#caches().reduce((sum, cache) => sum + cache.bytes, 0)
  }

  #caches(): readonly { readonly misses: number; readonly bytes: number }[] {
    return [
      this.#sources,
      this.#destinations,
      this.#destinationsL7,
      this.#sourceNames,
      this.#destinationNames,
      this.#sourceServices,
      this.#destinationServices,
      this.#interfaces,
      this.#summaries,
      this.#dropLocations,
      this.#kernelReasons,
    ]
  }

  verdict(view: FlowView): Uint8Array {
    return this.#verdicts[view.verdict]!
  }

  tcpFlags(flags: number): Uint8Array {
    return this.#tcpFlags[flags & 511]!
  }

  dropReason(reason: number): Uint8Array {
    return this.#dropReasons[reason & 255]!
  }

  source(ref: number): Uint8Array {
    return this.#sources.get(ref, this.context.endpoint(ref))
  }

  /** `destination` to `node_labels`. */
  destinationAndNode(ref: number, isL7: boolean): Uint8Array {
    return (isL7 ? this.#destinationsL7 : this.#destinations).get(ref, this.context.endpoint(ref))
  }

  sourceNames(ref: number): Uint8Array {
    return ref === 0 ? NONE : this.#sourceNames.get(ref, this.context.names(ref))
  }

  destinationNames(ref: number): Uint8Array {
    return ref === 0 ? NONE : this.#destinationNames.get(ref, this.context.names(ref))
  }

  sourceService(ref: number): Uint8Array {
    const service = ref === 0 ? undefined : this.context.service(ref)
    return service === undefined ? NONE : this.#sourceServices.get(ref, service)
  }

  destinationService(ref: number): Uint8Array {
    const service = ref === 0 ? undefined : this.context.service(ref)
    return service === undefined ? NONE : this.#destinationServices.get(ref, service)
  }

  interfaceName(ifindex: number): Uint8Array {
    return ifindex === 0 ? NONE : this.#interfaces.get(ifindex, this.context.interfaceName(ifindex))
  }

  dropLocation(location: number): Uint8Array {
    return location === 0 ? NONE : this.#dropLocations.get(location, null)
  }

  kernelDropReason(reason: number): Uint8Array {
    return reason === 0 ? NONE : this.#kernelReasons.get(reason, null)
  }

  /** The pieces that say what happened and which way, by the bytes of the record that they are made of. */
  kind(view: FlowView, words: Int32Array, record32: number): KindPieces {
    const verdict = (words[record32 + VERDICT_WORD]! & ~(0xff << CAUSE_SHIFT)) | (view.type << CAUSE_SHIFT)
    const reasons = words[record32 + REASONS_WORD]!
    const slot = Math.imul(verdict ^ Math.imul(reasons, 0x9e3779b1), 0x85ebca6b) >>> KIND_SHIFT
    const known = this.#kinds[slot]
    if (known !== undefined && known.verdict === verdict && known.reasons === reasons) return known
    const other = this.#kinds[slot ^ 1]
    if (other !== undefined && other.verdict === verdict && other.reasons === reasons) return other
    return this.#makeKind(slot, view, verdict, reasons)
  }

  #makeKind(slot: number, view: FlowView, verdict: number, reasons: number): KindPieces {
    const kind = kindOf(view)
    const eventType = bytesOf(eventTypeMembers(kind, this.#mask))
    const direction = bytesOf(directionMembers(kind, this.#mask))
    const whole = new Uint8Array(eventType.length + direction.length)
    whole.set(eventType)
    whole.set(direction, eventType.length)
    const made = { verdict, reasons, whole, eventType, direction }
    this.#kinds[slot ^ 1] = this.#kinds[slot]
    this.#kinds[slot] = made
    this.#kindMisses++
    return made
  }

  /** Summary of an L3/L4 flow, and EXTENSIONS_OPEN where the mask takes extensions: it depends on protocol and L4 facts alone. */
  summary(view: FlowView): Uint8Array {
    const protocol = view.protocol
    if (protocol === PROTOCOL.TCP) return this.#tcpSummaries[view.tcpFlags & 511]!
    this.#view = view
    const is6 = view.ipVersion === 6 ? 1 : view.ipVersion === 4 ? 0 : 2
    const source = (protocol << 18) | (is6 << 16) | view.tcpFlags
    // ICMP types in use are below 64 but for IPv6's 128 to 143, codes below 8.
    const isIcmp = protocol === PROTOCOL.ICMP || protocol === PROTOCOL.ICMPV6
    const l4 = isIcmp ? ((view.icmpType & 127) << 3) | (view.icmpCode & 7) : 1024 | protocol
    return this.#summaries.get(l4, source)
  }
}

const NONE = new Uint8Array(0)

function table(size: number, build: (index: number) => string): readonly Uint8Array[] {
  return Array.from({ length: size }, (_, index) => bytesOf(build(index)))
}

function small<T>(build: (source: T, key: number) => string, slots = SMALL): FragmentCache<T> {
  return new FragmentCache<T>(slots, SMALL_BYTES, (source, key) => bytesOf(build(source, key)))
}

function kindOf(view: FlowView): FlowKind {
  const isTrace = view.eventType === 4
  return {
    eventType: view.eventType,
    eventSubType: view.eventSubType,
    direction: view.trafficDirection,
    isReply: view.isReply,
    point: isTrace ? view.observationPoint : 0,
    traceReason: isTrace ? view.traceReason : 0,
    dropReason: view.dropReason,
  }
}
