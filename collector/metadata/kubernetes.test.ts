import { describe, expect, onTestFinished, test } from 'vitest'
import { parseIp } from '../../base/ip.ts'
import { ApiClient } from '../../kubernetes/index.ts'
import type { MetadataSink, NodeFacts, PodFacts, ServiceFacts } from '../../model/contracts.ts'
import { ApiDouble, type ApiDoubleOptions } from '../../test/helpers/api-double.ts'
import {
  endpointSlice,
  namespace,
  node,
  owner,
  type PodSpec,
  pod,
  service,
} from '../../test/helpers/api-double-objects.ts'
import { eventually } from '../../test/helpers/eventually.ts'
import { CollectorState } from '../state.ts'
import { KubernetesMetadata, type KubernetesMetadataOptions } from './kubernetes.ts'

/** What a sink was told, as it stands, and every call. */
class Told implements MetadataSink {
  readonly pods = new Map<string, PodFacts>()
  readonly nodes = new Map<string, NodeFacts>()
  readonly services = new Map<string, ServiceFacts>()
  readonly calls: string[] = []

  upsertPod(facts: PodFacts): void {
    this.calls.push(`+${facts.name} ${facts.ips.join(' ')}`.trim())
    this.pods.set(`${facts.namespace}/${facts.name}`, facts)
  }
  deletePod(ns: string, name: string): void {
    this.calls.push(`-${name}`)
    this.pods.delete(`${ns}/${name}`)
  }
  upsertNode(facts: NodeFacts): void {
    this.nodes.set(facts.name, facts)
  }
  deleteNode(name: string): void {
    this.nodes.delete(name)
  }
  upsertService(facts: ServiceFacts): void {
    this.services.set(`${facts.namespace}/${facts.name}`, facts)
  }
  deleteService(ns: string, name: string): void {
    this.services.delete(`${ns}/${name}`)
  }
  setCidrs(): void {}
}

async function setUp(options: ApiDoubleOptions = {}) {
  const api = await ApiDouble.start({ bookmarkMs: 50, ...options })
  onTestFinished(() => api[Symbol.asyncDispose]())
  api.apply('namespaces', namespace('shop', { team: 'a' }))
  const put = (spec: Partial<PodSpec>) => api.apply('pods', pod({ namespace: 'shop', name: 'p', ...spec }))
  const start = async <S extends MetadataSink>(sink: S, more: Partial<KubernetesMetadataOptions> = {}) => {
    const client = new ApiClient(api.access())
    const metadata = new KubernetesMetadata({ client, backoff: { minMs: 1, maxMs: 20 }, deadlineMs: 3000, ...more })
    onTestFinished(async () => {
      await metadata[Symbol.asyncDispose]()
      client[Symbol.dispose]()
    })
    await metadata.start(sink, new AbortController().signal)
    return metadata
  }
  return { api, put, start }
}

