import type { FlowView } from '../../../model/flow-view.ts'
import type { L7Record } from '../../../model/l7.ts'
import { type FlowSpec, TestFlowStore } from '../../helpers/flow-store.ts'
import type { Random } from './random.ts'

/** What flows and filters are both made of, so that they meet often. */
export const POOL = {
  ipv4: ['10.0.0.1', '10.0.0.2', '10.1.2.3', '192.168.1.10', '203.0.113.9', '10.0.0.255', '0.0.0.0'],
  ipv6: ['fd00::1', 'fd00::2', '2001:db8::a:b', '::1', 'fe80::1:0:0:1', '2001:db8:1:2:3:4:5:6'],
  namespaces: ['default', 'shop', 'kube-system', 'traffic', ''],
  pods: ['cart-0', 'cart-1', 'web-5f7d', 'coredns-abc', 'http', 'fortio-1', ''],
  labels: [
    'k8s:app=cart',
    'k8s:app=web',
    'k8s:app.kubernetes.io/name=web',
    'k8s:io.kubernetes.pod.namespace=shop',
    'k8s:tier=3',
    'k8s:tier=12',
    'container:app=db',
    'reserved:host',
    'reserved:world',
    'cidr:10.0.0.0/8',
    'cidr:203.0.113.0/24',
    'cidr:fd00--/16',
    'env=prod',
    'k8s:env',
    '$init',
    'reserved.unmanaged',
  ],
  workloads: [
    { name: 'cart', kind: 'StatefulSet' },
    { name: 'web', kind: 'Deployment' },
    { name: 'cart', kind: 'Deployment' },
  ],
  clusters: ['', 'default', 'cl1', 'cl2'],
  identities: [0, 1, 2, 7, 256, 20001, 16777217],
  names: ['api.example.com', 'www.example.com', 'example.com', 'a_b.example.org', 'localhost', 'x-1.y.z'],
  services: ['cart', 'web', 'kube-dns', ''],
  ports: [0, 53, 80, 443, 8080, 40000, 65535],
  protocols: [6, 6, 6, 17, 17, 1, 58, 132, 112, 2, 47],
  queries: ['api.example.com.', 'www.example.com.', '_http._tcp.shop.svc.', '.', ''],
  urls: [
    '/',
    '/api/v1/items?q=1',
    '/a%20b/c',
    '/a%2',
    'http://shop/cart',
    'http://shop',
    'http://u:p@shop:8080/x/y?z#f',
    'http://[fd00::1]:80/v6',
    'http://[fe80::1%25en0]/zone',
    'http://a b/c',
    'http://a:b/c',
    'mailto:x@y',
    '*',
    'relative/path',
    '//host/path',
    ':colon',
    '/with#fragment',
    '/?',
    '/caf%C3%A9',
    '',
  ],
  methods: ['GET', 'POST', 'get', 'PATCH', ''],
  codes: [0, 200, 204, 301, 404, 418, 503, 99, 1000],
  headers: [
    { key: 'X-Id', value: '1' },
    { key: 'x-id', value: '1' },
    { key: 'Host', value: 'shop' },
  ],
  traceIds: ['', '4bf92f3577b34da6a3ce929d0e0e4736', 'abc'],
  points: [0, 1, 2, 3, 5, 7, 10, 11, 101],
  flags: [0, 2, 18, 16, 24, 17, 4, 256, 194],
  interfaces: [0, 3, 7, 12],
} as const

const NODES = [
  { nodeName: 'node-1', nodeLabels: ['zone=a', 'kubernetes.io/os=linux'] },
  { nodeName: 'cl1/node-2', nodeLabels: ['k8s:zone=b', 'env=prod', 'tier=7'] },
  { nodeName: '', nodeLabels: [] },
]

/** Stores of three nodes with `count` flows each, and a view of each store. */
export function makeFlows(random: Random, count: number): { store: TestFlowStore; view: FlowView }[] {
  return NODES.map((node) => {
    const store = new TestFlowStore(count, node)
    for (let i = 0; i < count; i++) store.push(makeFlow(random))
    return { store, view: store.createView() }
  })
}

function makeFlow(random: Random): FlowSpec {
  const isIpv6 = random.chance(0.3)
  const ips = isIpv6 ? POOL.ipv6 : POOL.ipv4
  const l7 = random.chance(0.35) ? makeL7(random) : undefined
  const isDropped = random.chance(0.25)
  return {
    srcIp: random.pick(ips),
    dstIp: random.pick(ips),
    ipVersion: random.chance(0.03) ? 0 : isIpv6 ? 6 : 4,
    srcPort: random.pick(POOL.ports),
    dstPort: random.pick(POOL.ports),
    protocol: random.pick(POOL.protocols),
    l4Info: random.pick(POOL.flags),
    ifindex: random.pick(POOL.interfaces.slice(1)),
    verdict: isDropped ? 2 : random.pick([1, 1, 1, 0, 3, 5, 6, 7]),
    hubbleReason: isDropped ? random.pick([0, 133, 181, 203]) : 0,
    dropReason: isDropped ? random.pick([0, 3]) : 0,
    point: random.pick(POOL.points),
    isReply: random.pick([true, false, undefined]),
    direction: random.pick(['ingress', 'egress', 'unknown'] as const),
    encrypted: random.chance(0.2),
    source: makeEndpoint(random),
    destination: makeEndpoint(random),
    sourceNames: random.list(0, 2, () => random.pick(POOL.names)),
    destinationNames: random.list(0, 2, () => random.pick(POOL.names)),
    ...(random.chance(0.4) && { sourceService: makeService(random) }),
    ...(random.chance(0.4) && { destinationService: makeService(random) }),
    ...(l7 && { l7 }),
  }
}

function makeService(random: Random): { name: string; namespace: string } {
  return { name: random.pick(POOL.services), namespace: random.pick(POOL.namespaces) }
}

function makeEndpoint(random: Random) {
  return {
    identity: random.pick(POOL.identities),
    namespace: random.pick(POOL.namespaces),
    podName: random.pick(POOL.pods),
    labels: random.list(0, 4, () => random.pick(POOL.labels)),
    workloads: random.list(0, 1, () => random.pick(POOL.workloads)),
    clusterName: random.pick(POOL.clusters),
  }
}

function makeL7(random: Random): L7Record {
  const common = { type: random.pick([1, 2]), latencyNs: random.below(5_000_000), traceId: random.pick(POOL.traceIds) }
  if (random.chance(0.5)) {
    const query = random.pick(POOL.queries)
    return {
      ...common,
      dns: {
        query,
        ips: random.list(0, 2, () => random.pick(POOL.ipv4)),
        ttl: random.below(300),
        cnames: [],
        observationSource: 'kernel',
        rcode: random.pick([0, 3]),
        qtypes: ['A'],
        rrtypes: ['A'],
      },
    }
  }
  return {
    ...common,
    http: {
      code: random.pick(POOL.codes),
      method: random.pick(POOL.methods),
      url: random.chance(0.7) ? random.pick(POOL.urls) : random.text(1, 6, URL_PARTS),
      protocol: 'HTTP/1.1',
      headers: random.list(0, 2, () => random.pick(POOL.headers)),
    },
  }
}

const URL_PARTS = [
  '/',
  '//',
  'http:',
  'shop',
  ':80',
  '?',
  '#',
  '%20',
  '%',
  '@',
  '[',
  ']',
  '::1',
  'a',
  '.',
  '%C3%A9',
  '*',
  ':',
]
