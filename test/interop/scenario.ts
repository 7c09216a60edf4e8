import { TestFlowStore } from '../helpers/flow-store.ts'

/** Second of the first flow; each next one is a second later. 2026-09-21 14:13:20 UTC. */
export const START_SECS = 1_790_000_000

/**
 * One flow of each kind that the hubble command line prints differently, and names for its filters to find.
 * Flow i happens i seconds after START_SECS and i nanoseconds.
 */
export function scenario(): TestFlowStore {
  const store = new TestFlowStore(64, { nodeName: 'node-1', nodeLabels: ['zone=a'] })
  const cart = store.addEndpoint({
    id: 77,
    identity: 20001,
    namespace: 'shop',
    podName: 'cart-0',
    labels: ['k8s:app=cart', 'k8s:io.kubernetes.pod.namespace=shop'],
    workloads: [{ name: 'cart', kind: 'StatefulSet' }],
    clusterName: 'default',
    isLocal: true,
  })
  const db = store.addEndpoint({
    id: 78,
    identity: 20002,
    namespace: 'data',
    podName: 'db-5d8f-x1',
    labels: ['k8s:app=db', 'k8s:tier=back'],
    workloads: [{ name: 'db', kind: 'Deployment' }],
    clusterName: 'default',
    isLocal: true,
  })
  const host = store.addEndpoint({ identity: 1, labels: ['reserved:host'] })
  const world = store.addEndpoint({ identity: 2, labels: ['reserved:world'] })
  const dns = {
    query: 'api.example.com.',
    ips: [],
    ttl: 0,
    cnames: [],
    observationSource: 'proxy',
    rcode: 0,
    qtypes: ['A'],
    rrtypes: [],
  }
  const http = {
    code: 0,
    method: 'GET',
    url: 'http://db.data/items?id=1',
    protocol: 'HTTP/1.1',
    headers: [{ key: 'User-Agent', value: 'curl' }],
  }
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const pair = { source: cart, destination: db }
  let i = 0
  const push = (spec: Parameters<TestFlowStore['push']>[0]) => {
    store.push({ time: BigInt(START_SECS + i) * 1_000_000_000n + BigInt(i), ...spec })
    i++
  }
  push({ ...pair, traceReason: 1 })
  push({
    source: db,
    destination: cart,
    srcIp: '10.0.0.2',
    dstIp: '10.0.0.1',
    srcPort: 80,
    dstPort: 40000,
    l4Info: 18,
    isReply: true,
    point: 101,
  })
  push({
    source: cart,
    destination: world,
    dstIp: '203.0.113.53',
    protocol: 17,
    dstPort: 53,
    l7: { type: 1, latencyNs: 0, traceId: '', dns },
  })
  push({
    source: world,
    destination: cart,
    srcIp: '203.0.113.53',
    dstIp: '10.0.0.1',
    protocol: 17,
    srcPort: 53,
    dstPort: 40000,
    isReply: true,
    l7: { type: 2, latencyNs: 1_200_000, traceId: '', dns: { ...dns, ips: ['203.0.113.9'], ttl: 30, rrtypes: ['A'] } },
  })
  push({ ...pair, l7: { type: 1, latencyNs: 0, traceId, http } })
  push({
    source: db,
    destination: cart,
    srcPort: 80,
    dstPort: 40000,
    isReply: true,
    l7: { type: 2, latencyNs: 7_900_000, traceId, http: { ...http, code: 503 } },
  })
  push({
    source: cart,
    destination: world,
    dstIp: '203.0.113.9',
    dstPort: 443,
    destinationNames: ['api.example.com'],
    verdict: 2,
    hubbleReason: 133,
    isReply: undefined,
  })
  push({
    source: host,
    destination: cart,
    protocol: 1,
    srcPort: 0,
    dstPort: 0,
    l4Info: 8 << 8,
    direction: 'ingress',
    ifindex: 9,
  })
  push({
    source: cart,
    destination: db,
    srcIp: 'fd00::1',
    dstIp: 'fd00::2',
    protocol: 58,
    srcPort: 0,
    dstPort: 0,
    l4Info: 128 << 8,
  })
  push({ ...pair, protocol: 132, l4Info: 1, encrypted: true })
  push({
    source: cart,
    destination: db,
    dstIp: '10.96.0.7',
    destinationService: { name: 'db-main', namespace: 'data' },
    isReply: undefined,
  })
  push({ source: cart, destination: host, protocol: 17, dstPort: 9999, verdict: 2, dropReason: 3, isReply: undefined })
  return store
}

/** Number of a flow of the scenario by its time in JSON. */
export function flowNumber(time: string): number {
  return Math.round(Date.parse(time) / 1000) - START_SECS
}
