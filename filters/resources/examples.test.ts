import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { DnsRecord, L7Record } from '../../model/l7.ts'
import { L7Type } from '../../model/l7.ts'
import { EventType, Verdict } from '../../model/layouts.gen.ts'
import { type FlowSpec, TestFlowStore } from '../../test/helpers/flow-store.ts'
import { compile } from '../compile.ts'
import { type CompiledResource, compileResource } from './compile.ts'
import { readDocument } from './document.ts'
import { readResourceFile } from './file.ts'
import { problemText } from './problem.ts'

const FOLDER = new URL('../../examples/filters/', import.meta.url)
const FILES = readdirSync(FOLDER).filter((name) => name.endsWith('.yaml'))

function load(name: string): { compiled: CompiledResource; warnings: string[] } {
  const { documents, problems } = readResourceFile(readFileSync(new URL(name, FOLDER), 'utf8'), name)
  expect(problems).toEqual([])
  expect(documents).toHaveLength(1)
  const { resource, mistakes } = readDocument(documents[0]!.value)
  expect(mistakes ?? []).toEqual([])
  const result = compileResource(resource!)
  expect(result.mistakes ?? []).toEqual([])
  return {
    compiled: result.compiled!,
    warnings: result.warnings!.map((problem) => problemText(problem, documents[0]!)),
  }
}

const pod = (namespace: string, podName: string, ...labels: string[]) => ({
  namespace,
  podName,
  identity: 300,
  labels: [`k8s:io.kubernetes.pod.namespace=${namespace}`, ...labels.map((label) => `k8s:${label}`)].sort(),
})

const dns: L7Record = {
  type: L7Type.REQUEST,
  latencyNs: 0,
  traceId: '',
  dns: {
    query: 'x.example.',
    qtypes: ['A'],
    rrtypes: [],
    ips: [],
    cnames: [],
    ttl: 0,
    rcode: 0,
  } as unknown as DnsRecord,
} as unknown as L7Record

const http = (code: number, url: string): L7Record =>
  ({
    type: L7Type.RESPONSE,
    latencyNs: 1,
    traceId: '',
    http: { code, method: 'GET', url, protocol: 'HTTP/1.1', headers: [] },
  }) as unknown as L7Record

const POLICY_DENIED = 133

/** Flows that the table below names. */
const FLOWS: Readonly<Record<string, FlowSpec>> = {
  'coredns asks': { source: pod('kube-system', 'coredns-7f'), protocol: 17, dstPort: 53, l7: dns },
  'shop asks': { source: pod('shop', 'web-1'), protocol: 17, dstPort: 53, l7: dns },
  'frontend to backend': {
    source: pod('shop', 'fe-1', 'tier=frontend', 'app=frontend'),
    destination: pod('shop', 'be-1', 'tier=backend'),
  },
  'frontend to metrics-server': {
    source: pod('shop', 'fe-1', 'tier=frontend', 'app=frontend'),
    destination: pod('kube-system', 'metrics-server-5c'),
  },
  'test frontend': { source: pod('default', 'test-1', 'tier=frontend') },
  'other to backend': { source: pod('x', 'y'), destination: pod('shop', 'be-1', 'tier=backend') },
  'udp of nobody': { source: pod('x', 'y'), protocol: 17 },
  'production udp': { source: pod('x', 'y', 'environment=production'), protocol: 17 },
  'production frontend': { source: pod('x', 'y', 'environment=production', 'app=frontend') },
  'from pets': { source: pod('pets', 'store-front-1') },
  'to pets': { source: pod('x', 'y'), destination: pod('pets', 'order-service-1') },
  'kube-system drop': { source: pod('kube-system', 'a'), verdict: Verdict.DROPPED, hubbleReason: POLICY_DENIED },
  'policy drop': { source: pod('x', 'y'), verdict: Verdict.DROPPED, hubbleReason: POLICY_DENIED },
  'bad checksum drop': { source: pod('x', 'y'), verdict: Verdict.DROPPED, hubbleReason: 154 },
  'invalid packet drop': { source: pod('x', 'y'), verdict: Verdict.DROPPED, hubbleReason: 134 },
  'http drop': { source: pod('traffic', 'http-6d'), verdict: Verdict.DROPPED, hubbleReason: POLICY_DENIED },
  'http flow': { source: pod('traffic', 'http-6d') },
  'fortio drop': { source: pod('traffic', 'fortio-1'), verdict: Verdict.DROPPED, hubbleReason: POLICY_DENIED },
  'sample flow': {
    srcIp: '192.168.1.10',
    dstIp: '10.0.1.1',
    source: pod('sample-namespace', 'sample-pod-1', 'app=frontend', 'environment=staging'),
    destination: pod('sample-namespace2', 'sample-pod2', 'app=backend'),
  },
  'sample flow to dev': {
    srcIp: '192.168.1.10',
    dstIp: '10.0.1.1',
    source: pod('sample-namespace', 'sample-pod-1', 'app=frontend', 'environment=staging'),
    destination: pod('sample-namespace2', 'sample-pod2', 'app=backend', 'tier=dev'),
  },
  'failed request': { destination: pod('shop', 'web-1'), type: EventType.HTTP, l7: http(503, '/cart') },
  'failed probe': { destination: pod('shop', 'web-1'), type: EventType.HTTP, l7: http(503, '/healthz') },
  'good request': { destination: pod('shop', 'web-1'), type: EventType.HTTP, l7: http(200, '/cart') },
  'reset from shop': {
    source: pod('x', 'y'),
    destination: pod('shop', 'web-1'),
    dstPort: 443,
    l4Info: 20,
    direction: 'ingress',
  },
  'default tcp': { source: pod('default', 'a') },
  'default udp': { source: pod('default', 'a'), protocol: 17 },
}

