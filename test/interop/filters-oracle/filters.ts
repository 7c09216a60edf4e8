import { makeCel } from './cel.ts'
import { POOL } from './flows.ts'
import type { Random } from './random.ts'

/** FlowFilter in protobuf's JSON form. */
export type FilterJson = Record<string, unknown>

type MakeField = (random: Random) => unknown

/** Values of each field: mostly ones that flows have, some that are nearly right, some that are wrong. */
export const FIELD_MAKERS: Readonly<Record<string, MakeField>> = {
  ...sides('ip', (random) => random.list(1, 3, () => makeIp(random))),
  source_ip_xlated: (random) => random.list(1, 2, () => makeIp(random)),
  ...sides('pod', (random) => random.list(1, 2, () => makeNamespaced(random, POOL.pods))),
  ...sides('service', (random) => random.list(1, 2, () => makeNamespaced(random, POOL.services))),
  ...sides('fqdn', (random) => random.list(1, 2, () => makeGlob(random, POOL.names))),
  ...sides('label', (random) => random.list(1, 2, () => makeSelector(random))),
  ...sides('workload', (random) => random.list(1, 2, () => makeWorkload(random))),
  ...sides('cluster_name', (random) =>
    random.list(1, 2, () => (random.chance(0.05) ? '' : random.pick(['default', 'cl1', 'cl2', 'cl*']))),
  ),
  ...sides('identity', (random) => random.list(1, 3, () => random.pick(POOL.identities))),
  ...sides('port', (random) =>
    random.list(1, 4, () =>
      random.chance(0.05) ? random.pick(['', '-1', '65536', '0x50', '80-90', ' 80']) : makePort(random),
    ),
  ),
  verdict: (random) =>
    random.list(1, 3, () => random.pick(['FORWARDED', 'DROPPED', 'ERROR', 'AUDIT', 'REDIRECTED', 1, 0, 7])),
  drop_reason_desc: (random) =>
    random.list(1, 3, () => random.pick(['POLICY_DENIED', 'DROP_REASON_UNKNOWN', 'POLICY_DENY', 203, 133])),
  traffic_direction: (random) =>
    random.list(1, 2, () => random.pick(['INGRESS', 'EGRESS', 'TRAFFIC_DIRECTION_UNKNOWN', 2])),
  reply: (random) => random.list(1, 2, () => random.chance(0.5)),
  encrypted: (random) => random.list(1, 2, () => random.chance(0.5)),
  ip_version: (random) => random.list(1, 2, () => random.pick(['IPv4', 'IPv6', 'IP_NOT_USED', 9])),
  protocol: (random) =>
    random
      .list(1, 3, () =>
        random.pick(['tcp', 'TCP', 'udp', 'icmp', 'icmpv4', 'ICMPv6', 'sctp', 'vrrp', 'igmp', 'dns', 'HTTP', 'kafka']),
      )
      .concat(random.chance(0.04) ? random.pick(['', 'quic', '6']) : []),
  event_type: (random) => random.list(1, 2, () => makeEventType(random)),
  tcp_flags: (random) =>
    random.list(1, 2, () => random.pick([{ SYN: true }, { SYN: true, ACK: true }, {}, { FIN: true }, { NS: true }])),
  interface: (random) =>
    random.list(1, 2, () =>
      random.pick([{ index: 7 }, { name: 'veth3' }, { index: 3, name: 'veth3' }, {}, { name: 'x' }]),
    ),
  uuid: (random) => random.list(1, 2, () => random.pick(['00000000-0000-4000-8000-000000000000', '', 'x'])),
  node_name: (random) => random.list(1, 2, () => makeNodeGlob(random)),
  node_labels: (random) => random.list(1, 2, () => makeSelector(random)),
  dns_query: (random) => random.list(1, 2, () => makeRegex(random, POOL.queries)),
  http_status_code: (random) =>
    random.list(1, 3, () =>
      random.pick(['200', '2+', '40+', '404', '5+', '503', ...(random.chance(0.1) ? BAD_CODES : [])]),
    ),
  http_method: (random) => random.list(1, 2, () => random.pick(['GET', 'post', 'patch', 'DELETE', ''])),
  http_path: (random) => random.list(1, 2, () => makeRegex(random, POOL.urls)),
  http_url: (random) => random.list(1, 2, () => makeRegex(random, POOL.urls)),
  http_header: (random) => random.list(1, 2, () => random.pick([...POOL.headers, { key: 'Host' }, {}])),
  trace_id: (random) => random.list(1, 2, () => random.pick(POOL.traceIds)),
  ip_trace_id: (random) => random.list(1, 2, () => random.pick(['0', '1', '18446744073709551615', 0])),
}

