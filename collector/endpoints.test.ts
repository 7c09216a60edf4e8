import { describe, expect, test } from 'vitest'
import { parseCidr } from '../base/ip.ts'
import type { PodFacts } from '../model/contracts.ts'
import { ipBytes } from '../test/helpers/flow-store.ts'
import { EndpointTable, type EndpointTableOptions } from './endpoints.ts'
import { IdentityAllocator } from './identity.ts'
import { cidrLabels, podLabels } from './labels.ts'

function pod(fields: Partial<PodFacts> = {}): PodFacts {
  return {
    namespace: 'shop',
    name: 'cart-0',
    uid: 'uid-1',
    ips: ['10.1.0.7', 'fd00::7'],
    labels: { app: 'cart' },
    namespaceLabels: {},
    serviceAccount: '',
    workload: { name: 'cart', kind: 'StatefulSet' },
    nodeName: 'node-1',
    hostNetwork: false,
    ...fields,
  }
}

function setUp(options: Partial<EndpointTableOptions> = {}) {
  const history = { end: 0 }
  const clock = { ms: 0 }
  const table = new EndpointTable({
    nodeName: 'node-1',
    historyEnd: () => history.end,
    now: () => clock.ms,
    ...options,
  })
  const events: string[] = []
  table.onEvent(({ kind, endpoint }) => events.push(`${kind} ${endpoint.podName} ${endpoint.labels[0]}`))
  const lookup = (ip: string, podLink = false) => {
    const words = new Uint32Array(ipBytes(ip).buffer)
    return table.get(table.lookup(words, 0, ip.includes(':') ? 6 : 4, podLink))
  }
  return { table, history, clock, events, lookup }
}

