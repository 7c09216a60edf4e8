import { DROP_REASONS } from '../../model/drop-reasons.ts'
import { TRAFFIC_DIRECTION_NAMES, VERDICT_NAMES } from '../../model/names.ts'
import type { FlowFilterField, TcpFlagsMessage } from './message.ts'

/** Numbers by name, as flow.proto spells them. */
export type EnumNumbers = ReadonlyMap<string, number>

/** Type of a value in FlowFilter. */
export type ValueType =
  | 'string'
  | 'bool'
  | 'int32'
  | 'uint32'
  | 'uint64'
  | { readonly enumeration: string; readonly numbers: EnumNumbers }
  | { readonly fields: Readonly<Record<string, FieldType>> }

export interface FieldType {
  readonly type: ValueType
  readonly isList: boolean
}

const list = (type: ValueType): FieldType => ({ type, isList: true })
const one = (type: ValueType): FieldType => ({ type, isList: false })

function numbers(names: readonly string[]): EnumNumbers {
  return new Map(names.map((name, number) => [name, number]))
}

const VERDICT: ValueType = { enumeration: 'Verdict', numbers: numbers(VERDICT_NAMES) }
const DIRECTION: ValueType = { enumeration: 'TrafficDirection', numbers: numbers(TRAFFIC_DIRECTION_NAMES) }
const IP_VERSION: ValueType = { enumeration: 'IPVersion', numbers: numbers(['IP_NOT_USED', 'IPv4', 'IPv6']) }
const DROP_REASON: ValueType = {
  enumeration: 'DropReason',
  numbers: new Map(Object.entries(DROP_REASONS).map(([number, row]) => [row.name, Number(number)])),
}
const WORKLOAD: ValueType = { fields: { name: one('string'), kind: one('string') } }
const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS'] satisfies (keyof TcpFlagsMessage)[]

/** Types of FlowFilter's fields, by proto name. */
export const FLOW_FILTER_FIELDS: Readonly<Record<FlowFilterField, FieldType>> = {
  uuid: list('string'),
  source_ip: list('string'),
  source_ip_xlated: list('string'),
  source_pod: list('string'),
  source_fqdn: list('string'),
  source_label: list('string'),
  source_service: list('string'),
  source_workload: list(WORKLOAD),
  source_cluster_name: list('string'),
  source_identity: list('uint32'),
  source_port: list('string'),
  destination_ip: list('string'),
  destination_pod: list('string'),
  destination_fqdn: list('string'),
  destination_label: list('string'),
  destination_service: list('string'),
  destination_workload: list(WORKLOAD),
  destination_cluster_name: list('string'),
  destination_identity: list('uint32'),
  destination_port: list('string'),
  traffic_direction: list(DIRECTION),
  verdict: list(VERDICT),
  drop_reason_desc: list(DROP_REASON),
  interface: list({ fields: { index: one('uint32'), name: one('string') } }),
  event_type: list({ fields: { type: one('int32'), match_sub_type: one('bool'), sub_type: one('int32') } }),
  http_status_code: list('string'),
  protocol: list('string'),
  reply: list('bool'),
  dns_query: list('string'),
  http_method: list('string'),
  http_path: list('string'),
  http_url: list('string'),
  http_header: list({ fields: { key: one('string'), value: one('string') } }),
  tcp_flags: list({ fields: Object.fromEntries(FLAGS.map((flag) => [flag, one('bool')])) }),
  node_name: list('string'),
  node_labels: list('string'),
  ip_version: list(IP_VERSION),
  trace_id: list('string'),
  ip_trace_id: list('uint64'),
  encrypted: list('bool'),
  experimental: one({ fields: { cel_expression: list('string') } }),
}
