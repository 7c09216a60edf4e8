import { flowFilterPredicate } from '../../filters/hubble/index.ts'
import type { FlowFilterMessage } from '../../filters/hubble/message.ts'
import { allOf, anyOf, not, type Predicate } from '../../filters/predicate.ts'
import type { FilterConsumer, RuleSet } from '../../filters/rules.ts'
import type { Endpoint } from '../../model/endpoint.ts'
import type { L7Record } from '../../model/l7.ts'
import { EventKind } from '../../model/layouts.gen.ts'
import type { Random } from '../interop/filters-oracle/random.ts'
import type {
  OracleConsumer,
  OracleEnd,
  OracleFilter,
  OracleFlow,
  OracleRequirement,
  OracleRule,
  OracleTest,
  Side,
} from './filter-oracle.ts'
import type { FlowSpec } from './flow-store.ts'

/** Random filters and flows that meet often, and their translation into what is under test. */

const NAMESPACES = ['default', 'shop', 'traffic']
const NAMES = ['http-1', 'http-2', 'fortio-0', 'web', 'web-api']
const APPS = ['web', 'db', 'cache']
const PORTS = [0, 53, 80, 443, 8080, 40000]
const QUERIES = ['api.example.com.', 'db.shop.svc.', 'x.']
const METHODS = ['GET', 'POST']
const KINDS = ['KIND_FLOW', 'KIND_TCP_FLAG', 'KIND_DROP', 'KIND_DNS', 'KIND_HTTP'] as const
const DROP_REASONS = [0, 133, 181]

/** Who there is: pods of several namespaces with one or two addresses, and the world. */
export interface Population {
  readonly pods: readonly OracleEnd[]
  readonly world: readonly OracleEnd[]
}

export const WORLD_IPS4 = ['203.0.113.9', '203.0.113.130', '198.51.100.7', '198.51.100.99', '8.8.8.8']
export const WORLD_IPS6 = ['2001:db8::9', '2001:db8:1::9', '2600::1']

export function makePopulation(random: Random, pods: number): Population {
  const make = (index: number): OracleEnd[] => {
    const namespace = random.pick(NAMESPACES)
    const labels: Record<string, string> = { 'io.kubernetes.pod.namespace': namespace }
    if (random.chance(0.8)) labels['app'] = random.pick(APPS)
    if (random.chance(0.3)) labels['tier'] = random.pick(['1', '2'])
    const facts = {
      namespace,
      pod: `${random.pick(NAMES)}-${index}`,
      labels,
      workload: random.chance(0.6) ? { name: random.pick(APPS), kind: random.pick(['Deployment', 'Job']) } : undefined,
      identity: 0,
      port: 0,
    }
    return [
      { ...facts, ip: `10.0.${index >> 8}.${(index & 255) + 1}` },
      { ...facts, ip: `fd00::${(index + 1).toString(16)}` },
    ]
  }
  const outside = (ip: string): OracleEnd => ({
    ip,
    port: 0,
    namespace: '',
    pod: '',
    labels: {},
    workload: undefined,
    identity: 2,
  })
  return {
    pods: Array.from({ length: pods }, (_, index) => make(index)).flat(),
    world: [...WORLD_IPS4, ...WORLD_IPS6].map(outside),
  }
}

