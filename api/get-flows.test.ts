import { describe, expect, test } from 'vitest'
import { collect, firstOf, gauge, startApi, until } from '../test/helpers/api-server.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { type FlowsRequest, ObserverClient } from './client.ts'
import type { GetFlowsResponse } from './gen/observer/observer.ts'

const START = 1_790_000_000
const ALL = 2n ** 64n - 1n

/** Ten flows, a second apart, numbered by their source port from 0; every third one is UDP. */
function tenFlows(capacity = 16): TestFlowStore {
  const store = new TestFlowStore(capacity)
  for (let i = 0; i < 10; i++) push(store, i)
  return store
}

function push(store: TestFlowStore, i: number): void {
  store.push({ srcPort: i, protocol: i % 3 === 0 ? 17 : 6, time: BigInt(START + i) * 1_000_000_000n + 500n })
}

function numberOf({ flow }: GetFlowsResponse): number {
  return flow?.l4?.TCP?.source_port ?? flow?.l4?.UDP?.source_port ?? -1
}

const at = (secs: number, nanos = 500) => ({ seconds: BigInt(START + secs), nanos })
const UDP = { whitelist: [{ protocol: ['udp'] }] }
const NO_UDP = { blacklist: [{ protocol: ['UDP'] }] }

/** Hubble's table of GetFlows ranges. */
const ranges: [request: FlowsRequest, expected: number[]][] = [
  [{}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  [{ number: 3n }, [7, 8, 9]],
  [{ number: 100n }, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  [{ number: ALL }, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  [{ number: 3n, first: true }, [0, 1, 2]],
  [{ number: ALL, first: true }, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  [{ first: true }, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  [{ ...UDP }, [0, 3, 6, 9]],
  [{ ...UDP, number: 2n }, [6, 9]],
  [{ ...UDP, number: 4n }, [0, 3, 6, 9]],
  [{ ...UDP, number: 5n }, [0, 3, 6, 9]],
  [{ ...UDP, number: 2n, first: true }, [0, 3]],
  [{ ...NO_UDP }, [1, 2, 4, 5, 7, 8]],
  [{ ...NO_UDP, number: 1n }, [8]],
  [{ blacklist: [{}] }, []],
  [{ whitelist: [{}] }, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  [{ since: at(7) }, [7, 8, 9]],
  [{ since: at(7, 501) }, [8, 9]],
  [{ since: at(7), number: 2n }, [7, 8]],
  [{ since: at(7), number: 2n, first: true }, [7, 8]],
  [{ since: at(-1000) }, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  [{ since: { seconds: -5n, nanos: 0 } }, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  [{ since: at(1000) }, []],
  [{ until: at(2) }, [0, 1, 2]],
  [{ until: at(2, 499) }, [0, 1]],
  [{ since: at(2), until: at(4) }, [2, 3, 4]],
  [{ since: at(4), until: at(2) }, []],
  // The number is counted back from the newest flow, whatever `until` says.
  [{ until: at(8), number: 3n }, [7, 8]],
  [{ until: at(2), number: 3n }, []],
  [{ until: at(1), number: 2n, first: true }, [0, 1]],
  [{ ...UDP, until: at(6), number: 2n }, [6]],
  [{ ...UDP, since: at(1), number: 2n }, [3, 6]],
]

describe('GetFlows', () => {
  test.each(ranges)('answers %o', async (request, expected) => {
    const { client } = await startApi(tenFlows())
    expect((await collect(client.getFlows(request))).map(numberOf)).toEqual(expected)
  })

  test('answers from an empty history', async () => {
    const { client } = await startApi(new TestFlowStore())
    for (const request of [{}, { number: 5n }, { first: true }, { since: at(0) }]) {
      expect(await collect(client.getFlows(request))).toEqual([])
    }
  })

  test('answers from a history that has wrapped', async () => {
    const { client } = await startApi(tenFlows(4))
    expect((await collect(client.getFlows({}))).map(numberOf)).toEqual([6, 7, 8, 9])
    expect((await collect(client.getFlows({ number: 9n, ...UDP }))).map(numberOf)).toEqual([6, 9])
    expect((await collect(client.getFlows({ number: 2n, first: true }))).map(numberOf)).toEqual([6, 7])
  })

  test('sends more matches than it remembers while it goes back', async () => {
    const store = new TestFlowStore(40_000)
    for (let i = 0; i < 40_000; i++) store.push({ srcPort: i & 0xffff, protocol: i % 2 ? 6 : 17 })
    const { client } = await startApi(store)
    const ports = (await collect(client.getFlows({ number: 17_000n, ...UDP }))).map(numberOf)
    expect(ports.length).toBe(17_000)
    expect([ports[0], ports.at(-1)]).toEqual([6000, 39_998])
  })

  test('sends only masked fields, and node name and time beside them', async () => {
    const { client } = await startApi(tenFlows())
    for (const mask of [{ field_mask: ['verdict'] }, { experimental: { field_mask: ['verdict'] } }]) {
      const [response] = await collect(client.getFlows({ number: 1n, ...mask }))
      expect(response?.flow).toMatchObject({ verdict: 1, Summary: '', IP: undefined, uuid: '' })
      expect([response?.node_name, response?.time]).toEqual(['node-1', at(9)])
    }
  })

  test('sends extensions to clients that ask for them only', async () => {
    const { address, client } = await startApi(tenFlows())
    using plain = await ObserverClient.create({ server: address, withExtensions: false })
    const [with_] = await collect(client.getFlows({ number: 1n }))
    const [without] = await collect(plain.getFlows({ number: 1n }))
    expect(with_?.flow?.extensions?.type_url).toBe('type.googleapis.com/sluice.v1.FlowExtensions')
    expect(without?.flow?.extensions).toBeUndefined()
  })
})

/** Starts to follow; `seen` grows as flows come. */
function follow(client: ObserverClient, request: FlowsRequest) {
  const seen: number[] = []
  const abort = new AbortController()
  const ended = (async () => {
    for await (const response of client.getFlows({ ...request, follow: true }, { signal: abort.signal })) {
      seen.push(response.lost_events ? -2 : numberOf(response))
    }
  })()
  return { seen, ended, stop: () => abort.abort() }
}

describe('GetFlows with follow', () => {
  test.each([
    [{}, []],
    [{ number: 2n }, [8, 9]],
    [{ number: ALL }, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    [{ since: at(8) }, [8, 9]],
    [{ number: 1n, ...UDP }, [9]],
  ] as [FlowsRequest, number[]][])('of %o sends the history wanted, then what comes', async (request, history) => {
    const store = tenFlows(64)
    const { client, server } = await startApi(store)
    const { seen, stop, ended } = follow(client, request)
    await until('the stream is open', () => gauge(server, 'sluice_api_streams') === 1)
    await until('the history has come', () => seen.length === history.length)
    for (let i = 10; i < 13; i++) push(store, i)
    const news = 'whitelist' in request ? [12] : [10, 11, 12]
    await until('new flows have come', () => seen.length === history.length + news.length)
    expect(seen).toEqual([...history, ...news])
    stop()
    await ended
    await until('the stream is freed', () => gauge(server, 'sluice_api_streams') === 0)
    push(store, 14)
  })

  test('ends when a flow later than until comes', async () => {
    const store = tenFlows()
    const { client, server } = await startApi(store)
    const { seen, ended } = follow(client, { until: at(11) })
    await until('the stream is open', () => gauge(server, 'sluice_api_streams') === 1)
    for (let i = 10; i < 13; i++) push(store, i)
    await ended
    expect(seen).toEqual([10, 11])
  })

  test('tells of records that were lost before the history, with CPU and times', async () => {
    const store = tenFlows()
    const { client, server } = await startApi(store)
    const abort = new AbortController()
    const got = firstOf(
      client.getFlows({ follow: true, whitelist: [{ protocol: ['icmp'] }] }, { signal: abort.signal }),
      abort,
    )
    await until('the stream is open', () => gauge(server, 'sluice_api_streams') === 1)
    store.loseRecords({ source: 1, count: 5, cpu: 3, firstMs: 1_790_000_000_250, lastMs: 1_790_000_001_000 })
    store.loseRecords({ source: 1, count: 2, cpu: 3, firstMs: 1_790_000_000_300, lastMs: 1_790_000_002_000 })
    store.loseRecords({ source: 2, count: 1, cpu: undefined, firstMs: 1, lastMs: 1 })
    const response = await got
    expect(response).toMatchObject({
      node_name: 'node-1',
      lost_events: {
        source: 1,
        num_events_lost: 7n,
        cpu: 3,
        first: { seconds: 1_790_000_000n, nanos: 250_000_000 },
        last: { seconds: 1_790_000_002n, nanos: 0 },
      },
    })
  })
})

const hostile: [name: string, request: FlowsRequest, text: RegExp][] = [
  ['first with follow', { first: true, follow: true }, /first cannot be specified with follow/],
  ['a mask of an unknown field', { field_mask: ['source.nope'] }, /invalid fieldmask: "source.nope"/],
  ['a bad regular expression', { whitelist: [{ http_path: ['('], event_type: [{ type: 129 }] }] }, /http_path/],
  ['a catastrophic regular expression in a look-ahead', { whitelist: [{ dns_query: ['(?=a)b'] }] }, /dns_query/],
  ['a bad address', { blacklist: [{ source_ip: ['10.0.0.256'] }] }, /source_ip.*10\.0\.0\.256/],
  ['a bad port', { whitelist: [{ destination_port: ['http'] }] }, /destination_port.*http/],
  ['too many filters', { whitelist: new Array(1001).fill({ protocol: ['tcp'] }) }, /1001 filters/],
  ['nanoseconds beyond a second', { since: { seconds: 1n, nanos: 1_000_000_000 } }, /invalid since/],
  ['a time beyond year 9999', { until: { seconds: 2n ** 62n, nanos: 0 } }, /invalid until/],
]

describe('GetFlows refuses', () => {
  test.each(hostile)('%s before it sends anything', async (_name, request, text) => {
    const { client, server } = await startApi(tenFlows())
    await expect(collect(client.getFlows(request))).rejects.toMatchObject({
      code: 'SLUICE_RPC',
      message: expect.stringMatching(text),
    })
    expect(gauge(server, 'sluice_api_streams')).toBe(0)
    expect((await collect(client.getFlows({ number: 1n }))).length).toBe(1)
  })

  test('to go on when a flow cannot be read, and only that stream ends', async () => {
    const store = tenFlows()
    const names = store.context.names
    store.push({ destinationNames: ['a.example'], time: BigInt(START + 11) * 1_000_000_000n })
    Object.assign(store.context, {
      names: () => {
        throw new Error('broken table')
      },
    })
    const { client } = await startApi(store)
    await expect(collect(client.getFlows({}))).rejects.toThrow(/INTERNAL: broken table/)
    Object.assign(store.context, { names })
    expect((await collect(client.getFlows({}))).length).toBe(11)
  })

  test('requests larger than a megabyte', async () => {
    const { client } = await startApi(tenFlows())
    const request = { whitelist: [{ source_pod: new Array(9000).fill('x'.repeat(200)) }] }
    await expect(collect(client.getFlows(request))).rejects.toMatchObject({
      message: expect.stringMatching(/RESOURCE_EXHAUSTED/),
    })
  })

  test('streams beyond the limit, and takes them again when one has ended', async () => {
    const { client, server } = await startApi(tenFlows(), { api: { maxStreams: 2 } })
    const first = follow(client, {})
    const second = follow(client, {})
    await until('two streams are open', () => gauge(server, 'sluice_api_streams') === 2)
    await expect(collect(client.getFlows({}))).rejects.toThrow(/2 streams are open, which is the limit/)
    first.stop()
    await until('one stream has ended', () => gauge(server, 'sluice_api_streams') === 1)
    expect((await collect(client.getFlows({ number: 1n }))).length).toBe(1)
    second.stop()
  })
})
