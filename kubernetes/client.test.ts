import { describe, expect, onTestFinished, test } from 'vitest'
import { ApiDouble, type Fault } from '../test/helpers/api-double.ts'
import { node } from '../test/helpers/api-double-objects.ts'
import { ApiError } from './api-error.ts'
import { ApiClient } from './client.ts'
import { pathOf, RESOURCES } from './resource.ts'

async function setUp(options: { idleMs?: number; maxObjectBytes?: number } = {}) {
  const api = await ApiDouble.start()
  onTestFinished(() => api[Symbol.asyncDispose]())
  const client = new ApiClient(api.access(), { idleMs: 200, ...options })
  onTestFinished(() => client[Symbol.dispose]())
  return { api, client }
}

async function failed(run: Promise<unknown>): Promise<ApiError> {
  try {
    await run
  } catch (error) {
    if (error instanceof ApiError) return error
    throw error
  }
  throw new Error('It did not fail')
}

const place = { namespace: 'monitoring', name: 'l' }
const lease = (holder: string) => ({ metadata: place, spec: { holderIdentity: holder } })

describe('ApiClient', () => {
  test('creates, reads, replaces, patches and deletes', async () => {
    const { api, client } = await setUp()
    const made = await client.create(RESOURCES.leases, place, lease('a'), { fieldManager: 'sluice' })
    expect(made.metadata).toMatchObject({ ...place, generation: 1 })
    expect(await client.get(RESOURCES.leases, place, { anyVersion: true })).toEqual(made)
    const second = await client.replace(RESOURCES.leases, place, { ...made, ...{ spec: { holderIdentity: 'b' } } })
    expect(second['spec']).toEqual({ holderIdentity: 'b' })
    expect(await failed(client.replace(RESOURCES.leases, place, made))).toMatchObject({
      failure: 'conflict',
      status: 409,
    })
    const third = await client.mergePatch(RESOURCES.leases, place, { spec: { holderIdentity: null, x: 1 } })
    expect(third['spec']).toEqual({ x: 1 })
    const patch = { metadata: { resourceVersion: made.metadata.resourceVersion }, spec: { x: 2 } }
    expect((await failed(client.mergePatch(RESOURCES.leases, place, patch))).failure).toBe('conflict')
    expect((await failed(client.delete(RESOURCES.leases, place, { uid: 'another' }))).failure).toBe('conflict')
    await client.delete(RESOURCES.leases, place, { uid: made.metadata.uid })
    expect(await failed(client.get(RESOURCES.leases, place))).toMatchObject({
      failure: 'not_found',
      reason: 'NotFound',
      message: 'Cannot get leases monitoring/l: 404 NotFound leases.coordination.k8s.io "l" not found',
    })
    expect(api.requests.map(({ verb }) => verb)).toEqual([
      'create',
      'get',
      'update',
      'update',
      'patch',
      'patch',
      'delete',
      'delete',
      'get',
    ])
    expect(api.requests[0]?.query.get('fieldManager')).toBe('sluice')
  })

  test('writes the status of an object and nothing else of it', async () => {
    const { api, client } = await setUp()
    const resource = { group: 'x.test', version: 'v1', plural: 'things' }
    api.define({ ...resource, kind: 'Thing', namespaced: false, hasStatus: true })
    api.apply('things', { metadata: { name: 't' }, spec: { a: 1 } })
    const after = await client.patchStatus(resource, { name: 't' }, { spec: { a: 2 }, status: { state: 'CONFIGURED' } })
    expect(after).toMatchObject({ spec: { a: 1 }, status: { state: 'CONFIGURED' } })
  })

  test.each<[Fault, Partial<ApiError>]>([
    [
      { kind: 'status', code: 429, retryAfterSecs: 7 },
      { failure: 'throttled', retryAfterMs: 7000, status: 429 },
    ],
    [{ kind: 'status', code: 403, reason: 'Forbidden', message: 'no' }, { failure: 'forbidden' }],
    [{ kind: 'status', code: 404, body: '404 page not found' }, { failure: 'not_found' }],
    [{ kind: 'status', code: 410, reason: 'Expired' }, { failure: 'gone' }],
    // Some servers tell the reason in an answer of another code.
    [{ kind: 'status', code: 500, reason: 'Expired' }, { failure: 'gone' }],
    [{ kind: 'status', code: 422, reason: 'Invalid' }, { failure: 'invalid' }],
    [{ kind: 'status', code: 302, body: '' }, { failure: 'server' }],
    [
      { kind: 'status', code: 503, body: '<html>' },
      { failure: 'server', message: 'Cannot get nodes n: 503  <html>' },
    ],
    [{ kind: 'status', code: 500, body: `"${'x'.repeat(100_000)}"` }, { failure: 'server' }],
    [{ kind: 'reset' }, { failure: 'network' }],
    [{ kind: 'reset', afterMs: 20 }, { failure: 'network' }],
    [{ kind: 'hang' }, { failure: 'timeout', message: 'Cannot get nodes n: the API server sent nothing for 0.2 s' }],
    [{ kind: 'silent' }, { failure: 'timeout' }],
    [{ kind: 'truncate', bytes: 20 }, { failure: 'malformed' }],
    [{ kind: 'raw', text: '[]' }, { failure: 'malformed' }],
    [{ kind: 'raw', text: 'x'.repeat(3000) }, { failure: 'too_large' }],
  ])('fails at %j as %j', async (fault, expected) => {
    const { api, client } = await setUp({ maxObjectBytes: 2000 })
    api.apply('nodes', node('n', '192.168.0.1'))
    const sleeps = fault.kind === 'reset' && fault.afterMs !== undefined
    // An answer that is there at once cannot be reset in its midst.
    if (sleeps) api.fault({}, { kind: 'hang' })
    else api.fault({ verb: 'get' }, fault)
    if (sleeps) setTimeout(() => api[Symbol.asyncDispose](), fault.afterMs)
    const error = await failed(client.get(RESOURCES.nodes, { name: 'n' }))
    expect(error).toMatchObject(expected)
    expect(error.code).toBe('SLUICE_KUBERNETES_API')
    expect(error.message.length).toBeLessThan(1000)
  })

  test('fails at a server that is not there, and when it is told to stop', async () => {
    const { api, client } = await setUp({ idleMs: 10_000 })
    const stop = new AbortController()
    api.fault({}, { kind: 'hang' })
    const waiting = failed(client.get(RESOURCES.nodes, { name: 'n' }, { signal: stop.signal }))
    setTimeout(() => stop.abort(), 20)
    expect((await waiting).failure).toBe('stopped')
    expect((await failed(client.get(RESOURCES.nodes, { name: 'n' }, { signal: stop.signal }))).failure).toBe('stopped')
    await api[Symbol.asyncDispose]()
    const error = await failed(client.get(RESOURCES.nodes, { name: 'n' }))
    expect(error).toMatchObject({ failure: 'network', message: expect.stringContaining('ECONNREFUSED') })
  })

  test('keeps connections, and asks again when a kept one has been closed meanwhile', async () => {
    const { api, client } = await setUp()
    api.apply('nodes', node('n', '192.168.0.1'))
    for (let i = 0; i < 20; i++) {
      await client.get(RESOURCES.nodes, { name: 'n' })
      if (i === 9) expect(api.connections).toBe(1)
      if (i >= 9 && i % 3 === 0) api.fault({ times: 1 }, { kind: 'reset' })
    }
    expect(api.requests.length).toBe(24)
    expect(api.connections).toBe(5)
  })

  test('does not take its own time for a silence of the server', async () => {
    const { api, client } = await setUp({ idleMs: 60 })
    for (let i = 0; i < 100; i++) api.apply('nodes', node(`n${i}`, '192.168.0.1', { labels: { x: 'y'.repeat(2000) } }))
    let items = 0
    await client.list(RESOURCES.nodes, {}, () => {
      items++
      const end = performance.now() + 4
      while (performance.now() < end);
    })
    expect(items).toBe(100)
  })

  test('lists while other work goes on, item by item', async () => {
    const { api, client } = await setUp()
    for (let i = 0; i < 3000; i++) api.apply('nodes', node(`n${i}`, '192.168.0.1', { labels: { x: 'y'.repeat(500) } }))
    let turns = 0
    let isOver = false
    const turn = (): void => {
      turns++
      if (!isOver) setImmediate(turn)
    }
    turn()
    let items = 0
    let turnsBefore = 0
    const page = await client.list(RESOURCES.nodes, {}, () => {
      if (items++ === 0) turnsBefore = turns
      const end = performance.now() + 0.05
      while (performance.now() < end);
    })
    isOver = true
    expect(items).toBe(3000)
    expect(page.continue).toBe('')
    // 150 ms of work at least, in turns of 3 ms each.
    expect(turns - turnsBefore).toBeGreaterThan(20)
  })
})

test('pathOf() makes paths of collections, objects and subresources', () => {
  expect(pathOf(RESOURCES.pods)).toBe('/api/v1/pods')
  expect(pathOf(RESOURCES.pods, { namespace: 'shop' })).toBe('/api/v1/namespaces/shop/pods')
  expect(pathOf(RESOURCES.namespaces, { name: 'shop' })).toBe('/api/v1/namespaces/shop')
  expect(pathOf(RESOURCES.leases, { namespace: 'a/b', name: 'c d', subresource: 'status' })).toBe(
    '/apis/coordination.k8s.io/v1/namespaces/a%2Fb/leases/c%20d/status',
  )
})
