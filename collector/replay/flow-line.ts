import { DROP_REASONS } from '../../model/drop-reasons.ts'
import type { Endpoint, Service, Workload } from '../../model/endpoint.ts'
import { type L7Record, L7Type } from '../../model/l7.ts'
import { EventCause, EventType, FlowState, Verdict } from '../../model/layouts.gen.ts'
import { L7_TYPE_NAMES, OBSERVATION_POINT_NAMES, TRACE_REASON_NAMES, VERDICT_NAMES } from '../../model/names.ts'
import { PROTOCOL } from '../../model/protocol-names.ts'
import { count, enumNumber, flag, type Json, list, maybeObject, object, text, texts } from './json.ts'

/** Why a line gives no flow. */
export type LineFailure = 'too_long' | 'not_json' | 'not_an_event' | 'bad_time' | 'bad_address' | 'unsupported'

/** Facts of a flow as a line tells them; numbers as in struct flow_event. */
export interface ReplayedFlow {
  readonly kind: 'flow'
  /** Nanoseconds since 1970. */
  readonly time: bigint
  readonly type: number
  readonly cause: number
  readonly verdict: number
  readonly point: number
  readonly state: number
  readonly traceReason: number
  readonly hubbleReason: number
  readonly protocol: number
  readonly ipVersion: number
  readonly srcIp: string
  readonly dstIp: string
  readonly srcMac: string
  readonly dstMac: string
  readonly srcPort: number
  readonly dstPort: number
  readonly l4Info: number
  readonly ifindex: number
  readonly interfaceName: string
  readonly source: Omit<Endpoint, 'ref'>
  readonly destination: Omit<Endpoint, 'ref'>
  readonly sourceNames: readonly string[]
  readonly destinationNames: readonly string[]
  readonly sourceService: Service | undefined
  readonly destinationService: Service | undefined
  readonly l7: L7Record | undefined
  readonly extras: ReplayedExtras
}

/** What Sluice's own log says beyond Hubble's keys. */
export interface ReplayedExtras {
  readonly packets: number
  readonly replyPackets: number
  readonly bytes: number
  readonly replyBytes: number
  readonly rttUs: number
  readonly srttUs: number
  readonly retransmits: number
  readonly drops: number
  readonly vlan: number
  readonly rule: number
  readonly kernelDropReason: string
  readonly dropLocation: string
}

export interface ReplayedLoss {
  readonly kind: 'lost'
  readonly source: number
  readonly count: number
}

export type ParsedLine = ReplayedFlow | ReplayedLoss | { readonly kind: 'skipped' } | { readonly failure: LineFailure }

const VERDICTS = numbersOf(VERDICT_NAMES.entries())
const L7_TYPES = numbersOf(L7_TYPE_NAMES.entries())
const TRACE_REASONS = numbersOf(TRACE_REASON_NAMES.entries())
const POINTS = numbersOf(Object.entries(OBSERVATION_POINT_NAMES))
const CAUSES = new Map(Object.entries(EventCause))
const REASONS = numbersOf(Object.entries(DROP_REASONS).map(([number, { name }]) => [number, name] as const))
const LOST_SOURCES = new Map([
  ['PERF_EVENT_RING_BUFFER', 1],
  ['OBSERVER_EVENTS_QUEUE', 2],
  ['HUBBLE_RING_BUFFER', 3],
])
/** Events that are no flows, in the exporter's files and in `hubble observe -o json`. */
const OTHER_EVENTS = ['node_status', 'agent_event', 'debug_event']
const TCP_FLAGS = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32, ECE: 64, CWR: 128, NS: 256 } as const
const MAX_U32 = 0xffff_ffff
const MAX_U16 = 0xffff

function numbersOf(rows: Iterable<readonly [number | string, string]>): ReadonlyMap<string, number> {
  return new Map(Array.from(rows, ([number, name]) => [name, Number(number)]))
}

/**
 * Reads one line of a flow file: an event as Hubble's exporter, Sluice's log or `hubble observe -o json` writes it, or
 * a flow alone. Unknown keys are passed over; a flow that cannot be shown truthfully is `unsupported`.
 */
export function parseFlowLine(line: string): ParsedLine {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return { failure: 'not_json' }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { failure: 'not_an_event' }
  const event = value as Json
  const lost = maybeObject(event, 'lost_events')
  if (lost !== undefined) {
    return { kind: 'lost', source: enumNumber(lost, 'source', LOST_SOURCES), count: count(lost, 'num_events_lost') }
  }
  if (OTHER_EVENTS.some((key) => key in event)) return { kind: 'skipped' }
  const flow = maybeObject(event, 'flow') ?? ('IP' in event || 'verdict' in event ? event : undefined)
  return flow === undefined ? { failure: 'not_an_event' } : parseFlow(flow, event)
}