/** A flow as the kernel can see it: at a pod's interface, messages over what carries them. */
export function makeFlow(random: Random, { pods, world }: Population): OracleFlow {
  const local = random.pick(pods)
  const family = local.ip.includes(':') ? 6 : 4
  const peers = (random.chance(0.6) ? pods : world).filter(
    ({ ip, pod }) => ip.includes(':') === (family === 6) && (pod === '' || ip !== local.ip),
  )
  const peer = random.pick(peers)
  const kind = random.pick(KINDS)
  const protocol =
    kind === 'KIND_TCP_FLAG' || kind === 'KIND_HTTP'
      ? 'tcp'
      : kind === 'KIND_DNS'
        ? random.pick(['udp', 'udp', 'tcp'] as const)
        : random.pick(['tcp', 'tcp', 'udp', 'sctp', family === 4 ? 'icmp' : 'icmpv6'] as const)
  const hasPorts = !protocol.startsWith('icmp')
  const ended = (end: OracleEnd): OracleEnd => ({ ...end, port: hasPorts ? random.pick(PORTS) : 0 })
  const isFromPod = random.chance(0.5)
  const isTcp = protocol === 'tcp'
  return {
    source: ended(isFromPod ? local : peer),
    destination: ended(isFromPod ? peer : local),
    protocol,
    family,
    direction: random.pick(['ingress', 'egress'] as const),
    isReply: random.chance(0.4),
    kind,
    flags: !isTcp ? 0 : kind === 'KIND_TCP_FLAG' ? random.pick([2, 18, 17, 4]) : kind === 'KIND_FLOW' ? 16 : 2,
    dropReason: kind === 'KIND_DROP' ? random.pick(DROP_REASONS) : 0,
    ...(kind === 'KIND_DNS' && { dns: { query: random.pick(QUERIES) } }),
    ...(kind === 'KIND_HTTP' && { http: { method: random.pick(METHODS), code: random.pick([0, 200, 404]) } }),
  }
}

const makeSide = (random: Random): Side => random.pick(['source', 'destination'])

const TESTS: readonly ((random: Random) => OracleTest)[] = [
  (random) => ({ field: 'pod', side: makeSide(random), values: random.list(1, 3, () => makePod(random)) }),
  (random) => ({ field: 'pod', side: makeSide(random), values: random.list(1, 3, () => makePod(random)) }),
  (random) => ({ field: 'label', side: makeSide(random), values: random.list(1, 2, () => makeSelector(random)) }),
  (random) => ({ field: 'label', side: makeSide(random), values: random.list(1, 2, () => makeSelector(random)) }),
  (random) => ({
    field: 'workload',
    side: makeSide(random),
    values: random.list(1, 2, () =>
      random.pick([{ name: 'web' }, { kind: 'Job' }, { name: 'db', kind: 'Deployment' }]),
    ),
  }),
  (random) => ({
    field: 'identity',
    side: makeSide(random),
    values: random.list(1, 2, () => random.pick([1, 2, 6, 16_777_217])),
  }),
  (random) => ({ field: 'ip', side: makeSide(random), values: random.list(1, 4, () => makeRange(random)) }),
  (random) => ({ field: 'ip', side: makeSide(random), values: random.list(1, 4, () => makeRange(random)) }),
  (random) => ({ field: 'port', side: makeSide(random), values: random.list(1, 3, () => random.pick(PORTS)) }),
  (random) => ({ field: 'protocol', values: random.list(1, 2, () => random.pick(['tcp', 'udp', 'dns', 'http'])) }),
  (random) => ({
    field: 'protocol',
    values: random.list(1, 3, () =>
      random.pick(['tcp', 'udp', 'sctp', 'icmp', 'icmpv4', 'icmpv6', 'dns', 'http', 'kafka']),
    ),
  }),
  (random) => ({
    field: 'verdict',
    values: random.list(1, 2, () => random.pick(['FORWARDED', 'DROPPED', 'REDIRECTED'] as const)),
  }),
  (random) => ({ field: 'dropReason', values: random.list(1, 2, () => random.pick(DROP_REASONS)) }),
  (random) => ({ field: 'reply', values: random.list(1, 2, () => random.chance(0.5)) }),
  (random) => ({
    field: 'direction',
    values: random.list(1, 2, () => random.pick(['ingress', 'egress', 'unknown'] as const)),
  }),
  (random) => ({ field: 'ipVersion', values: random.list(1, 2, () => random.pick([4, 6] as const)) }),
  (random) => ({
    field: 'eventType',
    values: random.list(1, 2, () =>
      random.pick<{ type: number; subType?: number }>([
        { type: 1 },
        { type: 4 },
        { type: 129 },
        { type: 0 },
        { type: 1, subType: 133 },
        { type: 129, subType: 0 },
        { type: 129, subType: 1 },
      ]),
    ),
  }),
  (random) => ({ field: 'tcpFlags', values: random.list(1, 2, () => random.pick([2, 16, 18, 4, 0])) }),
  (random) => ({ field: 'dnsQuery', values: random.list(1, 2, () => random.pick(['example', 'shop', 'x'])) }),
  (random) => ({ field: 'httpMethod', values: [random.pick(METHODS)] }),
  (random) => ({ field: 'httpStatus', values: [random.pick([200, 404])] }),
  (random) => ({ field: 'nodeName', values: [random.pick(['node-1', 'node-2'])] }),
  (random) => ({
    field: 'nodeLabel',
    values: [[{ key: 'zone', op: random.pick(['in', 'notin'] as const), values: [random.pick(['a', 'b'])] }]],
  }),
  (random) => ({ field: 'clusterName', side: makeSide(random), values: [random.pick(['default', 'other'])] }),
  (random) => ({ field: 'encrypted', values: [random.chance(0.5)] }),
  (random) => ({ field: 'traceId', values: [random.pick(['', 'abc'])] }),
]

