import type { Endpoint, Service, Workload } from '../../model/endpoint.ts'
import type { FlowView } from '../../model/flow-view.ts'
import type { DnsRecord, HttpHeader, HttpRecord, L7Record } from '../../model/l7.ts'
import { PROTOCOL } from '../../model/protocol-names.ts'
import { flowSummary } from '../../model/summary.ts'

/** How a field's value becomes a CEL value. */
export type FieldKind = 'string' | 'bool' | 'nullable-bool' | 'int' | 'uint' | 'timestamp' | 'message' | 'any'

export interface MessageField {
  readonly kind: FieldKind
  readonly isList: boolean
  /** Set when kind is `message`. */
  readonly message: MessageType | undefined
  /** @param raw what the message is read from @returns undefined when the field is not set */
  get(raw: unknown): unknown
}

/** A message of flow.proto: its fields by proto name, read from our own records without making messages. */
export interface MessageType {
  readonly name: string
  readonly fields: ReadonlyMap<string, MessageField>
}

type Get<T> = (raw: T) => unknown
const absent = () => undefined

function field<T>(kind: FieldKind, get: Get<T>, isList = false, message?: MessageType): MessageField {
  // A getter is only ever called with the record of its own message.
  return { kind, isList, message, get: get as Get<unknown> }
}
const text = <T>(get: Get<T> = absent) => field('string', get)
const texts = <T>(get: Get<T> = absent) => field('string', get, true)
const bool = <T>(get: Get<T> = absent) => field('bool', get)
const uint = <T>(get: Get<T> = absent) => field('uint', get)
const int = <T>(get: Get<T> = absent) => field('int', get)
const one = <T>(type: MessageType, get: Get<T> = absent) => field('message', get, false, type)
const many = <T>(type: MessageType, get: Get<T> = absent) => field('message', get, true, type)

function message(name: string, fields: Readonly<Record<string, MessageField>>): MessageType {
  return { name, fields: new Map(Object.entries(fields)) }
}

type V = FlowView

function flag(bit: number): MessageField {
  return bool((view: V) => (view.tcpFlags & bit) !== 0)
}

const TCP_FLAGS = message('TCPFlags', {
  FIN: flag(1),
  SYN: flag(2),
  RST: flag(4),
  PSH: flag(8),
  ACK: flag(16),
  URG: flag(32),
  ECE: flag(64),
  CWR: flag(128),
  NS: flag(256),
})

const PORTS = {
  source_port: uint((view: V) => view.srcPort),
  destination_port: uint((view: V) => view.dstPort),
}
const ICMP = {
  type: uint((view: V) => view.icmpType),
  code: uint((view: V) => view.icmpCode),
}

const layer4 = (type: MessageType, protocol: number) =>
  one(type, (view: V) => (view.protocol === protocol ? view : undefined))

const LAYER4 = message('Layer4', {
  TCP: layer4(
    message('TCP', { ...PORTS, flags: one(TCP_FLAGS, (view: V) => (view.isL7 ? undefined : view)) }),
    PROTOCOL.TCP,
  ),
  UDP: layer4(message('UDP', PORTS), PROTOCOL.UDP),
  ICMPv4: layer4(message('ICMPv4', ICMP), PROTOCOL.ICMP),
  ICMPv6: layer4(message('ICMPv6', ICMP), PROTOCOL.ICMPV6),
  SCTP: layer4(message('SCTP', PORTS), PROTOCOL.SCTP),
  VRRP: layer4(message('VRRP', { type: uint(), vrid: uint(), priority: uint() }), PROTOCOL.VRRP),
  IGMP: layer4(message('IGMP', { type: uint(), group_address: text() }), PROTOCOL.IGMP),
})

const L4_PROTOCOLS: ReadonlySet<number> = new Set(Object.values(PROTOCOL))

const IP = message('IP', {
  source: text((view: V) => view.srcIp),
  source_xlated: text(),
  destination: text((view: V) => view.dstIp),
  ipVersion: int((view: V) => (view.ipVersion === 6 ? 2 : 1)),
  encrypted: bool((view: V) => view.isEncrypted),
})

const ETHERNET = message('Ethernet', {
  source: text((view: V) => view.srcMac),
  destination: text((view: V) => view.dstMac),
})

const WORKLOAD = message('Workload', { name: text((w: Workload) => w.name), kind: text((w: Workload) => w.kind) })

const ENDPOINT = message('Endpoint', {
  ID: uint((endpoint: Endpoint) => endpoint.id),
  identity: uint((endpoint: Endpoint) => endpoint.identity),
  cluster_name: text((endpoint: Endpoint) => endpoint.clusterName),
  namespace: text((endpoint: Endpoint) => endpoint.namespace),
  labels: texts((endpoint: Endpoint) => endpoint.labels),
  pod_name: text((endpoint: Endpoint) => endpoint.podName),
  workloads: many(WORKLOAD, (endpoint: Endpoint) => endpoint.workloads),
})

const SERVICE = message('Service', { name: text((s: Service) => s.name), namespace: text((s: Service) => s.namespace) })

const DNS = message('DNS', {
  query: text((dns: DnsRecord) => dns.query),
  ips: texts((dns: DnsRecord) => dns.ips),
  ttl: uint((dns: DnsRecord) => dns.ttl),
  cnames: texts((dns: DnsRecord) => dns.cnames),
  observation_source: text((dns: DnsRecord) => dns.observationSource),
  rcode: uint((dns: DnsRecord) => dns.rcode),
  qtypes: texts((dns: DnsRecord) => dns.qtypes),
  rrtypes: texts((dns: DnsRecord) => dns.rrtypes),
})