const BAD_CODES = ['600', '20', '2', '200+', 'ok', '', '0+']

/** How many filters have an expression. */
const CEL_SHARE = 0.15

/** One to four fields, sometimes none; now and then built around one uuid of a flow. */
export function makeFilter(random: Random, uuids: readonly string[]): FilterJson {
  const names = Object.keys(FIELD_MAKERS)
  const filter: FilterJson = {}
  if (random.chance(CEL_SHARE))
    filter['experimental'] = { cel_expression: random.list(1, random.pick([1, 1, 2]), () => makeCel(random)) }
  const count = random.pick([0, 1, 1, 1, 1, 2, 2, 3, 4])
  for (let i = 0; i < count; i++) {
    const name = random.pick(names)
    filter[name] = FIELD_MAKERS[name]!(random)
  }
  if (filter['uuid'] && random.chance(0.7)) filter['uuid'] = [random.pick(uuids), random.pick(uuids)]
  return filter
}

function sides(name: string, make: MakeField): Record<string, MakeField> {
  return { [`source_${name}`]: make, [`destination_${name}`]: make }
}

function makePort(random: Random): string {
  const port = String(random.pick(POOL.ports))
  return random.chance(0.1) ? `0${port}` : port
}

const IP_PARTS = [
  ':',
  '::',
  '.',
  '/',
  '0',
  '1',
  '10',
  'f',
  'fd00',
  '255',
  '256',
  '01',
  '%',
  'eth0',
  '8',
  '32',
  '64',
  '129',
  '1.2.3.4',
]

function makeIp(random: Random): string {
  if (random.chance(0.08)) return random.text(1, 8, IP_PARTS)
  const address = random.pick([...POOL.ipv4, ...POOL.ipv6])
  const variant = random.next()
  if (variant < 0.5) return address
  if (variant < 0.9)
    return `${address}/${random.pick([0, 1, 7, 8, 9, 16, 24, 25, 31, 32, ...(address.includes(':') ? [64, 127, 128] : [])])}`
  return random.pick([
    address.toUpperCase(),
    `::ffff:${address}`,
    `${address}/08`,
    `${address}/33`,
    `::ffff:10.0.0.0/104`,
    `${address}%eth0`,
    '2001:db8:0:0:0:0:a:b',
    '::ffff:0:0/96',
    '::/0',
  ])
}

function makeNamespaced(random: Random, names: readonly string[]): string {
  const name = random.pick(names).slice(0, 1 + random.below(6))
  const namespace = random.pick(POOL.namespaces)
  return random.pick([
    name,
    `${namespace}/${name}`,
    `${namespace}/`,
    `/${name}`,
    '/',
    `${namespace}/${name}/x`,
    `${namespace}/*`,
  ])
}

function makeWorkload(random: Random): object {
  return random.pick([...POOL.workloads, { name: 'cart' }, { kind: 'Deployment' }, {}, { name: 'CART' }])
}

const GLOB_PARTS = ['*', '.', '-', '_', 'a', 'api', 'example', '.com', 'X', ' ', 'é', '/', '1', 'www']

function makeGlob(random: Random, names: readonly string[]): string {
  if (random.chance(0.1)) return random.text(0, 5, GLOB_PARTS)
  const name = random.pick(names)
  return random.pick([
    name,
    `*.${name}`,
    `${name.slice(0, 4)}*`,
    name.replace('.', '*'),
    `${name}.`,
    name.toUpperCase(),
    ` ${name} `,
    '*',
    '*.*',
  ])
}