function parseFlow(flow: Json, event: Json): ParsedLine {
  const time = parseTime(text(flow, 'time') || text(event, 'time'))
  if (time === undefined) return { failure: 'bad_time' }
  if (text(flow, 'Type') === 'SOCK') return { failure: 'unsupported' }
  const l7 = parseL7(flow)
  if (text(flow, 'Type') === 'L7' && l7 === undefined) return { failure: 'unsupported' }
  const ip = object(flow, 'IP')
  const l4 = parseL4(object(flow, 'l4'), count(extensions(flow), 'sctp_chunk', 255))
  const ethernet = object(flow, 'ethernet')
  const device = object(flow, 'interface')
  const verdict = enumNumber(flow, 'verdict', VERDICTS)
  const isDrop = verdict === Verdict.DROPPED
  return {
    kind: 'flow',
    time,
    type: l7?.dns ? EventType.DNS : l7?.http ? EventType.HTTP : isDrop ? EventType.DROP : EventType.FLOW,
    cause:
      enumNumber(extensions(flow), 'cause', CAUSES) ||
      (l7 ? EventCause.L7 : isDrop ? EventCause.DROP : EventCause.PACKET),
    verdict,
    point: enumNumber(flow, 'trace_observation_point', POINTS),
    state: parseState(flow, ip),
    traceReason: enumNumber(flow, 'trace_reason', TRACE_REASONS),
    hubbleReason: isDrop ? enumNumber(flow, 'drop_reason_desc', REASONS) || count(flow, 'drop_reason', 255) : 0,
    ...l4,
    ipVersion: { IPv4: 4, IPv6: 6 }[text(ip, 'ipVersion')] ?? 0,
    srcIp: text(ip, 'source'),
    dstIp: text(ip, 'destination'),
    srcMac: text(ethernet, 'source'),
    dstMac: text(ethernet, 'destination'),
    ifindex: count(device, 'index', MAX_U32),
    interfaceName: text(device, 'name'),
    source: parseEndpoint(object(flow, 'source')),
    destination: parseEndpoint(object(flow, 'destination')),
    sourceNames: texts(flow, 'source_names'),
    destinationNames: texts(flow, 'destination_names'),
    sourceService: parseService(flow, 'source_service'),
    destinationService: parseService(flow, 'destination_service'),
    l7,
    extras: parseExtras(extensions(flow), l7 !== undefined),
  }
}

const TIME = /^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/

/** First millisecond that a record's 64 bits of nanoseconds do not hold: in the year 2554. */
const MAX_TIME_MS = 2 ** 64 / 1e6 - 1

/** RFC 3339 with up to nine digits of a second, since 1970 and as long as 64 bits of nanoseconds last. */
export function parseTime(value: string): bigint | undefined {
  const match = TIME.exec(value)
  if (match === null) return undefined
  const ms = Date.parse(`${match[1]}${match[3]}`.toUpperCase())
  if (Number.isNaN(ms) || ms < 0 || ms >= MAX_TIME_MS) return undefined
  return BigInt(ms) * 1_000_000n + BigInt((match[2] ?? '').padEnd(9, '0'))
}

interface Layer4 {
  readonly protocol: number
  readonly srcPort: number
  readonly dstPort: number
  readonly l4Info: number
}

function parseL4(l4: Json, sctpChunk: number): Layer4 {
  const ports = (from: Json, protocol: number, l4Info: number): Layer4 => ({
    protocol,
    srcPort: count(from, 'source_port', MAX_U16),
    dstPort: count(from, 'destination_port', MAX_U16),
    l4Info,
  })
  const tcp = maybeObject(l4, 'TCP')
  if (tcp !== undefined) {
    const flags = object(tcp, 'flags')
    const bits = Object.entries(TCP_FLAGS).reduce((sum, [name, bit]) => sum | (flag(flags, name) ? bit : 0), 0)
    return ports(tcp, PROTOCOL.TCP, bits)
  }
  const udp = maybeObject(l4, 'UDP')
  if (udp !== undefined) return ports(udp, PROTOCOL.UDP, 0)
  const sctp = maybeObject(l4, 'SCTP')
  if (sctp !== undefined) return ports(sctp, PROTOCOL.SCTP, sctpChunk)
  const icmp4 = maybeObject(l4, 'ICMPv4')
  const icmp = icmp4 ?? maybeObject(l4, 'ICMPv6')
  if (icmp !== undefined) {
    const l4Info = (count(icmp, 'type', 255) << 8) | count(icmp, 'code', 255)
    return { protocol: icmp4 ? PROTOCOL.ICMP : PROTOCOL.ICMPV6, srcPort: 0, dstPort: 0, l4Info }
  }
  return {
    protocol: 'VRRP' in l4 ? PROTOCOL.VRRP : 'IGMP' in l4 ? PROTOCOL.IGMP : 0,
    srcPort: 0,
    dstPort: 0,
    l4Info: 0,
  }
}

