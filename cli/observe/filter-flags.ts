import {
  DropReason,
  type FlowFilter,
  IPVersion,
  TCPFlags,
  TrafficDirection,
  Verdict,
  type Workload,
} from '../../api/gen/flow/flow.ts'

/** Names that a filter asks of one end of a flow, before namespaces are put in front of them. */
export interface SideNames {
  readonly namespaces: string[]
  readonly pods: string[]
  readonly services: string[]
}

interface FilterSide {
  readonly filter: FlowFilter
  readonly source: SideNames
  readonly destination: SideNames
}

/** The two filters that flags fill: one of them must match. */
export interface FilterSides {
  readonly left: FilterSide
  readonly right: FilterSide
}

export interface FilterFlag {
  /** Without dashes. */
  readonly name: string
  readonly short?: string
  /** What stands for the value in --help; without it the flag takes no value. */
  readonly value?: string
  readonly help: string
  /** @throws RangeError saying what is wanted */
  apply(sides: FilterSides, value: string): void
}

type ListKey = {
  [K in keyof FlowFilter]: FlowFilter[K] extends unknown[] ? K : never
}[keyof FlowFilter]
type Item<K extends ListKey> = FlowFilter[K] extends (infer T)[] ? T : never
type Parse<K extends ListKey> = (value: string) => Item<K>

/** Reserved identities by the names that the command line takes. */
const IDENTITY_NAMES: Readonly<Record<string, number>> = {
  host: 1,
  world: 2,
  unmanaged: 3,
  health: 4,
  init: 5,
  'remote-node': 6,
  'kube-apiserver': 7,
  ingress: 8,
  'world-ipv4': 9,
  'world-ipv6': 10,
}

/** Monitor message types by the names that the command line takes. */
const EVENT_TYPES: Readonly<Record<string, number>> = {
  drop: 1,
  debug: 2,
  capture: 3,
  trace: 4,
  'policy-verdict': 5,
  'trace-sock': 7,
  l7: 129,
  agent: 130,
}

/** Sub-types of trace events: monitor numbers. */
export const TRACE_SUB_TYPES = [
  'to-endpoint',
  'to-proxy',
  'to-host',
  'to-stack',
  'to-overlay',
  'from-endpoint',
  'from-proxy',
  'from-host',
  'from-stack',
  'from-overlay',
  'from-network',
  'to-network',
  'from-crypto',
  'to-crypto',
] as const

const EVENT_TYPE_TRACE = 4

const text = (value: string): string => value

/** A field that looks at no end: both filters get it. */
function both<K extends ListKey>(key: K, parse: Parse<K>): FilterFlag['apply'] {
  return ({ left, right }, value) => {
    const item = parse(value)
    list(left.filter, key).push(item)
    list(right.filter, key).push(item)
  }
}

/** A field of the source in one filter, of the destination in the other. */
function either<A extends ListKey, B extends ListKey>(
  source: A,
  destination: B,
  parse: (value: string) => Item<A> & Item<B>,
) {
  return ({ left, right }: FilterSides, value: string): void => {
    list(left.filter, source).push(parse(value))
    list(right.filter, destination).push(parse(value))
  }
}

/** FlowFilter's type does not say that the list under a key holds items of that key's type; ListKey does. */
function list<K extends ListKey>(filter: FlowFilter, key: K): Item<K>[] {
  return filter[key] as Item<K>[]
}

type NameKind = keyof SideNames

function fromNames(kind: NameKind, convert = text): FilterFlag['apply'] {
  return ({ left, right }, value) => {
    left.source[kind].push(convert(value))
    right.source[kind].push(convert(value))
  }
}

function toNames(kind: NameKind, convert = text): FilterFlag['apply'] {
  return ({ left, right }, value) => {
    left.destination[kind].push(convert(value))
    right.destination[kind].push(convert(value))
  }
}

function eitherNames(kind: NameKind, convert = text): FilterFlag['apply'] {
  return ({ left, right }, value) => {
    left.source[kind].push(convert(value))
    right.destination[kind].push(convert(value))
  }
}