describe('EndpointTable', () => {
  test('lookup() names a pod by each of its addresses', () => {
    const { table, lookup } = setUp()
    table.upsertPod(pod())
    const found = lookup('10.1.0.7')
    expect(found).toBe(lookup('fd00::7'))
    expect(found).toEqual({
      ref: found.ref,
      id: found.id,
      identity: found.identity,
      namespace: 'shop',
      podName: 'cart-0',
      podUid: 'uid-1',
      labels: ['k8s:app=cart', 'k8s:io.cilium.k8s.policy.cluster=default', 'k8s:io.kubernetes.pod.namespace=shop'],
      workloads: [{ name: 'cart', kind: 'StatefulSet' }],
      clusterName: 'default',
      isLocal: true,
    })
    expect(found.id).toBeGreaterThan(0)
    expect(found.identity).toBeGreaterThanOrEqual(256)
    expect(found.identity).toBeLessThanOrEqual(65_535)
  })

  test('pods of other nodes have no endpoint id', () => {
    const { table, lookup } = setUp()
    table.upsertPod(pod({ nodeName: 'node-2' }))
    expect([lookup('10.1.0.7').id, lookup('10.1.0.7').isLocal]).toEqual([0, false])
  })

  test('upsertPod() makes a version only when something changed, and old references keep their meaning', () => {
    const { table, lookup, events } = setUp()
    table.upsertPod(pod())
    const before = lookup('10.1.0.7')
    table.upsertPod(pod())
    expect(lookup('10.1.0.7')).toBe(before)
    table.upsertPod(pod({ labels: { app: 'cart2' } }))
    const after = lookup('10.1.0.7')
    expect(after.ref).not.toBe(before.ref)
    expect(after.identity).not.toBe(before.identity)
    expect(after.id).toBe(before.id)
    expect(table.get(before.ref)).toBe(before)
    expect(events).toEqual(['created cart-0 k8s:app=cart', 'updated cart-0 k8s:app=cart2'])
  })

  test('maintain() frees a version only when no flow of the history can name it', () => {
    const { table, history, lookup } = setUp()
    history.end = 100
    table.upsertPod(pod())
    const { ref } = lookup('10.1.0.7')
    history.end = 200
    table.upsertPod(pod({ labels: { app: 'x' } }))
    table.maintain(199)
    expect(table.get(ref).podName).toBe('cart-0')
    table.maintain(200)
    expect(table.get(ref).identity).toBe(0)
    expect(table.get(ref).podName).toBe('')
  })

  test('a deleted pod keeps its addresses for a minute, and then they are the world', () => {
    const { table, clock, events, lookup } = setUp()
    table.upsertPod(pod())
    table.deletePod('shop', 'cart-0')
    expect(events.at(-1)).toBe('deleted cart-0 k8s:app=cart')
    clock.ms = 59_999
    table.maintain(0)
    expect(lookup('10.1.0.7').podName).toBe('cart-0')
    clock.ms = 60_000
    table.maintain(0)
    expect(lookup('10.1.0.7').identity).toBe(2)
    expect([table.podCount, table.addresses.size]).toEqual([0, 0])
  })

  test('an address given to the next pod is the next pod at once and stays so when the first one is buried', () => {
    const { table, clock, lookup } = setUp()
    table.upsertPod(pod())
    table.deletePod('shop', 'cart-0')
    table.upsertPod(pod({ name: 'cart-1', uid: 'uid-2' }))
    expect(lookup('10.1.0.7').podName).toBe('cart-1')
    clock.ms = 60_000
    table.maintain(0)
    expect(lookup('10.1.0.7').podName).toBe('cart-1')
    expect(lookup('fd00::7').podName).toBe('cart-1')
  })

  test('a pod of the same name and another uid is another pod', () => {
    const { table, events, lookup } = setUp()
    table.upsertPod(pod())
    table.upsertPod(pod({ uid: 'uid-9', ips: ['10.1.0.8'] }))
    expect(lookup('10.1.0.8').podUid).toBe('uid-9')
    expect(lookup('10.1.0.7').identity).toBe(2)
    expect(events.map((text) => text.split(' ')[0])).toEqual(['created', 'deleted', 'created'])
  })

  test('interfaces find their pod whichever comes first', () => {
    for (const order of ['interface', 'pod']) {
      const { table } = setUp()
      if (order === 'pod') table.upsertPod(pod({ nodeName: '' }))
      table.addInterface({ ifindex: 12, name: 'lxc12', ips: ['10.1.0.7'] })
      if (order === 'interface') {
        const bare = table.get(table.byInterface(12))
        expect([bare.identity, bare.isLocal, bare.labels]).toEqual([3, true, ['reserved:unmanaged']])
        table.upsertPod(pod({ nodeName: '' }))
      }
      const bound = table.get(table.byInterface(12))
      expect([bound.podName, bound.isLocal]).toEqual(['cart-0', true])
      expect(bound.id).toBeGreaterThan(0)
    }
  })

  test('an interface follows its pod over versions, and is bare again when the pod is gone', () => {
    const { table, clock } = setUp()
    table.addInterface({ ifindex: 70_000, name: 'lxc', ips: ['10.1.0.7'] })
    table.upsertPod(pod())
    const first = table.byInterface(70_000)
    table.upsertPod(pod({ labels: { app: 'b' } }))
    expect(table.byInterface(70_000)).not.toBe(first)
    table.deletePod('shop', 'cart-0')
    clock.ms = 60_000
    table.maintain(0)
    expect(table.get(table.byInterface(70_000)).identity).toBe(3)
    table.removeInterface(70_000)
    expect(table.interfaceName(70_000)).toBe('lxc')
    clock.ms = 120_000
    table.maintain(0)
    expect([table.byInterface(70_000), table.interfaceName(70_000), table.addresses.size]).toEqual([0, '', 0])
  })

  test('addInterface() again with the same facts changes nothing, with other addresses binds anew', () => {
    const { table } = setUp()
    table.upsertPod(pod({ ips: ['10.1.0.7'] }))
    table.addInterface({ ifindex: 12, name: 'lxc12', ips: [] })
    const bare = table.byInterface(12)
    table.addInterface({ ifindex: 12, name: 'lxc12', ips: [] })
    expect(table.byInterface(12)).toBe(bare)
    table.addInterface({ ifindex: 12, name: 'lxc12', ips: ['10.1.0.7'] })
    expect(table.get(table.byInterface(12)).podName).toBe('cart-0')
    // The address moves to another pod, then the interface shows another address.
    table.upsertPod(pod({ name: 'cart-1', uid: 'u2', ips: ['10.1.0.7'] }))
    expect(table.get(table.byInterface(12)).podName).toBe('cart-1')
    table.addInterface({ ifindex: 12, name: 'lxc12', ips: ['10.1.0.99'] })
    expect(table.get(table.byInterface(12)).identity).toBe(3)
  })

  test('nodes, services and ranges have the reserved identities', () => {
    const { table, lookup } = setUp()
    table.upsertNode({ name: 'node-1', ips: ['192.168.0.1'], labels: { zone: 'a', arch: 'x' } })
    table.upsertNode({ name: 'node-2', ips: ['192.168.0.2'], labels: {} })
    table.upsertNode({ name: 'cp', ips: ['192.168.0.3'], labels: { 'node-role.kubernetes.io/control-plane': '' } })
    table.upsertService({ namespace: 'default', name: 'kubernetes', ips: ['10.96.0.1'], ports: [] })
    table.upsertService({ namespace: 'shop', name: 'cart', ips: ['10.96.0.9'], ports: [] })
    table.setCidrs([
      { cidr: '203.0.113.0/24', labels: ['cidrgroup:partners'] },
      { cidr: 'nonsense', labels: [] },
    ])
    const identities = ['192.168.0.1', '192.168.0.2', '192.168.0.3', '10.96.0.1', '10.96.0.9', '203.0.113.9', '8.8.8.8']
    expect(identities.map((ip) => lookup(ip).identity)).toEqual([1, 6, 7, 7, 3, 0x0100_0001, 2])
    expect(lookup('10.96.0.9').namespace).toBe('shop')
    expect(lookup('203.0.113.9').labels).toEqual(['cidr:203.0.113.0/24', 'cidrgroup:partners', 'reserved:world'])
    expect(table.nodeLabels()).toEqual(['arch=x', 'zone=a'])
    expect(table.cluster.cidrsRefused).toBe(1)
    table.setCidrs([])
    table.deleteNode('node-2')
    table.deleteService('shop', 'cart')
    expect(['203.0.113.9', '192.168.0.2', '10.96.0.9'].map((ip) => lookup(ip).identity)).toEqual([2, 2, 2])
  })

  test('a node’s claim on an address is stronger than a service’s', () => {
    const { table, lookup } = setUp()
    table.upsertService({ namespace: 'a', name: 'lb', ips: ['192.168.0.1'], ports: [] })
    expect(lookup('192.168.0.1').identity).toBe(3)
    table.upsertNode({ name: 'node-1', ips: ['192.168.0.1'], labels: {} })
    expect(lookup('192.168.0.1').identity).toBe(1)
    table.deleteNode('node-1')
    expect(lookup('192.168.0.1').identity).toBe(3)
  })

  test('link-local peers are the node on a pod’s interface and the world elsewhere', () => {
    const { lookup } = setUp()
    expect([lookup('fe80::1', true).identity, lookup('169.254.1.1', true).identity]).toEqual([1, 1])
    expect([lookup('fe80::1').identity, lookup('169.254.1.1').identity]).toEqual([2, 2])
  })

  test('a host-network pod leaves its addresses to the node', () => {
    const { table, lookup } = setUp()
    table.upsertNode({ name: 'node-1', ips: ['192.168.0.1'], labels: {} })
    table.upsertPod(pod({ ips: ['192.168.0.1'], hostNetwork: true }))
    expect(lookup('192.168.0.1').identity).toBe(1)
  })

  test('pods beyond the bound are refused and counted', () => {
    const { table, lookup } = setUp({ maxPods: 1 })
    table.upsertPod(pod())
    table.upsertPod(pod({ name: 'b', uid: 'b', ips: ['10.1.0.8'] }))
    expect([table.podsRefused, lookup('10.1.0.8').identity]).toEqual([1, 2])
  })

  test('a pod that is gone makes room for one that comes', () => {
    const { table, lookup } = setUp({ maxPods: 2 })
    table.upsertPod(pod())
    table.upsertPod(pod({ name: 'b', uid: 'b', ips: ['10.1.0.8'] }))
    table.deletePod('shop', 'cart-0')
    expect(lookup('10.1.0.7').podName).toBe('cart-0')
    table.upsertPod(pod({ name: 'c', uid: 'c', ips: ['10.1.0.9'] }))
    expect([lookup('10.1.0.7').podName, lookup('10.1.0.8').podName, lookup('10.1.0.9').podName]).toEqual(['', 'b', 'c'])
    expect([table.podsRefused, table.podCount]).toEqual([0, 2])
    table.upsertPod(pod({ name: 'd', uid: 'd', ips: ['10.1.0.10'] }))
    expect([table.podsRefused, table.podCount]).toEqual([1, 2])
  })

  test('versions beyond the bound go early and are counted', () => {
    const { table, history } = setUp({ maxVersions: 12 })
    history.end = 1
    for (let i = 0; i < 50; i++) table.upsertPod(pod({ labels: { app: `v${i}` } }))
    expect(table.versions.size).toBeLessThanOrEqual(12)
    expect(table.versions.forgotten).toBeGreaterThan(30)
  })

  test('thousands of pods that come and go leave nothing behind', () => {
    const { table, clock, history } = setUp()
    const start = table.versions.size
    for (let i = 0; i < 3000; i++) {
      history.end += 10
      clock.ms += 300
      table.addInterface({ ifindex: 10 + i, name: `lxc${i}`, ips: [`10.2.${i >> 8}.${i & 255}`] })
      table.upsertPod(
        pod({ name: `p${i}`, uid: `u${i}`, ips: [`10.2.${i >> 8}.${i & 255}`], labels: { app: `a${i % 7}` } }),
      )
      table.deletePod('shop', `p${i}`)
      table.removeInterface(10 + i)
      table.maintain(history.end - 100)
    }
    clock.ms += 60_000
    let turns = 0
    while (table.maintain(history.end)) turns++
    // Some in each turn, as all at once would hold the event loop.
    expect(turns).toBeGreaterThan(3)
    table.maintain(history.end)
    expect([table.podCount, table.addresses.size, table.versions.size]).toEqual([0, 0, start])
  })
})

