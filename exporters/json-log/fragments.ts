import { DROP_REASONS } from '../../model/drop-reasons.ts'
import type { Endpoint, Service } from '../../model/endpoint.ts'
import { type FieldMask, takes } from '../../model/field-mask.ts'
import type { L7Record } from '../../model/l7.ts'
import {
  L7_TYPE_NAMES,
  OBSERVATION_POINT_NAMES,
  TRACE_REASON_NAMES,
  TRAFFIC_DIRECTION_NAMES,
  VERDICT_NAMES,
} from '../../model/names.ts'
import { JsonMembers, jsonString } from './json-text.ts'

/**
 * Pieces of a line as JSON text, members with a comma before each. They are made once and kept as bytes by the
 * encoder; all take the mask and give an empty text for what it leaves out. Orders of members are those of flow.proto.
 */

/** What a record says of its packet's way: decides the pieces between `l7` and `interface`. */
export interface FlowKind {
  /** flow.proto event_type.type */
  readonly eventType: number
  readonly eventSubType: number
  /** flow.proto TrafficDirection */
  readonly direction: number
  readonly isReply: boolean | undefined
  /** TraceObservationPoint and TraceReason, 0 unless the event is a trace. */
  readonly point: number
  readonly traceReason: number
  /** DropReason, 0 unless the event is a drop. */
  readonly dropReason: number
}

/** An enum by name, or by number where it has no name; 0 is the default and is left out. */
function enumMember(to: JsonMembers, name: string, value: number, text: string | undefined): void {
  if (value !== 0) to.raw(name, text === undefined ? String(value) : `"${text}"`)
}

export function emitterAndVerdict(
  emitter: { readonly name: string; readonly version: string },
  verdict: number,
  mask: FieldMask | undefined,
): string {
  const out = new JsonMembers()
  if (takes(mask, 'emitter')) {
    const members = new JsonMembers()
    if (takes(mask, 'emitter', 'name')) members.string('name', emitter.name)
    if (takes(mask, 'emitter', 'version')) members.string('version', emitter.version)
    out.raw('emitter', members.toString())
  }
  if (takes(mask, 'verdict')) enumMember(out, 'verdict', verdict, VERDICT_NAMES[verdict])
  return out.tail
}

export function endpointMember(
  name: 'source' | 'destination',
  endpoint: Endpoint,
  mask: FieldMask | undefined,
): string {
  if (!takes(mask, name)) return ''
  const out = new JsonMembers()
  if (takes(mask, name, 'ID')) out.number('ID', endpoint.id)
  if (takes(mask, name, 'identity')) out.number('identity', endpoint.identity)
  if (takes(mask, name, 'cluster_name')) out.string('cluster_name', endpoint.clusterName)
  if (takes(mask, name, 'namespace')) out.string('namespace', endpoint.namespace)
  if (takes(mask, name, 'labels')) out.strings('labels', endpoint.labels)
  if (takes(mask, name, 'pod_name')) out.string('pod_name', endpoint.podName)
  if (takes(mask, name, 'workloads') && endpoint.workloads.length > 0) {
    const list = endpoint.workloads.map(({ name, kind }) => new JsonMembers().string('name', name).string('kind', kind))
    out.raw('workloads', `[${list.join(',')}]`)
  }
  return `,"${name}":${out}`
}

export function typeAndNode(
  isL7: boolean,
  nodeName: string,
  nodeLabels: readonly string[],
  mask: FieldMask | undefined,
): string {
  const out = new JsonMembers()
  if (takes(mask, 'Type')) out.string('Type', isL7 ? 'L7' : 'L3_L4')
  if (takes(mask, 'node_name')) out.string('node_name', nodeName)
  if (takes(mask, 'node_labels')) out.strings('node_labels', nodeLabels)
  return out.tail
}

export function namesMember(
  name: 'source_names' | 'destination_names',
  names: readonly string[],
  mask: FieldMask | undefined,
): string {
  return takes(mask, name) ? new JsonMembers().strings(name, names).tail : ''
}

export function serviceMember(
  name: 'source_service' | 'destination_service',
  service: Service,
  mask: FieldMask | undefined,
): string {
  if (!takes(mask, name)) return ''
  const out = new JsonMembers()
  if (takes(mask, name, 'name')) out.string('name', service.name)
  if (takes(mask, name, 'namespace')) out.string('namespace', service.namespace)
  return `,"${name}":${out}`
}

/** `reply` and `event_type`. */
export function eventTypeMembers(kind: FlowKind, mask: FieldMask | undefined): string {
  const out = new JsonMembers()
  if (kind.isReply === true && takes(mask, 'reply')) out.raw('reply', 'true')
  if (takes(mask, 'event_type')) {
    const members = new JsonMembers()
    if (takes(mask, 'event_type', 'type')) members.number('type', kind.eventType)
    if (takes(mask, 'event_type', 'sub_type')) members.number('sub_type', kind.eventSubType)
    out.raw('event_type', members.toString())
  }
  return out.tail
}