const anyNamespace = (): string => ''

function identity(value: string): number {
  const named = Object.hasOwn(IDENTITY_NAMES, value) ? IDENTITY_NAMES[value] : undefined
  const number = named ?? (/^(0x[0-9a-fA-F]+|\d+)$/.test(value) ? Number(value) : Number.NaN)
  if (number <= 0xffff_ffff) return number
  throw new RangeError(`want a number below 2^32 or one of ${Object.keys(IDENTITY_NAMES).join(', ')}`)
}

/** `[Kind/]name` */
function workload(value: string): Workload {
  const slash = value.indexOf('/')
  return slash < 0 ? { name: value, kind: '' } : { kind: value.slice(0, slash), name: value.slice(slash + 1) }
}

function member<T extends number>(names: Readonly<Record<string, T>>, what: string): (value: string) => T {
  return (value) => {
    if (Object.hasOwn(names, value)) return names[value]!
    throw new RangeError(`want ${what}`)
  }
}

const VERDICTS = Object.keys(Verdict).filter((name) => name !== 'VERDICT_UNKNOWN')

function direction(value: string): TrafficDirection {
  if (/^ingress$/i.test(value)) return TrafficDirection.INGRESS
  if (/^egress$/i.test(value)) return TrafficDirection.EGRESS
  throw new RangeError('want ingress or egress')
}

/** `syn,ack`: all of them in one flow. */
function tcpFlags(value: string): TCPFlags {
  const flags = TCPFlags.fromPartial({})
  for (const name of value.split(',')) {
    const key = name.toUpperCase()
    if (!Object.hasOwn(flags, key)) throw new RangeError(`want names of ${Object.keys(flags).join(', ').toLowerCase()}`)
    flags[key as keyof TCPFlags] = true
  }
  return flags
}

function ipVersion(value: string): IPVersion {
  if (/^v4$/i.test(value)) return IPVersion.IPv4
  if (/^v6$/i.test(value)) return IPVersion.IPv6
  if (/^none$/i.test(value)) return IPVersion.IP_NOT_USED
  throw new RangeError('want none, v4 or v6')
}

/** `key:value`, split at the first colon, nothing trimmed. */
function header(value: string): { key: string; value: string } {
  const colon = value.indexOf(':')
  if (colon < 0) throw new RangeError('want name:value')
  return { key: value.slice(0, colon), value: value.slice(colon + 1) }
}

/** `TYPE[:SUBTYPE]`, each by name or number. */
function eventType(value: string): { type: number; match_sub_type: boolean; sub_type: number } {
  const colon = value.indexOf(':')
  const typeText = colon < 0 ? value : value.slice(0, colon)
  const type = Object.hasOwn(EVENT_TYPES, typeText) ? EVENT_TYPES[typeText]! : number(typeText)
  if (type === undefined) throw new RangeError(`want a number or one of ${Object.keys(EVENT_TYPES).join(', ')}`)
  if (colon < 0) return { type, match_sub_type: false, sub_type: 0 }
  const subText = value.slice(colon + 1)
  const named = type === EVENT_TYPE_TRACE ? TRACE_SUB_TYPES.indexOf(subText as (typeof TRACE_SUB_TYPES)[number]) : -1
  const subType = named >= 0 ? named : number(subText)
  if (subType !== undefined) return { type, match_sub_type: true, sub_type: subType }
  throw new RangeError(
    type === EVENT_TYPE_TRACE
      ? `want a sub-type that is a number or one of ${TRACE_SUB_TYPES.join(', ')}`
      : 'want a sub-type that is a number',
  )
}

function number(value: string): number | undefined {
  return /^\d+$/.test(value) && Number(value) <= 0x7fff_ffff ? Number(value) : undefined
}

function traceId(value: string): bigint {
  if (/^\d+$/.test(value) && BigInt(value) > 0n && BigInt(value) < 1n << 64n) return BigInt(value)
  throw new RangeError('want a number from 1 to 2^64 - 1')
}