describe('IdentityAllocator', () => {
  test('gives equal numbers on all nodes for equal labels, whatever came before', () => {
    const a = new IdentityAllocator()
    const b = new IdentityAllocator()
    for (let i = 0; i < 50; i++) a.acquire([`k8s:x=${i}`])
    expect(a.acquire(['k8s:app=web', 'k8s:tier=front'])).toBe(b.acquire(['k8s:app=web', 'k8s:tier=front']))
  })

  test('gives different numbers to different labels, counts collisions, and ends when all are taken', () => {
    const allocator = new IdentityAllocator()
    const seen = new Set<number>()
    for (let i = 0; i < 65_280; i++) seen.add(allocator.acquire([`k8s:x=${i}`]))
    expect(seen.size).toBe(65_280)
    expect(allocator.collisions).toBeGreaterThan(1000)
    expect(Math.min(...seen)).toBe(256)
    expect(Math.max(...seen)).toBe(65_535)
    expect(allocator.acquire(['one more'])).toBe(0)
    allocator.release(['k8s:x=5'])
    expect(allocator.acquire(['one more'])).toBeGreaterThanOrEqual(256)
  })
})

describe('labels', () => {
  test('podLabels() leaves out what differs between the pods of a workload', () => {
    const labels = podLabels(
      pod({
        labels: {
          app: 'web',
          empty: '',
          'app.kubernetes.io/name': 'web',
          'pod-template-hash': 'abc',
          'statefulset.kubernetes.io/pod-name': 'web-0',
          'kubernetes.io/arch': 'x',
          'beta.kubernetes.io/os': 'x',
          'controller-revision-hash': 'x',
        },
        namespaceLabels: { 'kubernetes.io/metadata.name': 'shop' },
        serviceAccount: 'web',
      }),
      'c1',
    )
    expect(labels).toEqual([
      'k8s:app.kubernetes.io/name=web',
      'k8s:app=web',
      'k8s:empty',
      'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop',
      'k8s:io.cilium.k8s.policy.cluster=c1',
      'k8s:io.cilium.k8s.policy.serviceaccount=web',
      'k8s:io.kubernetes.pod.namespace=shop',
    ])
  })

  test.each([
    ['203.0.113.0/24', 'cidr:203.0.113.0/24'],
    ['2001:db8::/32', 'cidr:2001-db8--0/32'],
    ['::/0', 'cidr:0--0/0'],
    ['2001:db8::1/128', 'cidr:2001-db8--1/128'],
  ])('cidrLabels(%s)', (range, label) => {
    expect(cidrLabels(parseCidr(range)!, [])).toEqual([label, 'reserved:world'])
  })
})