/** By file and consumer: flows that it takes and flows that it leaves. */
const EXPECTED: Readonly<Record<string, Readonly<Record<string, { takes: string[]; leaves: string[] }>>>> = {
  'template.yaml': {
    'metric/flow': { takes: ['sample flow'], leaves: ['sample flow to dev', 'default tcp', 'frontend to backend'] },
    'metric/dns': { takes: ['shop asks'], leaves: ['sample flow'] },
  },
  'dns-without-coredns.yaml': { 'metric/dns': { takes: ['shop asks'], leaves: ['coredns asks'] } },
  'tcp-of-frontends.yaml': {
    'metric/tcp': { takes: ['frontend to backend'], leaves: ['frontend to metrics-server', 'default tcp'] },
  },
  'flow-from-or-to-tiers.yaml': {
    'metric/flow': {
      takes: ['frontend to backend', 'other to backend', 'frontend to metrics-server'],
      leaves: ['test frontend', 'udp of nobody'],
    },
  },
  'drop-without-kube-system.yaml': {
    'metric/drop': { takes: ['policy drop', 'bad checksum drop'], leaves: ['kube-system drop'] },
  },
  'all-metrics.yaml': {
    // The asterisks match nothing, so nothing is excluded.
    'metric/dns': { takes: ['coredns asks', 'shop asks'], leaves: ['default tcp'] },
    'metric/tcp': { takes: ['default tcp', 'production udp'], leaves: ['udp of nobody'] },
    'metric/flow': { takes: ['test frontend', 'udp of nobody'], leaves: [] },
    'metric/drop': { takes: ['policy drop', 'invalid packet drop'], leaves: ['bad checksum drop', 'default tcp'] },
  },
  'basic-dns.yaml': { 'metric/dns': { takes: ['coredns asks', 'shop asks'], leaves: ['default tcp'] } },
  'basic-tcp.yaml': {
    'metric/tcp': { takes: ['default tcp', 'frontend to metrics-server'], leaves: ['udp of nobody'] },
  },
  'basic-flow.yaml': {
    'metric/flow': { takes: ['frontend to backend', 'test frontend', 'other to backend'], leaves: ['default tcp'] },
  },
  'basic-drop.yaml': {
    'metric/drop': { takes: ['policy drop', 'kube-system drop'], leaves: ['bad checksum drop', 'default tcp'] },
  },
  'exclude-system.yaml': { 'metric/flow': { takes: ['kube-system drop', 'default tcp'], leaves: [] } },
  'tcp-of-production-frontends.yaml': {
    'metric/tcp': { takes: ['production frontend'], leaves: ['frontend to backend', 'production udp'] },
  },
  'dns-and-policy-drops.yaml': {
    'metric/dns': { takes: ['shop asks'], leaves: ['default tcp'] },
    'metric/drop': { takes: ['policy drop'], leaves: ['bad checksum drop'] },
  },
  'one-namespace.yaml': {
    'metric/flow': { takes: ['from pets', 'to pets'], leaves: ['default tcp'] },
    'metric/tcp': { takes: ['from pets'], leaves: ['to pets'] },
    'metric/dns': { takes: ['shop asks'], leaves: ['coredns asks'] },
    'metric/drop': { takes: ['policy drop'], leaves: ['kube-system drop'] },
  },
  'drops-alone.yaml': { 'metric/drop': { takes: ['policy drop', 'kube-system drop'], leaves: ['default tcp'] } },
  'production-alone.yaml': {
    'metric/flow': { takes: ['production udp', 'production frontend'], leaves: ['default tcp'] },
    'metric/dns': { takes: ['production udp'], leaves: ['shop asks'] },
    'metric/tcp': { takes: ['production frontend'], leaves: ['frontend to backend'] },
    'metric/drop': { takes: ['policy drop'], leaves: ['default tcp'] },
  },
  'flow-of-drops.yaml': {
    'metric/flow': { takes: ['policy drop', 'kube-system drop'], leaves: ['default tcp', 'http flow'] },
  },
  'announcement.yaml': { 'metric/flow': { takes: ['http drop'], leaves: ['http flow', 'fortio drop', 'policy drop'] } },
  'announcement-without-lists.yaml': {
    'metric/flow': { takes: ['http drop'], leaves: ['http flow', 'fortio drop', 'policy drop'] },
  },
  'log-of-one-namespace.yaml': { log: { takes: ['from pets', 'to pets'], leaves: ['default tcp', 'policy drop'] } },
  'log-of-http-errors.yaml': {
    log: { takes: ['failed request', 'reset from shop'], leaves: ['failed probe', 'good request', 'default tcp'] },
  },
  'log-everything.yaml': { log: { takes: Object.keys(FLOWS), leaves: [] } },
  'retina-log.yaml': { log: { takes: ['default tcp', 'test frontend'], leaves: ['default udp', 'from pets'] } },
}