function parseState(flow: Json, ip: Json): number {
  const isReply = flow['is_reply']
  const direction = text(flow, 'traffic_direction')
  return (
    (typeof isReply === 'boolean' ? FlowState.REPLY_KNOWN : 0) |
    (isReply === true ? FlowState.REPLY : 0) |
    (direction === 'EGRESS' ? FlowState.EGRESS : direction === 'INGRESS' ? FlowState.INGRESS : 0) |
    (flag(ip, 'encrypted') ? FlowState.ENCRYPTED : 0) |
    (flag(extensions(flow), 'fragment') ? FlowState.FRAGMENT : 0) |
    (flag(extensions(flow), 'direction_guessed') ? FlowState.GUESSED : 0)
  )
}

function parseEndpoint(from: Json): Omit<Endpoint, 'ref'> {
  const workloads: Workload[] = []
  for (const item of list(from, 'workloads').slice(0, 1)) {
    if (typeof item === 'object' && item !== null)
      workloads.push({ name: text(item as Json, 'name'), kind: text(item as Json, 'kind') })
  }
  const id = count(from, 'ID', MAX_U32)
  return {
    id,
    identity: count(from, 'identity', MAX_U32),
    namespace: text(from, 'namespace'),
    podName: text(from, 'pod_name'),
    podUid: text(from, 'pod_uid'),
    labels: texts(from, 'labels'),
    workloads,
    clusterName: text(from, 'cluster_name'),
    isLocal: id !== 0,
  }
}

function parseService(flow: Json, key: string): Service | undefined {
  const from = maybeObject(flow, key)
  return from === undefined ? undefined : { name: text(from, 'name'), namespace: text(from, 'namespace') }
}

function parseL7(flow: Json): L7Record | undefined {
  const from = maybeObject(flow, 'l7')
  if (from === undefined) return undefined
  const base = {
    type: enumNumber(from, 'type', L7_TYPES) || L7Type.UNKNOWN,
    latencyNs: count(from, 'latency_ns'),
    traceId: text(object(object(flow, 'trace_context'), 'parent'), 'trace_id'),
  }
  const dns = maybeObject(from, 'dns')
  if (dns !== undefined) {
    return {
      ...base,
      dns: {
        query: text(dns, 'query'),
        ips: texts(dns, 'ips'),
        ttl: count(dns, 'ttl', MAX_U32),
        cnames: texts(dns, 'cnames'),
        observationSource: text(dns, 'observation_source'),
        rcode: count(dns, 'rcode', MAX_U16),
        qtypes: texts(dns, 'qtypes'),
        rrtypes: texts(dns, 'rrtypes'),
      },
    }
  }
  const http = maybeObject(from, 'http')
  if (http === undefined) return undefined
  const headers = list(http, 'headers').filter((item): item is Json => typeof item === 'object' && item !== null)
  return {
    ...base,
    http: {
      code: count(http, 'code', MAX_U16),
      method: text(http, 'method'),
      url: text(http, 'url'),
      protocol: text(http, 'protocol'),
      headers: headers.map((header) => ({ key: text(header, 'key'), value: text(header, 'value') })),
    },
  }
}

/** A Struct in an Any, as Sluice's log writes it. */
function extensions(flow: Json): Json {
  return object(object(flow, 'extensions'), 'value')
}

function parseExtras(from: Json, isL7: boolean): ReplayedExtras {
  const hasCounts = 'packets' in from || 'reply_packets' in from
  return {
    // Hubble's flows carry no counts: each stands for one packet that was seen, of unknown length; L7 flows for none.
    packets: hasCounts || isL7 ? count(from, 'packets', MAX_U32) : 1,
    replyPackets: count(from, 'reply_packets', MAX_U32),
    bytes: count(from, 'bytes', MAX_U32),
    replyBytes: count(from, 'reply_bytes', MAX_U32),
    rttUs: count(from, 'rtt_us', MAX_U32),
    srttUs: count(from, 'srtt_us', MAX_U32),
    retransmits: count(from, 'retransmits', MAX_U16),
    drops: count(from, 'drops', MAX_U16),
    vlan: count(from, 'vlan', MAX_U16),
    rule: count(from, 'rule', MAX_U16),
    kernelDropReason: text(from, 'kernel_drop_reason'),
    dropLocation: text(from, 'drop_location'),
  }
}