const cel: FilterFlag['apply'] = ({ left, right }, value) => {
  for (const { filter } of [left, right]) {
    filter.experimental ??= { cel_expression: [] }
    filter.experimental.cel_expression.push(value)
  }
}

const POD = '[namespace/]pod, a prefix'
const SERVICE = '[namespace/]service, a prefix'

/** Every filter flag of `observe`, with Hubble's names and meanings. */
export const FILTER_FLAGS: readonly FilterFlag[] = [
  { name: 'from-pod', value: 'pod', help: `flows from this pod (${POD})`, apply: fromNames('pods') },
  { name: 'to-pod', value: 'pod', help: `flows to this pod (${POD})`, apply: toNames('pods') },
  { name: 'pod', value: 'pod', help: `flows from or to this pod (${POD})`, apply: eitherNames('pods') },
  { name: 'from-namespace', value: 'namespace', help: 'flows from this namespace', apply: fromNames('namespaces') },
  { name: 'to-namespace', value: 'namespace', help: 'flows to this namespace', apply: toNames('namespaces') },
  {
    name: 'namespace',
    short: 'n',
    value: 'namespace',
    help: 'flows from or to this namespace; put before names of --pod and --service',
    apply: eitherNames('namespaces'),
  },
  {
    name: 'from-all-namespaces',
    help: 'flows from any namespace; --from-pod names match in all of them',
    apply: fromNames('namespaces', anyNamespace),
  },
  {
    name: 'to-all-namespaces',
    help: 'flows to any namespace; --to-pod names match in all of them',
    apply: toNames('namespaces', anyNamespace),
  },
  {
    name: 'all-namespaces',
    short: 'A',
    help: 'flows of any namespace; --pod names match in all of them',
    apply: eitherNames('namespaces', anyNamespace),
  },
  {
    name: 'from-service',
    value: 'service',
    help: `flows from this service (${SERVICE})`,
    apply: fromNames('services'),
  },
  { name: 'to-service', value: 'service', help: `flows to this service (${SERVICE})`, apply: toNames('services') },
  {
    name: 'service',
    value: 'service',
    help: `flows from or to this service (${SERVICE})`,
    apply: eitherNames('services'),
  },
  {
    name: 'from-workload',
    value: 'workload',
    help: 'flows from this workload ([Kind/]name)',
    apply: both('source_workload', workload),
  },
  {
    name: 'to-workload',
    value: 'workload',
    help: 'flows to this workload ([Kind/]name)',
    apply: both('destination_workload', workload),
  },
  {
    name: 'workload',
    value: 'workload',
    help: 'flows from or to this workload ([Kind/]name)',
    apply: either('source_workload', 'destination_workload', workload),
  },
  {
    name: 'from-label',
    value: 'selector',
    help: 'flows from endpoints with these labels',
    apply: both('source_label', text),
  },
  {
    name: 'to-label',
    value: 'selector',
    help: 'flows to endpoints with these labels',
    apply: both('destination_label', text),
  },
  {
    name: 'label',
    short: 'l',
    value: 'selector',
    help: 'flows from or to endpoints with these labels (app=web, reserved:world)',
    apply: either('source_label', 'destination_label', text),
  },
  { name: 'from-ip', value: 'ip', help: 'flows from this address or CIDR', apply: both('source_ip', text) },
  { name: 'to-ip', value: 'ip', help: 'flows to this address or CIDR', apply: both('destination_ip', text) },
  {
    name: 'ip',
    value: 'ip',
    help: 'flows from or to this address or CIDR',
    apply: either('source_ip', 'destination_ip', text),
  },
  {
    name: 'snat-ip',
    value: 'ip',
    help: 'flows translated to this source address',
    apply: both('source_ip_xlated', text),
  },
  {
    name: 'from-fqdn',
    value: 'name',
    help: 'flows from this DNS name (*.example.com)',
    apply: both('source_fqdn', text),
  },
  { name: 'to-fqdn', value: 'name', help: 'flows to this DNS name', apply: both('destination_fqdn', text) },
  {
    name: 'fqdn',
    value: 'name',
    help: 'flows from or to this DNS name',
    apply: either('source_fqdn', 'destination_fqdn', text),
  },
  { name: 'from-port', value: 'port', help: 'flows from this port', apply: both('source_port', text) },
  { name: 'to-port', value: 'port', help: 'flows to this port', apply: both('destination_port', text) },
  {
    name: 'port',
    value: 'port',
    help: 'flows from or to this port',
    apply: either('source_port', 'destination_port', text),
  },
  {
    name: 'from-identity',
    value: 'identity',
    help: 'flows from this security identity (number, host, world, ...)',
    apply: both('source_identity', identity),
  },
  {
    name: 'to-identity',
    value: 'identity',
    help: 'flows to this security identity',
    apply: both('destination_identity', identity),
  },
  {
    name: 'identity',
    value: 'identity',
    help: 'flows from or to this security identity',
    apply: either('source_identity', 'destination_identity', identity),
  },
  {
    name: 'from-cluster',
    value: 'cluster',
    help: 'flows from this cluster',
    apply: both('source_cluster_name', text),
  },
  {
    name: 'to-cluster',
    value: 'cluster',
    help: 'flows to this cluster',
    apply: both('destination_cluster_name', text),
  },
  {
    name: 'cluster',
    value: 'cluster',
    help: 'flows from or to this cluster',
    apply: either('source_cluster_name', 'destination_cluster_name', text),
  },
  {
    name: 'protocol',
    value: 'protocol',
    help: 'tcp, udp, icmp, icmpv4, icmpv6, sctp, vrrp, igmp, dns, http, kafka',
    apply: both('protocol', text),
  },
  {
    name: 'tcp-flags',
    value: 'flags',
    help: 'TCP flows with all of these flags (syn,ack)',
    apply: both('tcp_flags', tcpFlags),
  },
  {
    name: 'type',
    short: 't',
    value: 'type',
    help: 'TYPE[:SUBTYPE]: drop, l7, policy-verdict, trace, trace-sock, capture; trace:to-stack',
    apply: both('event_type', eventType),
  },
  {
    name: 'verdict',
    value: 'verdict',
    help: VERDICTS.join(', '),
    apply: both('verdict', member<Verdict>(Verdict, `one of ${VERDICTS.join(', ')}`)),
  },
  {
    name: 'drop-reason-desc',
    value: 'reason',
    help: 'dropped flows with this reason (POLICY_DENIED, ...)',
    apply: both('drop_reason_desc', member<DropReason>(DropReason, 'the name of a drop reason, as POLICY_DENIED')),
  },
  {
    name: 'traffic-direction',
    value: 'direction',
    help: 'ingress or egress',
    apply: both('traffic_direction', direction),
  },
  { name: 'ip-version', value: 'version', help: 'none, v4 or v6', apply: both('ip_version', ipVersion) },
  { name: 'ipv4', short: '4', help: 'IPv4 flows', apply: both('ip_version', () => IPVersion.IPv4) },
  { name: 'ipv6', short: '6', help: 'IPv6 flows', apply: both('ip_version', () => IPVersion.IPv6) },
  {
    name: 'http-status',
    value: 'status',
    help: 'status code or its beginning (404, 5+)',
    apply: both('http_status_code', text),
  },
  { name: 'http-method', value: 'method', help: 'HTTP method', apply: both('http_method', text) },
  { name: 'http-path', value: 'regex', help: 'regular expression for the path', apply: both('http_path', text) },
  { name: 'http-url', value: 'regex', help: 'regular expression for the URL', apply: both('http_url', text) },
  { name: 'http-header', value: 'name:value', help: 'HTTP header', apply: both('http_header', header) },
  { name: 'trace-id', value: 'id', help: 'W3C trace id', apply: both('trace_id', text) },
  { name: 'ip-trace-id', value: 'number', help: 'trace id in an IP option', apply: both('ip_trace_id', traceId) },
  {
    name: 'node-name',
    value: 'name',
    help: 'flows seen on this node ([cluster/]node, * allowed)',
    apply: both('node_name', text),
  },
  {
    name: 'node-label',
    value: 'selector',
    help: 'flows seen on nodes with these labels',
    apply: both('node_labels', text),
  },
  {
    name: 'interface',
    value: 'device',
    help: 'flows seen at this device',
    apply: both('interface', (name) => ({ index: 0, name })),
  },
  { name: 'encrypted', help: 'encrypted flows', apply: both('encrypted', () => true) },
  { name: 'unencrypted', help: 'flows that are not encrypted', apply: both('encrypted', () => false) },
  { name: 'uuid', value: 'uuid', help: 'the flow with this id', apply: both('uuid', text) },
  { name: 'cel-expression', value: 'expression', help: 'CEL expression over _flow', apply: cel },
]