describe('KubernetesMetadata', () => {
  test('knows pods, nodes and services in full when start() has resolved', async () => {
    const { api, put, start } = await setUp()
    const labels = { app: 'cart', 'pod-template-hash': '7d4b9c6f5' }
    put({
      name: 'cart-7d4b9c6f5-x2k8p',
      ips: ['10.1.0.7', 'fd00::7'],
      labels,
      generateName: 'cart-7d4b9c6f5-',
      owner: { kind: 'ReplicaSet', name: 'cart-7d4b9c6f5' },
      serviceAccount: 'cart',
      uid: 'u1',
    })
    api.apply('nodes', node('node-1', '192.168.0.1', { podCIDRs: ['10.1.0.0/24', 'fd00:1::/64'] }))
    const ports = [{ port: 80 }, { port: 53, protocol: 'UDP' }]
    api.apply(
      'services',
      service({ namespace: 'shop', name: 'cart', ip: '10.96.0.20', ports, loadBalancerIps: ['203.0.113.9'] }),
    )
    api.apply('services', service({ namespace: 'shop', name: 'headless', ports }))
    const told = new Told()
    const metadata = await start(told)
    expect(metadata.synced).toBe(true)
    expect(told.pods.get('shop/cart-7d4b9c6f5-x2k8p')).toEqual({
      namespace: 'shop',
      name: 'cart-7d4b9c6f5-x2k8p',
      uid: 'u1',
      ips: ['10.1.0.7', 'fd00::7'],
      labels,
      namespaceLabels: { 'kubernetes.io/metadata.name': 'shop', team: 'a' },
      serviceAccount: 'cart',
      workload: { kind: 'Deployment', name: 'cart' },
      nodeName: 'node-1',
      hostNetwork: false,
    })
    expect(told.calls).toHaveLength(1)
    expect(told.nodes.get('node-1')?.ips).toEqual(['192.168.0.1', '10.1.0.0', '10.1.0.1', 'fd00:1::', 'fd00:1::1'])
    expect([...told.services.values()]).toEqual([
      {
        namespace: 'shop',
        name: 'cart',
        ips: ['10.96.0.20', '203.0.113.9'],
        ports: [
          { port: 80, protocol: 'TCP' },
          { port: 53, protocol: 'UDP' },
        ],
      },
    ])
  })

  test('waits with a pod until it has an address, and gives it up when it is over', async () => {
    const { put, start } = await setUp()
    put({ phase: 'Pending' })
    put({ name: 'done', phase: 'Succeeded', ip: '10.1.0.9' })
    const told = new Told()
    const metadata = await start(told)
    expect(told.calls).toEqual([])
    expect(metadata.details()).toMatchObject({ pods: 1, pods_without_address: 1 })
    put({ ip: '10.1.0.7' })
    await eventually('the address', () => told.pods.has('shop/p'))
    put({ ip: '10.1.0.7', phase: 'Failed' })
    await eventually('the end', () => !told.pods.has('shop/p'))
    expect(told.calls).toEqual(['+p 10.1.0.7', '-p'])
  })

  test('tells nothing when nothing that is used has changed', async () => {
    const { api, put, start } = await setUp()
    put({ ip: '10.1.0.7', labels: { app: 'a' } })
    const told = new Told()
    await start(told)
    for (let i = 0; i < 20; i++) {
      const { metadata, ...rest } = api.get('pods', 'shop', 'p')!
      api.apply('pods', { ...rest, metadata: { ...metadata, annotations: { count: String(i) } } })
    }
    put({ ip: '10.1.0.7', labels: { app: 'b' } })
    await eventually('the label', () => told.pods.get('shop/p')?.labels['app'] === 'b')
    expect(told.calls).toEqual(['+p 10.1.0.7', '+p 10.1.0.7'])
  })

  test('follows labels of namespaces, once for all changes of one moment', async () => {
    const { api, put, start } = await setUp()
    for (let i = 0; i < 50; i++) put({ name: `p${i}`, ip: `10.1.0.${i}` })
    put({ namespace: 'new', name: 'early', ip: '10.1.1.1' })
    const told = new Told()
    await start(told)
    expect(told.pods.get('new/early')?.namespaceLabels).toEqual({ 'kubernetes.io/metadata.name': 'new' })
    api.apply('namespaces', namespace('new', { team: 'n' }))
    await eventually('the namespace', () => told.pods.get('new/early')?.namespaceLabels['team'] === 'n')
    const before = told.calls.length
    for (let i = 0; i < 20; i++) api.apply('namespaces', namespace('shop', { team: `t${i}` }))
    const isLast = ({ namespaceLabels, namespace: ns }: PodFacts) => ns !== 'shop' || namespaceLabels['team'] === 't19'
    await eventually('the last labels', () => [...told.pods.values()].every(isLast))
    expect(told.calls.length - before).toBeLessThan(20 * 50)
    // What a namespace was keeps on its pods while they go with it.
    api.remove('namespaces', undefined, 'shop')
    put({ name: 'p0', ip: '10.1.0.0', labels: { x: 'y' } })
    await eventually('the pod', () => told.pods.get('shop/p0')?.labels['x'] === 'y')
  })

  test('finds the workload by its owners, also when they come later or say otherwise than names do', async () => {
    const { api, put, start } = await setUp()
    const hash = { 'pod-template-hash': 'abc' }
    put({
      name: 'a',
      ip: '10.1.0.1',
      labels: hash,
      generateName: 'web-abc-',
      owner: { kind: 'ReplicaSet', name: 'web-abc' },
    })
    put({ name: 'b', ip: '10.1.0.2', generateName: 'x-', owner: { kind: 'Job', name: 'nightly' } })
    put({ name: 'c', ip: '10.1.0.3', generateName: 'y-', owner: { kind: 'ReplicaSet', name: 'bare' } })
    put({ name: 'd', ip: '10.1.0.4', generateName: 'db-', owner: { kind: 'StatefulSet', name: 'db' } })
    put({ name: 'e', ip: '10.1.0.5', owner: { kind: 'Node', name: 'node-1' } })
    api.apply('replicasets', owner('shop', 'web-abc', { kind: 'Rollout', name: 'web' }))
    api.apply('replicasets', owner('shop', 'bare'))
    const told = new Told()
    await start(told)
    const workloads = () => Object.fromEntries([...told.pods.values()].map((facts) => [facts.name, facts.workload]))
    expect(workloads()).toEqual({
      a: { kind: 'Rollout', name: 'web' },
      b: { kind: 'Job', name: 'nightly' },
      c: { kind: 'ReplicaSet', name: 'bare' },
      d: { kind: 'StatefulSet', name: 'db' },
      e: undefined,
    })
    api.apply('jobs', owner('shop', 'nightly', { kind: 'CronJob', name: 'backup' }))
    await eventually('the CronJob', () => workloads()['b']?.kind === 'CronJob')
    api.remove('jobs', 'shop', 'nightly')
    put({
      name: 'a',
      ip: '10.1.0.1',
      labels: { ...hash, x: 'y' },
      generateName: 'web-abc-',
      owner: { kind: 'ReplicaSet', name: 'web-abc' },
    })
    await eventually('the label', () => told.pods.get('shop/a')?.labels['x'] === 'y')
    expect(workloads()['b']).toEqual({ kind: 'CronJob', name: 'backup' })
    for (const request of [...api.seen('list', 'replicasets'), ...api.seen('watch', 'jobs')]) {
      expect(request.headers.accept).toContain('as=PartialObjectMetadata')
    }
  })

  test('goes by names where owners may not be read', async () => {
    const { api, put, start } = await setUp()
    api.forbid('replicasets')
    api.forbid('jobs')
    api.forbid('endpointslices')
    const labels = { 'pod-template-hash': 'abc' }
    put({ ip: '10.1.0.1', labels, generateName: 'web-abc-', owner: { kind: 'ReplicaSet', name: 'web-abc' } })
    const told = new Told()
    const metadata = await start(told)
    expect(told.pods.get('shop/p')?.workload).toEqual({ kind: 'Deployment', name: 'web' })
    expect(metadata.lastError).toBe('')
    expect(metadata.details()).toMatchObject({ synced: true, not_read: 'replicasets jobs endpointslices' })
  })

  test('leaves an address with the younger of two pods, whatever the one that ends still says', async () => {
    const { put, api, start } = await setUp()
    const old = { name: 'old', ip: '10.1.0.7', creationTimestamp: '2026-01-01T00:00:00Z' }
    put(old)
    const told = new Told()
    await start(told)
    put({ name: 'young', ip: '10.1.0.7', creationTimestamp: '2026-01-02T00:00:00Z' })
    await eventually('the loss', () => told.pods.get('shop/old')?.ips.length === 0)
    expect(told.calls).toEqual(['+old 10.1.0.7', '+young 10.1.0.7', '+old'])
    put({ ...old, labels: { late: 'update' } })
    await eventually('the update', () => told.pods.get('shop/old')?.labels['late'] === 'update')
    expect(told.pods.get('shop/old')?.ips).toEqual([])
    expect(told.pods.get('shop/young')?.ips).toEqual(['10.1.0.7'])
    api.remove('pods', 'shop', 'young')
    await eventually('the return', () => told.pods.get('shop/old')?.ips.length === 1)
  })

  test('gives an address to a pod that lives before one that ends, however old', async () => {
    const { put, start } = await setUp()
    const finalizers = { deletionTimestamp: '2026-01-03T00:00:00Z' }
    put({ name: 'ending', ip: '10.1.0.7', creationTimestamp: '2026-01-02T00:00:00Z', ...finalizers })
    put({ name: 'living', ip: '10.1.0.7', creationTimestamp: '2026-01-01T00:00:00Z' })
    const told = new Told()
    await start(told)
    await eventually('the address', () => told.pods.get('shop/living')?.ips.length === 1)
    await eventually('the loss', () => told.pods.get('shop/ending')?.ips.length === 0)
  })

  test('names what is no pod behind services: servers of the API, databases elsewhere, pods on the node', async () => {
    const { api, start, put } = await setUp()
    api.apply('nodes', node('node-1', '192.168.0.1'))
    const ports = [{ port: 9100 }]
    api.apply(
      'services',
      service({ namespace: 'shop', name: 'exporter', ip: '10.96.0.5', ports, selector: { app: 'x' } }),
    )
    api.apply(
      'services',
      service({ namespace: 'default', name: 'kubernetes', ip: '10.96.0.1', ports: [{ port: 443 }] }),
    )
    const slice = { namespace: 'shop', name: 'exporter-1', service: 'exporter', ports }
    api.apply(
      'endpointslices',
      endpointSlice({ ...slice, addresses: ['192.168.0.1', '10.1.0.7'], pods: ['host', 'pod'] }),
    )
    const apiserver = { namespace: 'default', name: 'kubernetes', service: 'kubernetes', ports: [{ port: 6443 }] }
    api.apply('endpointslices', endpointSlice({ ...apiserver, addresses: ['203.0.113.50'] }))
    const state = new CollectorState({ nodeName: 'node-1', uuidSeed: new Uint32Array([1, 2, 3, 4]) })
    const told = new Told()
    await start(told)
    await start(state)
    put({ ip: '10.1.0.7' })
    expect(told.services.get('shop/exporter')?.backends).toEqual([{ ip: '192.168.0.1', port: 9100, protocol: 'TCP' }])
    const words = new Uint32Array(4)
    const lookup = (ip: string, port: number) => {
      parseIp(ip, new Uint8Array(words.buffer))
      return state.services.get(state.services.lookup(words, 0, port, 6))?.name
    }
    expect(lookup('192.168.0.1', 9100)).toBe('exporter')
    expect(lookup('10.1.0.7', 9100)).toBeUndefined()
    expect(lookup('203.0.113.50', 6443)).toBe('kubernetes')
    expect(state.endpoints.get(state.endpoints.lookup(words, 0, 4, false)).identity).toBe(7)
    api.remove('endpointslices', 'default', 'kubernetes')
    api.remove('services', 'shop', 'exporter')
    await eventually('the end', () => lookup('203.0.113.50', 6443) === undefined && !told.services.has('shop/exporter'))
    parseIp('203.0.113.50', new Uint8Array(words.buffer))
    expect(state.endpoints.get(state.endpoints.lookup(words, 0, 4, false)).identity).toBe(2)
  })

  test('starts without an API server after the deadline, and comes in when there is one', async () => {
    const { api, put, start } = await setUp()
    put({ ip: '10.1.0.7' })
    const down = api.fault({}, { kind: 'reset' })
    const told = new Told()
    const begun = performance.now()
    const metadata = await start(told, { deadlineMs: 200 })
    expect(performance.now() - begun).toBeLessThan(2000)
    expect(metadata.synced).toBe(false)
    expect(metadata.lastError).toContain('Cannot list')
    down[Symbol.dispose]()
    await eventually('the pod', () => metadata.synced && told.pods.has('shop/p'))
    expect(metadata.lastError).toBe('')
  })

  test('keeps what it knows while the API server is down, and catches up', async () => {
    const { api, put, start } = await setUp()
    for (const name of ['stays', 'goes']) put({ name, ip: name === 'stays' ? '10.1.0.1' : '10.1.0.2' })
    const told = new Told()
    const metadata = await start(told)
    const down = api.fault({}, { kind: 'status', code: 503 })
    api.closeWatches('reset')
    await eventually('the trouble', () => metadata.lastError !== '')
    expect(told.pods.size).toBe(2)
    api.remove('pods', 'shop', 'goes')
    put({ name: 'comes', ip: '10.1.0.2' })
    api.compact()
    down[Symbol.dispose]()
    await eventually('the change', () => [...told.pods.keys()].sort().join() === 'shop/comes,shop/stays')
    await eventually('the end of trouble', () => metadata.lastError === '')
  })

  test('refuses pods beyond its bound and counts them', async () => {
    const { put, start } = await setUp()
    for (let i = 0; i < 5; i++) put({ name: `p${i}`, ip: `10.1.0.${i}` })
    const told = new Told()
    const metadata = await start(told, { maxPods: 3 })
    expect(told.pods.size).toBe(3)
    expect(metadata.details()['refused']).toBe(2)
    const seen = new Map<string, number>()
    const add = (name: string, _help: string, value: number, labels?: Readonly<Record<string, string>>) =>
      void seen.set(`${name}{${labels?.['resource'] ?? ''}}`, value)
    metadata.collect({ counter: add, gauge: add })
    expect(seen.get('sluice_kubernetes_refused_total{pods}')).toBe(2)
    expect(seen.get('sluice_kubernetes_objects{pods}')).toBe(3)
    expect(seen.get('sluice_kubernetes_synced{pods}')).toBe(1)
  })
})
