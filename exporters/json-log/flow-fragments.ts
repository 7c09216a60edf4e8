import type { Endpoint, Service } from '../../model/endpoint.ts'
import type { FlowContext, FlowView } from '../../model/flow-view.ts'
import { PROTOCOL, tcpFlagsText } from '../../model/protocol-names.ts'
import { flowSummary } from '../../model/summary.ts'
import { bytesOf } from './bytes.ts'
import { type FieldMask, takes } from './field-mask.ts'
import { FragmentCache } from './fragment-cache.ts'
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
  readonly #kinds: FragmentCache<number>
  readonly #eventTypes: FragmentCache<number>
  readonly #directions: FragmentCache<number>
  readonly #summaries: FragmentCache<number>
  readonly #tcpSummaries: readonly Uint8Array[]
  readonly #dropLocations: FragmentCache<null>
  readonly #kernelReasons: FragmentCache<null>
  /** The view being encoded: pieces that are made of several of its fields read them here when they must be made. */
  #view: FlowView | undefined

  constructor(context: FlowContext, mask: FieldMask | undefined, emitter: Emitter) {
    this.context = context
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
    const eventType = () => eventTypeMembers(kindOf(this.#view!), mask)
    const direction = () => directionMembers(kindOf(this.#view!), mask)
    this.#kinds = small(() => eventType() + direction(), 4 * SMALL)
    this.#eventTypes = small(eventType, 4 * SMALL)
    this.#directions = small(direction, 4 * SMALL)
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
    return this.#caches().reduce((sum, cache) => sum + cache.misses, 0)
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
      this.#kinds,
      this.#sourceNames,
      this.#destinationNames,
      this.#sourceServices,
      this.#destinationServices,
      this.#interfaces,
      this.#eventTypes,
      this.#directions,
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

  /** `reply` and `event_type`, then `traffic_direction` to `is_reply`: the usual case, no service between. */
  kind(view: FlowView): Uint8Array {
    this.#view = view
    return this.#kinds.get(kindSlot(view), kindKey(view))
  }

  /** `reply` and `event_type`. */
  eventType(view: FlowView): Uint8Array {
    this.#view = view
    return this.#eventTypes.get(kindSlot(view), kindKey(view))
  }

  /** `traffic_direction` to `is_reply`. */
  direction(view: FlowView): Uint8Array {
    this.#view = view
    return this.#directions.get(kindSlot(view), kindKey(view))
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
const REPLY_BITS = 3

function table(size: number, build: (index: number) => string): readonly Uint8Array[] {
  return Array.from({ length: size }, (_, index) => bytesOf(build(index)))
}

function small<T>(build: (source: T, key: number) => string, slots = SMALL): FragmentCache<T> {
  return new FragmentCache<T>(slots, SMALL_BYTES, (source, key) => bytesOf(build(source, key)))
}

/**
 * Slot of what kindOf() tells: 4 bits of sub-type (0 to 13 for traces), 3 of trace reason, 2 of direction, 3 for L7,
 * drop and reply. No two kinds that are common share one.
 */
function kindSlot(view: FlowView): number {
  const kind = (view.isL7 ? 4 : 0) | (view.isDrop ? 2 : 0) | (view.state & 1)
  return (view.eventSubType << 8) | ((view.traceReason & 7) << 5) | (view.trafficDirection << 3) | kind
}

/** With kindSlot() everything that kindOf() tells. */
function kindKey(view: FlowView): number {
  const reason = view.isDrop ? view.dropReason : 0
  return (view.state & REPLY_BITS) + (view.observationPoint << 8) + (view.traceReason << 16) + reason * 2 ** 24
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