/** `traffic_direction` to `is_reply`. */
export function directionMembers(kind: FlowKind, mask: FieldMask | undefined): string {
  const out = new JsonMembers()
  const { direction, point, traceReason, dropReason, isReply } = kind
  if (takes(mask, 'traffic_direction')) {
    enumMember(out, 'traffic_direction', direction, TRAFFIC_DIRECTION_NAMES[direction])
  }
  if (takes(mask, 'trace_observation_point')) {
    enumMember(out, 'trace_observation_point', point, OBSERVATION_POINT_NAMES[point])
  }
  if (takes(mask, 'trace_reason')) enumMember(out, 'trace_reason', traceReason, TRACE_REASON_NAMES[traceReason])
  if (takes(mask, 'drop_reason_desc')) {
    enumMember(out, 'drop_reason_desc', dropReason, DROP_REASONS[dropReason]?.name)
  }
  if (isReply !== undefined && takes(mask, 'is_reply')) out.raw('is_reply', String(isReply))
  return out.tail
}

export function dropReasonMember(reason: number, mask: FieldMask | undefined): string {
  return takes(mask, 'drop_reason') ? new JsonMembers().number('drop_reason', reason).tail : ''
}

export function interfaceMember(index: number, name: string, mask: FieldMask | undefined): string {
  if (index === 0 || !takes(mask, 'interface')) return ''
  const out = new JsonMembers()
  if (takes(mask, 'interface', 'index')) out.number('index', index)
  if (takes(mask, 'interface', 'name')) out.string('name', name)
  return `,"interface":${out}`
}

export function summaryMember(summary: string, mask: FieldMask | undefined): string {
  return takes(mask, 'Summary') ? new JsonMembers().string('Summary', summary).tail : ''
}

const FLAG_NAMES = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS']

/** @param flags bit i is FLAG_NAMES[i] */
export function tcpFlagsMember(flags: number, mask: FieldMask | undefined): string {
  if (!takes(mask, 'l4', 'TCP', 'flags')) return ''
  const out = new JsonMembers()
  FLAG_NAMES.forEach((name, bit) => {
    if (flags & (1 << bit) && takes(mask, 'l4', 'TCP', 'flags', name)) out.raw(name, 'true')
  })
  return `,"flags":${out}`
}

/** Layer7 of an L7 message. */
export function l7Member(record: L7Record, mask: FieldMask | undefined): string {
  if (!takes(mask, 'l7')) return ''
  const out = new JsonMembers()
  if (takes(mask, 'l7', 'type')) enumMember(out, 'type', record.type, L7_TYPE_NAMES[record.type])
  if (takes(mask, 'l7', 'latency_ns')) out.long('latency_ns', Math.round(record.latencyNs))
  if (record.dns && takes(mask, 'l7', 'dns')) out.raw('dns', dnsObject(record.dns, mask))
  else if (record.http && takes(mask, 'l7', 'http')) out.raw('http', httpObject(record.http, mask))
  return `,"l7":${out}`
}

function dnsObject(dns: NonNullable<L7Record['dns']>, mask: FieldMask | undefined): string {
  const out = new JsonMembers()
  const want = (name: string) => takes(mask, 'l7', 'dns', name)
  if (want('query')) out.string('query', dns.query)
  if (want('ips')) out.strings('ips', dns.ips)
  if (want('ttl')) out.number('ttl', dns.ttl)
  if (want('cnames')) out.strings('cnames', dns.cnames)
  if (want('observation_source')) out.string('observation_source', dns.observationSource)
  if (want('rcode')) out.number('rcode', dns.rcode)
  if (want('qtypes')) out.strings('qtypes', dns.qtypes)
  if (want('rrtypes')) out.strings('rrtypes', dns.rrtypes)
  return out.toString()
}

function httpObject(http: NonNullable<L7Record['http']>, mask: FieldMask | undefined): string {
  const out = new JsonMembers()
  const want = (name: string) => takes(mask, 'l7', 'http', name)
  if (want('code')) out.number('code', http.code)
  if (want('method')) out.string('method', http.method)
  if (want('url')) out.string('url', http.url)
  if (want('protocol')) out.string('protocol', http.protocol)
  if (want('headers') && http.headers.length > 0) {
    const list = http.headers.map(({ key, value }) => new JsonMembers().string('key', key).string('value', value))
    out.raw('headers', `[${list.join(',')}]`)
  }
  return out.toString()
}

export function traceContextMember(traceId: string, mask: FieldMask | undefined): string {
  if (traceId === '' || !takes(mask, 'trace_context')) return ''
  return `,"trace_context":{"parent":{"trace_id":${jsonString(traceId)}}}`
}