/** Flags that look at the same end in ways that exclude each other. Each row: every one of the first with every one of the rest. */
const EXCLUSIVE: readonly (readonly [readonly string[], readonly string[]])[] = [
  [['all-namespaces'], ['from-all-namespaces', 'from-namespace', 'from-pod', 'from-service']],
  [['all-namespaces'], ['to-all-namespaces', 'to-namespace', 'to-pod', 'to-service']],
  [['all-namespaces'], ['namespace', 'fqdn', 'ip', 'from-fqdn', 'to-fqdn', 'from-ip', 'to-ip']],
  [['namespace'], ['from-all-namespaces', 'from-namespace', 'from-pod', 'from-service']],
  [['namespace'], ['to-all-namespaces', 'to-namespace', 'to-pod', 'to-service']],
  [['namespace'], ['fqdn', 'ip', 'from-fqdn', 'to-fqdn', 'from-ip', 'to-ip']],
  [['pod'], ['from-pod', 'to-pod', 'fqdn', 'ip', 'from-fqdn', 'to-fqdn', 'from-ip', 'to-ip']],
  [['service'], ['from-service', 'to-service']],
  [
    ['ip', 'fqdn'],
    ['from-ip', 'from-fqdn', 'from-pod', 'from-namespace', 'from-all-namespaces'],
  ],
  [
    ['ip', 'fqdn'],
    ['to-ip', 'to-fqdn', 'to-pod', 'to-namespace', 'to-all-namespaces'],
  ],
  [['ip'], ['fqdn']],
  [
    ['from-ip', 'from-fqdn'],
    ['from-pod', 'from-namespace', 'from-all-namespaces'],
  ],
  [['from-ip'], ['from-fqdn']],
  [['from-namespace'], ['from-all-namespaces']],
  [
    ['to-ip', 'to-fqdn'],
    ['to-pod', 'to-namespace', 'to-all-namespaces'],
  ],
  [['to-ip'], ['to-fqdn']],
  [['to-namespace'], ['to-all-namespaces']],
  [['label'], ['from-label', 'to-label']],
  [['port'], ['from-port', 'to-port']],
  [['identity'], ['from-identity', 'to-identity']],
  [['workload'], ['from-workload', 'to-workload']],
  [['encrypted'], ['unencrypted']],
]

/** Flags by name that cannot go with a flag. */
export const EXCLUSIVE_FLAGS: ReadonlyMap<string, ReadonlySet<string>> = exclusivePairs()

function exclusivePairs(): Map<string, Set<string>> {
  const pairs = new Map<string, Set<string>>()
  const add = (a: string, b: string) => {
    const others = pairs.get(a) ?? new Set()
    pairs.set(a, others.add(b))
  }
  for (const [left, right] of EXCLUSIVE) {
    for (const a of left) {
      for (const b of right) {
        add(a, b)
        add(b, a)
      }
    }
  }
  return pairs
}
