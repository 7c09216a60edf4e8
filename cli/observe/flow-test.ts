import { BlockList, isIP } from 'node:net'
import type { Flow, FlowFilter, Endpoint as ProtoEndpoint } from '../../api/gen/flow/flow.ts'
import { parseAddress } from '../../filters/address.ts'
import { compileFlowFilters, type FlowPredicate } from '../../filters/hubble/index.ts'
import type { Endpoint } from '../../model/endpoint.ts'
import { type FlowContext, FlowView, SlotArrays } from '../../model/flow-view.ts'
import type { L7Record } from '../../model/l7.ts'
import {
  EVENT_VERSION,
  EventType,
  FLOW_EVENT,
  FLOW_SLOT,
  FLOW_STAMP,
  FlowState,
  Verdict,
} from '../../model/layouts.gen.ts'

/** Fields that other observers fill and a record has no place for are looked up in the message. */
type MessageTest = (flow: Flow) => boolean

/**
 * Hubble's rule for a request, for flows as messages: the filters are those of the server, asked about a record that
 * each message is written into.
 *
 * @throws SluiceError SLUICE_FILTER_INVALID naming the field, the value and what is wanted
 */
export function compileFlowTest(
  whitelist: readonly FlowFilter[],
  blacklist: readonly FlowFilter[],
): (flow: Flow) => boolean {
  const slot = new FlowSlot()
  const compileOne = (filter: FlowFilter) => {
    // Compiled whole first: a rule between fields (HTTP filters need event type l7) must be met too.
    compileFlowFilters([filter], undefined)
    const rest = {
      ...filter,
      uuid: [],
      event_type: [],
      ip_trace_id: [],
      trace_id: [],
      ip_version: [],
      source_ip_xlated: [],
    }
    const onRecord: FlowPredicate = compileFlowFilters([rest], undefined)
    const onMessage = messageTests(filter)
    return (flow: Flow) => onMessage.every((test) => test(flow)) && onRecord(slot.view)
  }
  const allowed = whitelist.map(compileOne)
  const denied = blacklist.map(compileOne)
  if (allowed.length === 0 && denied.length === 0) return () => true
  return (flow) => {
    slot.write(flow)
    return (allowed.length === 0 || allowed.some((test) => test(flow))) && !denied.some((test) => test(flow))
  }
}

function messageTests(filter: FlowFilter): MessageTest[] {
  const tests: MessageTest[] = []
  if (filter.uuid.length > 0) tests.push((flow) => filter.uuid.includes(flow.uuid))
  // The version is a field of its own, whatever the addresses look like.
  if (filter.ip_version.length > 0) tests.push((flow) => filter.ip_version.includes(flow.IP?.ipVersion ?? 0))
  if (filter.trace_id.length > 0) {
    tests.push((flow) => filter.trace_id.includes(flow.trace_context?.parent?.trace_id ?? ''))
  }
  if (filter.ip_trace_id.length > 0) {
    tests.push((flow) => filter.ip_trace_id.includes(flow.ip_trace_id?.trace_id ?? 0n))
  }
  if (filter.event_type.length > 0) {
    tests.push(({ event_type: event }) =>
      event === undefined
        ? false
        : filter.event_type.some(
            (entry) =>
              (entry.type === 0 || entry.type === event.type) &&
              (!entry.match_sub_type || entry.sub_type === event.sub_type),
          ),
    )
  }
  if (filter.source_ip_xlated.length > 0) tests.push(xlatedTest(filter.source_ip_xlated))
  return tests
}

/** An address by its text, a CIDR by what it contains. */
function xlatedTest(values: readonly string[]): MessageTest {
  const exact = new Set(values.filter((value) => !value.includes('/')))
  const ranges = new BlockList()
  for (const value of values) {
    const [address, length] = value.split('/')
    if (length !== undefined) ranges.addSubnet(address!, Number(length), isIP(address!) === 6 ? 'ipv6' : 'ipv4')
  }
  return (flow) => {
    const ip = flow.IP?.source_xlated ?? ''
    if (ip === '') return false
    return exact.has(ip) || ranges.check(ip, isIP(ip) === 6 ? 'ipv6' : 'ipv4')
  }
}

/** Endpoint and value numbers in the one record there is. */
const SOURCE = 1
const DESTINATION = 2
const L7 = 1

/** One record of the history, and what its numbers stand for, written anew for each flow. */
export class FlowSlot {
  readonly #arrays = new SlotArrays(new ArrayBuffer(FLOW_SLOT.SIZE))
  readonly #data = new DataView(this.#arrays.u8.buffer)
  #view: FlowView | undefined

  /** The flow that was written last. */
  get view(): FlowView {
    return this.#view!
  }