function makeNodeGlob(random: Random): string {
  if (random.chance(0.15)) return random.text(0, 5, GLOB_PARTS)
  return random.pick([
    'node-1',
    'node-*',
    '*',
    'cl1/',
    '/node-2',
    'cl1/node-*',
    'default/node-1',
    'default/',
    '*/*',
    '/',
    'NODE-1.',
    'a/b/c',
  ])
}

const SELECTOR_PARTS = [
  'app',
  'k8s:app',
  'any:app',
  'env',
  'tier',
  'reserved:host',
  'cidr:10.0.0.0/8',
  'cidr:10.0.0.0/7',
  '=',
  '==',
  '!=',
  '!',
  ' ',
  ',',
  '(',
  ')',
  'in',
  'notin',
  '>',
  '<',
  '3',
  '10',
  'web',
  'cart',
  'a:b',
  '.',
  '/',
  '-',
  '\t',
  '\u00a0',
  'in (web,db)',
  '()',
]

function makeSelector(random: Random): string {
  if (random.chance(0.25)) return random.text(0, 8, SELECTOR_PARTS)
  return random.list(1, 2, () => makeRequirement(random)).join(random.pick([',', ', ', ' ,']))
}

function makeRequirement(random: Random): string {
  const key = random.pick([
    'app',
    'k8s:app',
    'container:app',
    'app.kubernetes.io/name',
    'k8s:app.kubernetes.io/name',
    'env',
    'k8s:env',
    'unspec:env',
    'zone',
    'tier',
    'io.kubernetes.pod.namespace',
    'any:reserved',
  ])
  const value = random.pick(['cart', 'web', 'db', 'prod', 'shop', '', 'a', 'linux'])
  const other = random.pick(['cart', 'web', 'b', ''])
  return random.pick([
    `${key}=${value}`,
    `${key}==${value}`,
    `${key}!=${value}`,
    `${key} in (${value},${other})`,
    `${key} notin (${value}, ${other})`,
    key,
    `!${key}`,
    `${random.pick(['tier', 'k8s:tier'])}${random.pick(['>', '<'])}${random.pick(['5', '3', '12', 'x', ''])}`,
    random.pick([
      'reserved:host',
      'reserved:world',
      'reserved:init',
      'reserved:unmanaged',
      '!reserved:host',
      'unmanaged',
    ]),
    random.pick([
      'cidr:10.0.0.0/8',
      'cidr:10.0.0.0/7',
      'cidr:203.0.113.9/32',
      'cidr:0.0.0.0/0',
      'cidr:fd00--/8',
      'cidr:fd00--/16',
    ]),
  ])
}

function makeEventType(random: Random): object {
  const type = random.pick([0, 1, 4, 5, 129, 129, 130])
  return random.pick([
    { type },
    { type, match_sub_type: true, sub_type: random.pick([0, 3, 5, 133, 2]) },
    { type, sub_type: 7 },
  ])
}

const REGEX_PARTS = [
  'a',
  '.',
  '*',
  '+',
  '?',
  '(',
  ')',
  '[',
  ']',
  '^',
  '$',
  '|',
  '\\.',
  '\\d',
  '\\z',
  '(?i)',
  '(?:',
  '{2}',
  '/',
  'api',
  'com',
  '\\',
  '[^a]',
  '\\pL',
]

function makeRegex(random: Random, texts: readonly string[]): string {
  if (random.chance(0.3)) return random.text(0, 6, REGEX_PARTS)
  const text = random.pick(texts)
  const part = text.slice(0, 1 + random.below(8)).replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  return random.pick([
    part,
    `^${part}`,
    `${part}$`,
    `(?i)${part.toUpperCase()}`,
    `^${part}.*`,
    '^/$',
    '.*',
    `(?:${part}|x)\\z`,
    '(?<name>a)',
    '(?=a)',
  ])
}
