import { SluiceError } from '../base/errors.ts'

/**
 * Parts of a flow that are wanted, as a tree of flow.proto names: `true` takes a field whole, an object takes the named
 * members of a message.
 */
export interface FieldMask {
  readonly [field: string]: true | FieldMask
}

/** Messages by field name; `true` is a field that is no message, is repeated, or is not looked into. */
export interface FieldTree {
  readonly [field: string]: true | FieldTree
}

const fields = <T extends string>(...names: T[]): Record<T, true> =>
  Object.fromEntries(names.map((name) => [name, true])) as Record<T, true>

const IP = fields('source', 'source_xlated', 'destination', 'ipVersion', 'encrypted')
const L4 = {
  TCP: {
    ...fields('source_port', 'destination_port'),
    flags: fields('FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS'),
  },
  UDP: fields('source_port', 'destination_port'),
  ICMPv4: fields('type', 'code'),
  ICMPv6: fields('type', 'code'),
  SCTP: fields('source_port', 'destination_port', 'chunk_type'),
  VRRP: fields('type', 'vrid', 'priority'),
  IGMP: fields('type', 'group_address'),
}
const ENDPOINT = fields('ID', 'identity', 'cluster_name', 'namespace', 'labels', 'pod_name', 'pod_uid', 'workloads')

/**
 * Every path that a mask may name: Hubble 1.19's Flow, as api/proto has it. Repeated fields are leaves, as in protobuf's FieldMask. Fields
 * that Sluice has nothing for (`tunnel`, `policy_match_type`) are here so that a mask written for Hubble is accepted.
 */
export const FLOW_SCHEMA: FieldTree = {
  ...fields('uuid', 'verdict', 'drop_reason', 'auth_type', 'Type', 'node_name', 'node_labels', 'source_names'),
  ...fields('destination_names', 'reply', 'traffic_direction', 'policy_match_type', 'trace_observation_point'),
  ...fields('trace_reason', 'drop_reason_desc', 'debug_capture_point', 'proxy_port', 'sock_xlate_point'),
  ...fields('socket_cookie', 'cgroup_id', 'Summary', 'egress_allowed_by', 'ingress_allowed_by'),
  ...fields('egress_denied_by', 'ingress_denied_by', 'policy_log', 'ext_drop_reason_desc', 'ext_error'),
  // Messages of google.protobuf; JSON writes each as one value.
  time: fields('seconds', 'nanos'),
  is_reply: fields('value'),
  extensions: fields('type_url', 'value'),
  emitter: fields('name', 'version'),
  ethernet: fields('source', 'destination'),
  IP,
  l4: L4,
  tunnel: { ...fields('protocol', 'vni'), IP, l4: L4 },
  source: ENDPOINT,
  destination: ENDPOINT,
  l7: {
    ...fields('type', 'latency_ns'),
    dns: fields('query', 'ips', 'ttl', 'cnames', 'observation_source', 'rcode', 'qtypes', 'rrtypes'),
    http: fields('code', 'method', 'url', 'protocol', 'headers'),
    kafka: fields('error_code', 'api_version', 'api_key', 'correlation_id', 'topic'),
  },
  event_type: fields('type', 'sub_type'),
  source_service: fields('name', 'namespace'),
  destination_service: fields('name', 'namespace'),
  file: fields('name', 'line'),
  ip_trace_id: fields('trace_id', 'ip_option_type'),
  interface: fields('index', 'name'),
  trace_context: { parent: fields('trace_id') },
  aggregate: fields('ingress_flow_count', 'egress_flow_count', 'unknown_direction_flow_count'),
}

/** Paths of one mask, and the characters of all of them. */
export const MAX_MASK_PATHS = 1000
export const MAX_MASK_CHARS = 20_000

/**
 * Reads the paths of a field mask. A parent swallows its children, which must exist all the same.
 *
 * @param paths flow.proto names joined by dots (`time`, `source.pod_name`, `l4.TCP`); an empty list means no mask
 * @returns undefined for no mask: everything is wanted
 * @throws SluiceError SLUICE_FIELD_MASK_INVALID naming each path that flow.Flow does not have
 */
export function parseFieldMask(paths: readonly string[]): FieldMask | undefined {
  if (paths.length === 0) return undefined
  if (paths.length > MAX_MASK_PATHS) throw invalid(`${paths.length} paths, at most ${MAX_MASK_PATHS} are accepted`)
  if (paths.reduce((sum, path) => sum + path.length, 0) > MAX_MASK_CHARS) {
    throw invalid(`at most ${MAX_MASK_CHARS} characters are accepted`)
  }
  const unknown = paths.filter((path) => !exists(path))
  if (unknown.length > 0) {
    const shown = unknown.slice(0, 5).map((path) => `"${path.length > 100 ? `${path.slice(0, 100)}...` : path}"`)
    const rest = unknown.length > shown.length ? ` and ${unknown.length - shown.length} more` : ''
    throw invalid(`${shown.join(', ')}${rest} ${unknown.length === 1 ? 'is no field' : 'are no fields'} of flow.Flow`)
  }
  const mask: Record<string, true | FieldMask> = {}
  for (const path of paths) add(mask, path.split('.'))
  return mask
}

function invalid(what: string): SluiceError {
  return new SluiceError('SLUICE_FIELD_MASK_INVALID', `invalid fieldmask: ${what}`)
}

function exists(path: string): boolean {
  let at: true | FieldTree | undefined = FLOW_SCHEMA
  for (const name of path.split('.')) {
    if (at === undefined || at === true || !Object.hasOwn(at, name)) return false
    at = at[name]
  }
  return true
}

function add(mask: Record<string, true | FieldMask>, path: readonly string[]): void {
  const [name, ...rest] = path as [string, ...string[]]
  const known = mask[name]
  if (known === true) return
  if (rest.length === 0) {
    mask[name] = true
    return
  }
  const sub = { ...known }
  mask[name] = sub
  add(sub, rest)
}

/**
 * Whether a mask takes any part of a field; without a mask everything is taken.
 *
 * @param path names from the top, one per level
 */
export function takes(mask: FieldMask | undefined, ...path: readonly string[]): boolean {
  let at: true | FieldMask | undefined = mask ?? true
  for (const name of path) {
    if (at === true) return true
    at = Object.hasOwn(at, name) ? at[name] : undefined
    if (at === undefined) return false
  }
  return true
}

/** What `hubble observe` 1.19 asks for when it prints columns, in its order: only what it shows. Ours asks for the same. */
export const HUBBLE_CLI_MASK: readonly string[] = [
  'time',
  'verdict',
  'ethernet',
  'IP',
  'l4',
  'source.identity',
  'source.namespace',
  'source.pod_name',
  'destination.identity',
  'destination.namespace',
  'destination.pod_name',
  'Type',
  'node_name',
  'l7',
  'event_type',
  'source_service',
  'destination_service',
  'is_reply',
  'Summary',
  'ip_trace_id',
]
