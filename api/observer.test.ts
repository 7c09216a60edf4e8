import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { EndpointEvent } from '../model/contracts.ts'
import { collect, firstOf, gauge, startApi, until } from '../test/helpers/api-server.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { AgentEventRing } from './agent-events.ts'

const START = 1_790_000_000

/** Ten flows, a second apart. */
function tenFlows(capacity = 16): TestFlowStore {
  const store = new TestFlowStore(capacity)
  for (let i = 0; i < 10; i++) store.push({ time: BigInt(START + i) * 1_000_000_000n })
  return store
}

describe('ServerStatus', () => {
  test('counts flows held, seen and per second', async () => {
    const { client } = await startApi(tenFlows(4), { deps: { now: clock(START + 10) } })
    expect(await client.serverStatus()).toMatchObject({
      num_flows: 4n,
      max_flows: 4n,
      seen_flows: 10n,
      version: 'sluice v0.1.0',
      num_connected_nodes: undefined,
      unavailable_nodes: [],
      flows_rate: expect.closeTo(1, 2) as number,
    })
  })

  test('says 0 flows per second when the last flow is more than a minute old', async () => {
    const { client } = await startApi(tenFlows(), { deps: { now: clock(START + 100) } })
    expect((await client.serverStatus()).flows_rate).toBe(0)
  })
})

/** A wall clock that stands at a second. */
function clock(secs: number): () => number {
  return () => secs * 1000
}

describe('GetNodes', () => {
  test('answers with this node', async () => {
    const { client, address } = await startApi(tenFlows())
    const { nodes } = await client.getNodes()
    expect(nodes).toMatchObject([
      { name: 'node-1', address, state: 1, tls: { enabled: false }, num_flows: 10n, max_flows: 16n, seen_flows: 10n },
    ])
  })
})

describe('GetNamespaces', () => {
  test('lists what the collector has seen', async () => {
    const seen = [
      { cluster: '', namespace: 'shop' },
      { cluster: 'blue', namespace: 'a' },
    ]
    const { client } = await startApi(tenFlows(), { deps: { namespaces: { list: () => seen } } })
    expect((await client.getNamespaces()).namespaces).toEqual(seen)
  })

  test('lists nothing where nobody keeps count', async () => {
    const { client } = await startApi(tenFlows())
    expect((await client.getNamespaces()).namespaces).toEqual([])
  })
})

describe('GetAgentEvents', () => {
  const endpoint = (podName: string): EndpointEvent['endpoint'] => ({
    ref: 1,
    id: 7,
    identity: 300,
    namespace: 'shop',
    podName,
    podUid: '',
    labels: ['k8s:app=a'],
    workloads: [],
    clusterName: '',
    isLocal: true,
  })

  test('tells what happened, in ranges as GetFlows, and then what happens', async () => {
    let now = START * 1000
    const { client, server } = await startApi(tenFlows(), { deps: { now: () => now } })
    server.agentEvents.agentStarted()
    now += 1000
    server.agentEvents.endpoint({ kind: 'created', endpoint: endpoint('a-0') })
    now += 1000
    server.agentEvents.endpoint({ kind: 'updated', endpoint: endpoint('a-0') })
    server.agentEvents.endpoint({ kind: 'created', endpoint: { ...endpoint('far-0'), isLocal: false } })
    server.agentEvents.endpoint({ kind: 'deleted', endpoint: endpoint('a-0') })
    const types = async (request: Parameters<typeof client.getAgentEvents>[0]) =>
      (await collect(client.getAgentEvents(request))).map(({ agent_event }) => agent_event?.type)
    expect(await types({})).toEqual([2, 7, 5, 8])
    expect(await types({ number: 1n })).toEqual([8])
    expect(await types({ number: 2n, first: true })).toEqual([2, 7])
    expect(await types({ since: { seconds: BigInt(START + 1), nanos: 0 } })).toEqual([7, 5, 8])
    expect(await types({ until: { seconds: BigInt(START + 1), nanos: 0 } })).toEqual([2, 7])
    const [created] = await collect(
      client.getAgentEvents({ number: 1n, since: { seconds: BigInt(START + 1), nanos: 0 } }),
    )
    expect(created?.agent_event?.endpoint_update).toEqual({
      id: 7n,
      labels: ['k8s:app=a'],
      error: '',
      pod_name: 'a-0',
      namespace: 'shop',
    })
    const abort = new AbortController()
    const followed = firstOf(client.getAgentEvents({ follow: true }, { signal: abort.signal }), abort)
    await until('the stream is open', () => gauge(server, 'sluice_api_streams') === 1)
    server.agentEvents.endpoint({ kind: 'created', endpoint: endpoint('b-0') })
    expect((await followed)?.agent_event?.endpoint_update?.pod_name).toBe('b-0')
  })

  test('forgets the oldest events beyond its capacity', async () => {
    const agentEvents = new AgentEventRing('node-1', { capacity: 3 })
    for (let i = 0; i < 5; i++) agentEvents.endpoint({ kind: 'created', endpoint: endpoint(`p-${i}`) })
    const { client } = await startApi(tenFlows(), { deps: { agentEvents } })
    const events = await collect(client.getAgentEvents({}))
    expect(events.map(({ agent_event }) => agent_event?.endpoint_update?.pod_name)).toEqual(['p-2', 'p-3', 'p-4'])
  })
})