const HTTP = message('HTTP', {
  code: uint((http: HttpRecord) => http.code),
  method: text((http: HttpRecord) => http.method),
  url: text((http: HttpRecord) => http.url),
  protocol: text((http: HttpRecord) => http.protocol),
  headers: many(
    message('HTTPHeader', {
      key: text((header: HttpHeader) => header.key),
      value: text((header: HttpHeader) => header.value),
    }),
    (http: HttpRecord) => http.headers,
  ),
})

const LAYER7 = message('Layer7', {
  type: int((l7: L7Record) => l7.type),
  latency_ns: uint((l7: L7Record) => l7.latencyNs),
  dns: one(DNS, (l7: L7Record) => l7.dns),
  http: one(HTTP, (l7: L7Record) => l7.http),
  kafka: one(
    message('Kafka', { error_code: int(), api_version: int(), api_key: text(), correlation_id: int(), topic: text() }),
  ),
})

const POLICY = message('Policy', {
  name: text(),
  namespace: text(),
  labels: texts(),
  revision: uint(),
  kind: text(),
})

/** L3/L4 flows that are no drop: the ones that passed an observation point. */
function isTrace(view: V): boolean {
  return !view.isL7 && !view.isDrop
}

/** What `_flow` is; read from a FlowView. */
export const FLOW = message('Flow', {
  time: field('timestamp', (view: V) => (BigInt(view.unixNsHigh) << 32n) | BigInt(view.unixNsLow)),
  uuid: text((view: V) => view.uuid),
  emitter: one(message('Emitter', { name: text(), version: text() })),
  verdict: int((view: V) => view.verdict),
  drop_reason: uint((view: V) => view.dropReason),
  auth_type: int(),
  ethernet: one(ETHERNET, (view: V) => (view.srcMac === '' && view.dstMac === '' ? undefined : view)),
  IP: one(IP, (view: V) => (view.ipVersion === 0 ? undefined : view)),
  l4: one(LAYER4, (view: V) => (L4_PROTOCOLS.has(view.protocol) ? view : undefined)),
  tunnel: one(message('Tunnel', { protocol: int(), IP: one(IP), l4: one(LAYER4), vni: uint() })),
  source: one(ENDPOINT, (view: V) => view.source),
  destination: one(ENDPOINT, (view: V) => view.destination),
  Type: int((view: V) => (view.isL7 ? 2 : 1)),
  node_name: text((view: V) => view.context.nodeName),
  node_labels: texts((view: V) => view.context.nodeLabels),
  source_names: texts((view: V) => view.context.names(view.sourceNamesRef)),
  destination_names: texts((view: V) => view.context.names(view.destinationNamesRef)),
  l7: one(LAYER7, (view: V) => view.l7),
  reply: bool((view: V) => view.isReply === true),
  event_type: one(
    message('CiliumEventType', {
      type: int((view: V) => view.eventType),
      sub_type: int((view: V) => view.eventSubType),
    }),
    (view: V) => view,
  ),
  source_service: one(SERVICE, (view: V) => view.context.service(view.sourceServiceRef)),
  destination_service: one(SERVICE, (view: V) => view.context.service(view.destinationServiceRef)),
  traffic_direction: int((view: V) => view.trafficDirection),
  policy_match_type: uint(),
  trace_observation_point: int((view: V) => (isTrace(view) ? view.observationPoint : 0)),
  trace_reason: int((view: V) => (isTrace(view) ? view.traceReason : 0)),
  file: one(message('FileInfo', { name: text(), line: uint() })),
  ip_trace_id: one(message('IPTraceID', { trace_id: uint(), ip_option_type: uint() })),
  drop_reason_desc: int((view: V) => view.dropReason),
  is_reply: field('nullable-bool', (view: V) => view.isReply),
  debug_capture_point: int(),
  interface: one(
    message('NetworkInterface', {
      index: uint((view: V) => view.ifindex),
      name: text((view: V) => view.context.interfaceName(view.ifindex)),
    }),
    (view: V) => (view.ifindex === 0 ? undefined : view),
  ),
  proxy_port: uint(),
  trace_context: one(
    message('TraceContext', {
      parent: one(message('TraceParent', { trace_id: text((l7: L7Record) => l7.traceId) }), (l7: L7Record) => l7),
    }),
    (view: V) => (view.l7?.traceId ? view.l7 : undefined),
  ),
  sock_xlate_point: int(),
  socket_cookie: uint(),
  cgroup_id: uint(),
  Summary: text((view: V) => flowSummary(view)),
  extensions: field('any', absent),
  egress_allowed_by: many(POLICY),
  ingress_allowed_by: many(POLICY),
  egress_denied_by: many(POLICY),
  ingress_denied_by: many(POLICY),
  policy_log: texts(),
  aggregate: one(
    message('Aggregate', {
      ingress_flow_count: uint(),
      egress_flow_count: uint(),
      unknown_direction_flow_count: uint(),
    }),
  ),
})

/** Names of the messages that an expression can name as types. */
export const MESSAGE_NAMES: ReadonlySet<string> = collectNames(FLOW, new Set())

function collectNames(type: MessageType, names: Set<string>): Set<string> {
  names.add(type.name)
  for (const { message } of type.fields.values()) if (message && !names.has(message.name)) collectNames(message, names)
  return names
}