function makePod(random: Random): string {
  const name = random.chance(0.3) ? '' : random.pick(NAMES).slice(0, 2 + random.below(5))
  if (random.chance(0.15)) return name === '' ? 'web' : name
  return `${random.chance(0.2) ? '' : random.pick(NAMESPACES)}/${name}`
}

function makeSelector(random: Random): OracleRequirement[] {
  return random.list(1, 2, (): OracleRequirement => {
    const key = random.pick(['app', 'tier', 'io.kubernetes.pod.namespace'])
    const values = key === 'app' ? APPS : key === 'tier' ? ['1', '2'] : NAMESPACES
    return {
      key,
      op: random.pick(['in', 'in', 'in', 'notin', 'exists', 'missing'] as const),
      values: random.list(1, 2, () => random.pick(values)),
    }
  })
}

function makeRange(random: Random): string {
  return random.pick([
    '10.0.0.0/8',
    '10.0.0.0/30',
    '10.0.0.1',
    '10.0.0.2/31',
    '203.0.113.0/24',
    '203.0.113.128/25',
    '203.0.113.9',
    '0.0.0.0/0',
    '0.0.0.0/1',
    '::/0',
    'fd00::/8',
    'fd00::1',
    'fd00::/126',
    '2001:db8::/32',
    '2001:db8:1::/48',
  ])
}

export function makeFilter(random: Random, depth = 2): OracleFilter {
  if (depth === 0 || random.chance(0.45)) return random.pick(TESTS)(random)
  const of = () => random.list(1, 3, () => makeFilter(random, depth - 1))
  return random.pick([
    () => ({ and: of() }),
    () => ({ and: of() }),
    () => ({ or: of() }),
    () => ({ not: makeFilter(random, depth - 1) }),
  ])()
}

export function makeConsumer(random: Random): OracleConsumer {
  return {
    kinds: random.chance(0.6) ? KINDS : random.list(1, 3, () => random.pick(KINDS)),
    isOn: random.chance(0.95),
    rules: random.list(
      0,
      4,
      (): OracleRule => ({
        effect: random.chance(0.7) ? 'include' : 'exclude',
        filter: makeFilter(random),
      }),
    ),
  }
}

/** The same filters as predicates: each test by way of Hubble's own filter messages. */
export function predicateOf(filter: OracleFilter): Predicate {
  if ('and' in filter) return allOf(...filter.and.map(predicateOf))
  if ('or' in filter) return anyOf(...filter.or.map(predicateOf))
  if ('not' in filter) return not(predicateOf(filter.not))
  return flowFilterPredicate(messageOf(filter))
}

