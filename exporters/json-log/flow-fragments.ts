import type { Endpoint, Service } from '../../model/endpoint.ts'
import type { FlowContext, FlowView } from '../../model/flow-view.ts'
import { flowSummary } from '../../model/summary.ts'
import { bytesOf } from './bytes.ts'
import type { FieldMask } from './field-mask.ts'
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
  /** `Type` to `node_labels` of L3/L4 and L7 flows. */
  readonly typeAndNode: Uint8Array
  readonly typeAndNodeL7: Uint8Array
  /** From the end of `flow` to the text of the outer `time`. */
  readonly envelope: Uint8Array
  readonly #verdicts: readonly Uint8Array[]
  readonly #tcpFlags: readonly Uint8Array[]
  readonly #dropReasons: readonly Uint8Array[]
  readonly #sources: FragmentCache<Endpoint>
  readonly #destinations: FragmentCache<Endpoint>
  readonly #sourceNames: FragmentCache<readonly string[]>
  readonly #destinationNames: FragmentCache<readonly string[]>
  readonly #sourceServices: FragmentCache<Service>
  readonly #destinationServices: FragmentCache<Service>
  readonly #interfaces: FragmentCache<string>
  readonly #eventTypes: FragmentCache<number>
  readonly #directions: FragmentCache<number>
  readonly #summaries: FragmentCache<null>
  readonly #dropLocations: FragmentCache<null>
  readonly #kernelReasons: FragmentCache<null>
  /** The view being encoded: pieces that are made of several of its fields read them here when they must be made. */
  #view: FlowView | undefined

  constructor(context: FlowContext, mask: FieldMask | undefined, emitter: Emitter) {
    this.context = context
    this.nodeName = context.nodeName
    this.nodeLabels = context.nodeLabels
    this.typeAndNode = bytesOf(typeAndNode(false, context.nodeName, context.nodeLabels, mask))
    this.typeAndNodeL7 = bytesOf(typeAndNode(true, context.nodeName, context.nodeLabels, mask))
    this.envelope = bytesOf(`}${new JsonMembers().string('node_name', context.nodeName).tail},"time":"`)
    this.#verdicts = table(256, (verdict) => emitterAndVerdict(emitter, verdict, mask))
    this.#tcpFlags = table(512, (flags) => tcpFlagsMember(flags, mask))
    this.#dropReasons = table(256, (reason) => dropReasonMember(reason, mask))
    const endpoints = (name: 'source' | 'destination') =>
      new FragmentCache<Endpoint>(ENDPOINTS, ENDPOINT_BYTES, (it) => bytesOf(endpointMember(name, it, mask)))
    this.#sources = endpoints('source')
    this.#destinations = endpoints('destination')
    const names = (name: 'source_names' | 'destination_names') =>
      new FragmentCache<readonly string[]>(NAMES, SMALL_BYTES, (it) => bytesOf(namesMember(name, it, mask)))
    this.#sourceNames = names('source_names')
    this.#destinationNames = names('destination_names')
    const services = (name: 'source_service' | 'destination_service') =>
      new FragmentCache<Service>(SMALL, SMALL_BYTES, (it) => bytesOf(serviceMember(name, it, mask)))
    this.#sourceServices = services('source_service')
    this.#destinationServices = services('destination_service')
    this.#interfaces = small((name: string, index) => interfaceMember(index, name, mask))
    this.#eventTypes = small(() => eventTypeMembers(kindOf(this.#view!), mask))
    this.#directions = small(() => directionMembers(kindOf(this.#view!), mask))
    this.#summaries = small(() => summaryMember(flowSummary(this.#view!), mask))
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

  destination(ref: number): Uint8Array {
    return this.#destinations.get(ref, this.context.endpoint(ref))
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

  /** `reply` and `event_type`. */
  eventType(view: FlowView): Uint8Array {
    this.#view = view
    const key = (view.eventSubType << 3) | kindBits(view)
    return this.#eventTypes.get(key, (view.state & REPLY_BITS) | (view.observationPoint << 8))
  }

  /** `traffic_direction` to `is_reply`. */
  direction(view: FlowView): Uint8Array {
    this.#view = view
    const key = (view.eventSubType << 5) | (view.trafficDirection << 3) | kindBits(view)
    const reason = view.isDrop ? view.dropReason : 0
    const source =
      (view.state & REPLY_BITS) + (view.observationPoint << 8) + (view.traceReason << 16) + reason * 2 ** 24
    return this.#directions.get(key, source)
  }

  /** Summary of an L3/L4 flow: it depends on protocol and L4 facts alone. */
  summary(view: FlowView): Uint8Array {
    this.#view = view
    const l4 = view.protocol === 6 ? view.tcpFlags & 511 : view.tcpFlags
    return this.#summaries.get(l4 + ((view.protocol << 17) | (view.ipVersion === 6 ? 65_536 : 0)), null)
  }
}

const NONE = new Uint8Array(0)
const REPLY_BITS = 3

function table(size: number, build: (index: number) => string): readonly Uint8Array[] {
  return Array.from({ length: size }, (_, index) => bytesOf(build(index)))
}

function small<T>(build: (source: T, key: number) => string): FragmentCache<T> {
  return new FragmentCache<T>(SMALL, SMALL_BYTES, (source, key) => bytesOf(build(source, key)))
}

/** Trace, drop or L7 in two bits, and whether it is a reply. */
function kindBits(view: FlowView): number {
  return (view.isL7 ? 4 : 0) | (view.isDrop ? 2 : 0) | (view.state & 1)
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
