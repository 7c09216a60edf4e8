import { expect, test, vi } from 'vitest'
import { type ClusterNode, ClusterPeers, type ClusterPeersOptions } from './cluster-peers.ts'

const node = (name: string, ...ips: string[]): ClusterNode => ({ name, ips, labels: {} })

const peers = (nodes: readonly ClusterNode[], options: Partial<ClusterPeersOptions> = {}) =>
  new ClusterPeers({ nodes: () => nodes, ownName: 'a', port: 4244, isTls: false, ...options })

test('ClusterPeers tells every node by its address, as IPv4 or IPv6', () => {
  expect(peers([node('a', '10.0.0.1', 'fd00::1'), node('b', 'fd00::2')]).list()).toEqual([
    { name: 'a', address: '10.0.0.1:4244', tlsServerName: undefined },
    { name: 'b', address: '[fd00::2]:4244', tlsServerName: undefined },
  ])
})

test('ClusterPeers names nodes with their cluster, and as certificates do, when there is one', () => {
  const list = peers([node('a.x', '10.0.0.1'), node('b', '10.0.0.2')], { ownName: 'prod.eu/a.x', isTls: true }).list()
  expect(list).toEqual([
    { name: 'prod.eu/a.x', address: '10.0.0.1:4244', tlsServerName: 'a-x.prod-eu.hubble-grpc.cilium.io' },
    { name: 'prod.eu/b', address: '10.0.0.2:4244', tlsServerName: 'b.prod-eu.hubble-grpc.cilium.io' },
  ])
})

test.each<[string, readonly ClusterNode[], string]>([
  ['metadata has not told of it yet', [], 'a:4244'],
  ['it has no address', [node('a')], 'a:4244'],
])('ClusterPeers tells this node under its name when %s', (_case, nodes, address) => {
  expect(peers(nodes).list()).toEqual([{ name: 'a', address, tlsServerName: undefined }])
})

test('ClusterPeers tells this node, and no other, at the address that the configuration gives', () => {
  const nodes = [node('a', '10.0.0.1'), node('b', '10.0.0.2')]
  expect(
    peers(nodes, { advertise: 'nat.example:5000' })
      .list()
      .map(({ address }) => address),
  ).toEqual(['nat.example:5000', '10.0.0.2:4244'])
})

test('ClusterPeers leaves out nodes that have no agent', () => {
  const windows = { name: 'w', ips: ['10.0.0.3'], labels: { 'kubernetes.io/os': 'windows' } }
  const linux = { name: 'l', ips: ['10.0.0.4'], labels: { 'kubernetes.io/os': 'linux' } }
  expect(
    peers([windows, linux, node('none')])
      .list()
      .map(({ name }) => name),
  ).toEqual(['l', 'a'])
})

test('ClusterPeers has its list looked at again until the listener is disposed', () => {
  vi.useFakeTimers()
  try {
    const heard = vi.fn()
    const subscription = peers([], { pollMs: 1000 }).onChange(heard)
    vi.advanceTimersByTime(2500)
    expect(heard).toHaveBeenCalledTimes(2)
    subscription[Symbol.dispose]()
    vi.advanceTimersByTime(5000)
    expect(heard).toHaveBeenCalledTimes(2)
  } finally {
    vi.useRealTimers()
  }
})