function messageOf(test: OracleTest): FlowFilterMessage {
  const sided = (name: string, value: unknown) => ({ [`${'side' in test ? test.side : ''}_${name}`]: value })
  switch (test.field) {
    case 'pod':
      return sided('pod', test.values)
    case 'label':
      return sided('label', test.values.map(selectorText))
    case 'workload':
      return sided('workload', test.values)
    case 'identity':
      return sided('identity', test.values)
    case 'ip':
      return sided('ip', test.values)
    case 'port':
      return sided('port', test.values.map(String))
    case 'protocol':
      return { protocol: test.values }
    case 'verdict':
      return { verdict: test.values.map((name) => ({ FORWARDED: 1, DROPPED: 2, REDIRECTED: 5 })[name]) }
    case 'dropReason':
      return { drop_reason_desc: test.values }
    case 'reply':
      return { reply: test.values }
    case 'direction':
      return { traffic_direction: test.values.map((name) => ({ unknown: 0, ingress: 1, egress: 2 })[name]) }
    case 'ipVersion':
      return { ip_version: test.values.map((family) => (family === 4 ? 1 : 2)) }
    case 'eventType':
      return {
        event_type: test.values.map(({ type, subType }) => ({
          type,
          ...(subType !== undefined && { match_sub_type: true, sub_type: subType }),
        })),
      }
    case 'tcpFlags':
      return {
        tcp_flags: test.values.map((mask) => ({
          FIN: !!(mask & 1),
          SYN: !!(mask & 2),
          RST: !!(mask & 4),
          ACK: !!(mask & 16),
        })),
      }
    case 'dnsQuery':
      return { dns_query: test.values }
    case 'httpMethod':
      return { http_method: test.values }
    case 'httpStatus':
      return { http_status_code: test.values.map(String) }
    case 'nodeName':
      return { node_name: test.values }
    case 'nodeLabel':
      return { node_labels: test.values.map(selectorText) }
    case 'clusterName':
      return sided('cluster_name', test.values)
    case 'encrypted':
      return { encrypted: test.values }
    case 'traceId':
      return { trace_id: test.values }
  }
}

function selectorText(requirements: readonly OracleRequirement[]): string {
  return requirements
    .map(({ key, op, values }) => {
      if (op === 'exists') return key
      if (op === 'missing') return `!${key}`
      return `${key} ${op} (${values.join(',')})`
    })
    .join(',')
}

const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132, icmp: 1, icmpv6: 58 } as const

/** What the collector would know of an end. */
export function endpointOf(end: OracleEnd): Omit<Endpoint, 'ref'> {
  const isPod = end.pod !== ''
  return {
    id: 0,
    identity: end.identity,
    namespace: end.namespace,
    podName: end.pod,
    podUid: '',
    labels: isPod ? Object.entries(end.labels).map(([key, value]) => `k8s:${key}=${value}`) : ['reserved:world'],
    workloads: end.workload === undefined ? [] : [end.workload],
    clusterName: isPod ? 'default' : '',
    isLocal: false,
  }
}

/** The flow as a record of the history. */
export function specOf(flow: OracleFlow, consumers = 0xffff_ffff): FlowSpec {
  const isDrop = flow.kind === 'KIND_DROP'
  const l7: L7Record | undefined =
    flow.dns !== undefined
      ? { type: flow.isReply ? 2 : 1, latencyNs: 0, traceId: '', dns: { ...NO_DNS, ...flow.dns } }
      : flow.http !== undefined
        ? { type: flow.isReply ? 2 : 1, latencyNs: 0, traceId: '', http: { ...NO_HTTP, ...flow.http } }
        : undefined
  return {
    srcIp: flow.source.ip,
    dstIp: flow.destination.ip,
    srcPort: flow.source.port,
    dstPort: flow.destination.port,
    protocol: PROTOCOLS[flow.protocol],
    l4Info: flow.flags,
    verdict: isDrop ? 2 : 1,
    hubbleReason: flow.dropReason,
    isReply: flow.isReply,
    direction: flow.direction,
    source: endpointOf(flow.source),
    destination: endpointOf(flow.destination),
    consumers,
    ...(l7 && { l7 }),
  }
}

const NO_DNS = { ips: [], ttl: 0, cnames: [], observationSource: 'kernel', rcode: 0, qtypes: ['A'], rrtypes: [] }
const NO_HTTP = { url: '/', protocol: 'HTTP/1.1', headers: [] }

/** A rule set of consumers with bits from 0 on. */
export function ruleSetOf(consumers: readonly OracleConsumer[]): RuleSet {
  return {
    consumers: consumers.map(
      ({ kinds, isOn, rules }, bit): FilterConsumer => ({
        name: `consumer/${bit}`,
        bit,
        isOn,
        kinds: kinds.reduce((bits, kind) => bits | (1 << EventKind[kind]), 0),
        rules: rules.map(({ effect, filter }, index) => ({
          id: `${bit}/${index}`,
          effect,
          predicate: predicateOf(filter),
          origin: { kind: 'query', name: 'test', path: '', label: '', text: JSON.stringify(filter) },
        })),
      }),
    ),
  }
}