describe('GetDebugEvents', () => {
  test('ends at once', async () => {
    const { client } = await startApi(tenFlows())
    expect(await collect(client.getDebugEvents({ number: 20n }))).toEqual([])
  })
})

describe('Peer.Notify', () => {
  test.each([
    ['the node’s name where the server listens on every address', '', undefined, /^node-1:\d+$/],
    ['the address that it listens on', '127.0.0.1', undefined, /^127\.0\.0\.1:\d+$/],
    ['the address that is given', '', '10.0.0.7:4244', /^10\.0\.0\.7:4244$/],
  ])('tells a relay %s', async (_what, host, advertise, wanted) => {
    const directory = await mkdtemp(join(tmpdir(), 'sluice-peer-'))
    onTestFinished(() => rm(directory, { recursive: true }))
    const listen = [
      { kind: 'unix', path: join(directory, 'hubble.sock') },
      { kind: 'tcp', host, port: 0 },
    ] as const
    const { client } = await startApi(tenFlows(), {
      api: { listen, ...(advertise === undefined ? {} : { advertise }) },
    })
    for await (const change of client.watchPeers({ signal: AbortSignal.timeout(5000) })) {
      expect(change.address).toMatch(wanted)
      break
    }
  })

  test('adds every node, then tells changes', async () => {
    let nodes = [
      { name: 'a', address: '10.0.0.1:4244', tlsServerName: undefined },
      { name: 'b', address: '10.0.0.2:4244', tlsServerName: 'b.default.hubble-grpc.cilium.io' },
    ]
    let changed = () => {}
    const peers = {
      list: () => nodes,
      onChange: (listener: () => void) => {
        changed = listener
        return { [Symbol.dispose]() {} }
      },
    }
    const { client } = await startApi(tenFlows(), { deps: { peers } })
    const abort = new AbortController()
    const seen: unknown[] = []
    const ended = (async () => {
      for await (const change of client.watchPeers({ signal: abort.signal }))
        seen.push([change.type, change.name, change.address, change.tls?.server_name])
    })()
    await until('both nodes are added', () => seen.length === 2)
    nodes = [{ name: 'b', address: '10.0.0.3:4244', tlsServerName: undefined }]
    changed()
    await until('the changes are told', () => seen.length === 4)
    expect(seen).toEqual([
      [1, 'a', '10.0.0.1:4244', undefined],
      [1, 'b', '10.0.0.2:4244', 'b.default.hubble-grpc.cilium.io'],
      [2, 'a', '10.0.0.1:4244', undefined],
      [3, 'b', '10.0.0.3:4244', undefined],
    ])
    abort.abort()
    await ended
  })
})