const store = new TestFlowStore()
const view = store.createView()
const sequences = new Map(Object.entries(FLOWS).map(([name, spec]) => [name, store.push(spec)]))

function taken(compiled: CompiledResource, consumer: string): (flow: string) => boolean {
  const { include, exclude } = compiled.groups.find((group) => group.consumer === consumer)!
  const includes = include.map(({ predicate }) => compile(predicate))
  const excludes = exclude.map(({ predicate }) => compile(predicate))
  return (flow) => {
    store.seek(view, sequences.get(flow)!)
    return (includes.length === 0 || includes.some((test) => test(view))) && !excludes.some((test) => test(view))
  }
}

describe('examples/filters', () => {
  test('each has its rows in the table', () => {
    expect(FILES.sort()).toEqual(Object.keys(EXPECTED).sort())
  })

  test.each(Object.entries(EXPECTED))('%s does what it says', (file, consumers) => {
    const { compiled } = load(file)
    expect(compiled.groups.map(({ consumer }) => consumer).sort()).toEqual(Object.keys(consumers).sort())
    for (const [consumer, { takes, leaves }] of Object.entries(consumers)) {
      const takesFlow = taken(compiled, consumer)
      const flows = [...takes, ...leaves]
      expect(flows.filter(takesFlow)).toEqual(takes)
    }
  })

  test('those with an asterisk say that it stands for itself', () => {
    const withStar = FILES.filter((file) => /namespacedPod:.*\*/.test(readFileSync(new URL(file, FOLDER), 'utf8')))
    expect(withStar).toHaveLength(6)
    for (const file of withStar) {
      expect(load(file).warnings.join('\n')).toMatch(/an asterisk stands for itself here, so no pod matches; write /)
    }
  })

  test('those without a trap have no warnings', () => {
    const clean = FILES.filter((file) => load(file).warnings.length === 0)
    expect(clean).toEqual(
      expect.arrayContaining(['announcement.yaml', 'one-namespace.yaml', 'log-of-http-errors.yaml', 'retina-log.yaml']),
    )
  })
})