  write(flow: Flow): void {
    const { u8 } = this.#arrays
    u8.fill(0)
    u8[FLOW_EVENT.version] = EVENT_VERSION
    u8[FLOW_EVENT.type] = eventType(flow)
    u8[FLOW_EVENT.verdict] = flow.verdict
    u8[FLOW_EVENT.point] = flow.trace_observation_point
    u8[FLOW_EVENT.traceReason] = flow.trace_reason
    u8[FLOW_EVENT.state] = stateBits(flow)
    u8[FLOW_EVENT.hubbleReason] = flow.verdict === Verdict.DROPPED ? flow.drop_reason_desc || flow.drop_reason : 0
    this.#writePacket(flow)
    if (flow.time) {
      this.#data.setBigUint64(
        FLOW_SLOT.stamp + FLOW_STAMP.unixNs,
        BigInt.asUintN(64, flow.time.seconds * 1_000_000_000n + BigInt(flow.time.nanos)),
        true,
      )
    }
    this.#u32(FLOW_SLOT.stamp + FLOW_STAMP.srcEndpoint, flow.source ? SOURCE : 0)
    this.#u32(FLOW_SLOT.stamp + FLOW_STAMP.dstEndpoint, flow.destination ? DESTINATION : 0)
    this.#u32(FLOW_SLOT.stamp + FLOW_STAMP.srcNames, SOURCE)
    this.#u32(FLOW_SLOT.stamp + FLOW_STAMP.dstNames, DESTINATION)
    this.#u16(FLOW_SLOT.stamp + FLOW_STAMP.srcService, SOURCE)
    this.#u16(FLOW_SLOT.stamp + FLOW_STAMP.dstService, DESTINATION)
    this.#u32(FLOW_SLOT.stamp + FLOW_STAMP.l7, L7)
    // A context of its own for each flow: filters remember answers by context and number.
    this.#view = new FlowView(this.#arrays, contextOf(flow))
  }

  #writePacket({ IP, l4, interface: device }: Flow): void {
    const { u8 } = this.#arrays
    const source = parseAddress(IP?.source ?? '')
    const destination = parseAddress(IP?.destination ?? '')
    if (source && destination) {
      u8.set(source.bytes, FLOW_EVENT.srcIp)
      u8.set(destination.bytes, FLOW_EVENT.dstIp)
      u8[FLOW_EVENT.ipVersion] = IP!.source.includes(':') ? 6 : 4
    }
    const ports = l4?.TCP ?? l4?.UDP ?? l4?.SCTP
    this.#u16(FLOW_EVENT.srcPort, ports?.source_port ?? 0)
    this.#u16(FLOW_EVENT.dstPort, ports?.destination_port ?? 0)
    u8[FLOW_EVENT.protocol] = protocolOf(l4)
    const icmp = l4?.ICMPv4 ?? l4?.ICMPv6
    this.#u16(FLOW_EVENT.l4Info, icmp ? (icmp.type << 8) | icmp.code : l4?.TCP?.flags ? flagBits(l4.TCP.flags) : 0)
    this.#u32(FLOW_EVENT.ifindex, device?.index ?? 0)
  }

  #u16(at: number, value: number): void {
    this.#data.setUint16(at, value, true)
  }

  #u32(at: number, value: number): void {
    this.#data.setUint32(at, value, true)
  }
}

function eventType(flow: Flow): number {
  if (flow.l7?.dns) return EventType.DNS
  if (flow.l7) return EventType.HTTP
  return flow.verdict === Verdict.DROPPED ? EventType.DROP : EventType.FLOW
}

const INGRESS = 1
const EGRESS = 2

function stateBits(flow: Flow): number {
  const reply = flow.is_reply === undefined ? 0 : FlowState.REPLY_KNOWN | (flow.is_reply ? FlowState.REPLY : 0)
  const direction = flow.traffic_direction
  return (
    reply |
    (direction === EGRESS ? FlowState.EGRESS : direction === INGRESS ? FlowState.INGRESS : 0) |
    (flow.IP?.encrypted ? FlowState.ENCRYPTED : 0)
  )
}

function protocolOf(l4: Flow['l4']): number {
  if (l4?.TCP) return 6
  if (l4?.UDP) return 17
  if (l4?.ICMPv4) return 1
  if (l4?.ICMPv6) return 58
  if (l4?.SCTP) return 132
  if (l4?.VRRP) return 112
  return l4?.IGMP ? 2 : 0
}

/** In the order of their bits in the header. */
const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS'] as const

function flagBits(flags: Readonly<Record<(typeof FLAGS)[number], boolean>>): number {
  return FLAGS.reduce((bits, name, bit) => (flags[name] ? bits | (1 << bit) : bits), 0)
}

const NO_UUID = new Uint32Array(4)

function contextOf(flow: Flow): FlowContext {
  const source = endpointOf(flow.source, SOURCE)
  const destination = endpointOf(flow.destination, DESTINATION)
  const l7 = l7Of(flow)
  return {
    nodeName: flow.node_name,
    nodeLabels: flow.node_labels,
    uuidSeed: NO_UUID,
    endpoint: (ref) => (ref === SOURCE ? source : ref === DESTINATION ? destination : endpointOf(undefined, 0)),
    names: (ref) => (ref === SOURCE ? flow.source_names : flow.destination_names),
    service: (ref) => (ref === SOURCE ? flow.source_service : flow.destination_service),
    l7: () => l7,
    kernelDropReason: () => ({ name: '', hubble: 0 }),
    dropLocation: () => '',
    interfaceName: () => flow.interface?.name ?? '',
  }
}

function endpointOf(endpoint: ProtoEndpoint | undefined, ref: number): Endpoint {
  return {
    ref,
    id: endpoint?.ID ?? 0,
    identity: endpoint?.identity ?? 0,
    namespace: endpoint?.namespace ?? '',
    podName: endpoint?.pod_name ?? '',
    podUid: endpoint?.pod_uid ?? '',
    labels: endpoint?.labels ?? [],
    workloads: endpoint?.workloads ?? [],
    clusterName: endpoint?.cluster_name ?? '',
    isLocal: (endpoint?.ID ?? 0) !== 0,
  }
}

function l7Of(flow: Flow): L7Record | undefined {
  const { l7 } = flow
  if (!l7) return undefined
  return {
    type: l7.type,
    latencyNs: Number(l7.latency_ns),
    ...(l7.dns ? { dns: { ...l7.dns, observationSource: l7.dns.observation_source } } : {}),
    ...(l7.http ? { http: l7.http } : {}),
    traceId: flow.trace_context?.parent?.trace_id ?? '',
  }
}
