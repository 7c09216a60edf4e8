import { describe, expect, test } from 'vitest'
import { compile } from '../filters/compile.ts'
import type { Predicate } from '../filters/predicate.ts'
import { gauge, startApi, until } from '../test/helpers/api-server.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import type { GetFlowsRequest } from './gen/observer/observer.ts'
import type { OnQuery } from './live-queries.ts'

interface Announced {
  readonly name: string
  readonly whitelist: readonly Predicate[]
  readonly blacklist: readonly Predicate[]
  isGone: boolean
}

function recorder(): { all: Announced[]; onQuery: OnQuery } {
  const all: Announced[] = []
  const onQuery: OnQuery = (name, whitelist, blacklist) => {
    const announced = { name, whitelist, blacklist, isGone: false }
    all.push(announced)
    return {
      [Symbol.dispose]() {
        announced.isGone = true
      },
    }
  }
  return { all, onQuery }
}

/** Two flows, to ports 80 and 443. */
function twoFlows(): TestFlowStore {
  const store = new TestFlowStore(16)
  store.push({ dstPort: 80 }, { dstPort: 443 })
  return store
}

describe('GetFlows and live queries', () => {
  test('announces a client that follows, with its filters, until its stream ends', async () => {
    const { all, onQuery } = recorder()
    const store = twoFlows()
    const { client, server } = await startApi(store, { deps: { onQuery } })
    const abort = new AbortController()
    const request = {
      follow: true,
      whitelist: [{ destination_port: ['80'] }, { source_pod: ['shop/'] }],
      blacklist: [{ protocol: ['udp'] }],
    } as unknown as Partial<GetFlowsRequest>
    const stream = client.getFlows(request, { signal: abort.signal })
    const first = stream[Symbol.asyncIterator]().next()
    await until('the client is announced', () => all.length === 1)
    const [{ name, whitelist, blacklist, isGone }] = all as [Announced]
    expect(name).toMatch(/^grpc-node-js\/\S+ from 127\.0\.0\.1:\d+$/)
    expect([whitelist.length, blacklist.length, isGone]).toEqual([2, 1, false])
    const view = store.createView()
    const answers = [0, 1].map((sequence) => {
      store.seek(view, sequence)
      return compile(whitelist[0]!)(view)
    })
    expect(answers).toEqual([true, false])
    expect(gauge(server, 'sluice_api_live_queries')).toBe(1)
    abort.abort()
    await first.catch(() => {})
    await until('the client is gone', () => all[0]!.isGone)
    expect(gauge(server, 'sluice_api_live_queries')).toBe(0)
  })

  test.each<[string, object, number]>([
    ['a request for the past', { number: 1n }, 0],
    ['a request that follows and is to end in the past', { follow: true, until: { seconds: 1n, nanos: 0 } }, 0],
    ['a request that follows from the past on', { follow: true, since: { seconds: 1n, nanos: 0 } }, 1],
    ['a request that follows to a time to come', { follow: true, until: { seconds: 99_999_999_999n, nanos: 0 } }, 1],
    ['a request that is refused', { follow: true, first: true }, 0],
    ['a filter that is refused', { follow: true, whitelist: [{ source_ip: ['nonsense'] }] }, 0],
  ])('%s', async (_, request, count) => {
    const { all, onQuery } = recorder()
    const { client } = await startApi(twoFlows(), { deps: { onQuery } })
    const abort = new AbortController()
    const stream = client.getFlows(request as Partial<GetFlowsRequest>, { signal: abort.signal })
    const first = stream[Symbol.asyncIterator]()
      .next()
      .catch(() => undefined)
    if (count > 0) await until('the client is announced', () => all.length === count)
    else await Promise.race([first, new Promise((resolve) => setTimeout(resolve, 100))])
    expect(all).toHaveLength(count)
    abort.abort()
    await first
    await until('all are gone', () => all.every(({ isGone }) => isGone))
  })

  test.each<[string, OnQuery]>([
    [
      'cannot be announced',
      () => {
        throw new Error('no room')
      },
    ],
    [
      'cannot be taken back',
      () => ({
        [Symbol.dispose]() {
          throw new Error('gone already')
        },
      }),
    ],
  ])('a client that %s gets its flows all the same, and it is counted', async (_, onQuery) => {
    const store = twoFlows()
    const { client, server } = await startApi(store, { deps: { onQuery } })
    const abort = new AbortController()
    const seen: number[] = []
    for await (const { flow } of client.getFlows({ follow: true, number: 2n }, { signal: abort.signal })) {
      seen.push(flow?.l4?.TCP?.destination_port ?? 0)
      if (seen.length === 2) store.push({ dstPort: 22 })
      if (seen.length === 3) break
    }
    abort.abort()
    expect(seen).toEqual([80, 443, 22])
    await until('it was counted', () => gauge(server, 'sluice_api_live_query_failures_total') === 1)
  })
})
