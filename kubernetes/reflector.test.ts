import { describe, expect, onTestFinished, test } from 'vitest'
import { ApiDouble, type ApiDoubleOptions } from '../test/helpers/api-double.ts'
import { pod } from '../test/helpers/api-double-objects.ts'
import { eventually } from '../test/helpers/eventually.ts'
import { ApiClient } from './client.ts'
import { Reflector, type ReflectorOptions } from './reflector.ts'
import { type ApiObject, RESOURCES } from './resource.ts'

interface Named {
  readonly name: string
  readonly version: string
  readonly app: string | undefined
}

const fast = { minMs: 1, maxMs: 20 }

async function setUp(
  options: { api?: ApiDoubleOptions; reflector?: Partial<ReflectorOptions<Named>>; maxObjectBytes?: number } = {},
) {
  const api = await ApiDouble.start({ bookmarkMs: 50, ...options.api })
  const calls: string[] = []
  const client = new ApiClient(api.access(), {
    idleMs: 300,
    ...(options.maxObjectBytes === undefined ? {} : { maxObjectBytes: options.maxObjectBytes }),
  })
  const reflector = new Reflector<Named>({
    client,
    resource: RESOURCES.pods,
    maxObjects: 10_000,
    pageSize: 3,
    backoff: fast,
    watchIdleMs: 300,
    pick: ({ metadata }: ApiObject) => ({
      name: metadata.name,
      version: metadata.resourceVersion,
      app: metadata.labels?.['app'],
    }),
    onUpsert: (now, before) => calls.push(`${before === undefined ? '+' : '~'}${now.name}@${now.version}`),
    onDelete: (last) => calls.push(`-${last.name}@${last.version}`),
    ...options.reflector,
  })
  onTestFinished(async () => {
    await reflector[Symbol.asyncDispose]()
    client[Symbol.dispose]()
    await api[Symbol.asyncDispose]()
  })
  let generation = 0
  const put = (name: string) => api.apply('pods', pod({ namespace: 'a', name, labels: { app: String(generation++) } }))
  const names = () => [...reflector.store.values()].map(({ name }) => name).sort()
  return { api, client, reflector, calls, put, names }
}

/** What is known is what there is, version by version. */
function isUpToDate(api: ApiDouble, reflector: Reflector<Named>): boolean {
  const known = [...reflector.store.values()].map(({ name, version }) => `${name}@${version}`).sort()
  const real = [...api.storage.find('', 'v1', 'pods')!.objects.values()]
  const wanted = real.map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`).sort()
  return JSON.stringify(known) === JSON.stringify(wanted)
}

describe('Reflector', () => {
  test('tells each version of each object once: pages, watch, deletion', async () => {
    const { api, reflector, calls, put } = await setUp()
    for (let i = 0; i < 8; i++) put(`p${i}`)
    reflector.start()
    await reflector.settled()
    expect(calls).toHaveLength(8)
    expect(api.seen('list', 'pods').map(({ query }) => query.get('limit'))).toEqual(['3', '3', '3'])
    const changed = put('p3')
    api.remove('pods', 'a', 'p5')
    put('p8')
    await eventually('the changes', () => isUpToDate(api, reflector))
    expect(calls.slice(8)).toEqual([
      `~p3@${changed.metadata.resourceVersion}`,
      expect.stringMatching(/^-p5@/),
      expect.stringMatching(/^\+p8@/),
    ])
    expect(reflector.state).toMatchObject({ synced: true, watching: true, objects: 8, lists: 1, lastError: '' })
  })

  test('takes a list of all in one answer, as servers give it from their cache whatever the limit is', async () => {
    const { api, reflector, calls, put } = await setUp()
    api.lists.ignoresLimitOfCachedLists = true
    for (let i = 0; i < 8; i++) put(`p${i}`)
    reflector.start()
    await reflector.settled()
    expect(calls).toHaveLength(8)
    const [query] = api.seen('list', 'pods').map((request) => request.query)
    expect([query?.get('resourceVersion'), query?.get('resourceVersionMatch')]).toEqual(['0', 'NotOlderThan'])
    expect(api.seen('list', 'pods')).toHaveLength(1)
  })

  test('goes on where it was when a watch ends or breaks, without a new list', async () => {
    const { api, reflector, put } = await setUp()
    put('p')
    reflector.start()
    await eventually('the watch', () => api.watching('pods') === 1)
    for (const how of ['end', 'reset', 'end', 'reset'] as const) {
      api.closeWatches(how)
      put('p')
      await eventually(`the change after ${how}`, () => isUpToDate(api, reflector) && api.watching('pods') === 1)
    }
    expect(api.seen('list', 'pods')).toHaveLength(1)
  })

  test('deletes after a new list what was deleted while it could not see it, and tells nothing twice', async () => {
    const { api, reflector, calls, put } = await setUp()
    for (const name of ['kept', 'gone', 'changed', 'again']) put(name)
    reflector.start()
    await eventually('the watch', () => api.watching('pods') === 1)
    calls.length = 0
    using _down = api.fault({}, { kind: 'reset' })
    api.closeWatches('reset')
    api.remove('pods', 'a', 'gone')
    put('changed')
    api.remove('pods', 'a', 'again')
    put('again')
    put('new')
    api.compact()
    _down[Symbol.dispose]()
    await eventually('all is known', () => isUpToDate(api, reflector))
    expect(calls.map((call) => call.replace(/@.*/, '')).sort()).toEqual([
      '+again',
      '+new',
      '-again',
      '-gone',
      '~changed',
    ])
    // The object of the same name is another one: the old one goes first.
    expect(calls.findIndex((call) => call.startsWith('-again'))).toBeLessThan(
      calls.findIndex((call) => call.startsWith('+again')),
    )
  })

  test.each([
    ['an ERROR event of code 410', 'event'],
    ['HTTP 410', 'http'],
  ] as const)('lists again at %s', async (_what, goneAs) => {
    const { api, reflector, put } = await setUp({ api: { goneAs } })
    put('p')
    reflector.start()
    await eventually('the watch', () => api.watching('pods') === 1)
    api.closeWatches('end')
    put('q')
    api.compact()
    await eventually('all is known', () => isUpToDate(api, reflector) && reflector.state.watching)
    expect(reflector.state.failures.get('gone')).toBe(1)
    expect(reflector.state.lists).toBe(2)
  })

  test('lists again at once at an ERROR event inside of a stream that runs', async () => {
    const { api, reflector, put } = await setUp()
    put('p')
    reflector.start()
    await eventually('the watch', () => api.watching('pods') === 1)
    api.compact()
    api.closeWatches('error')
    await eventually('the second list', () => reflector.state.lists === 2 && api.watching('pods') === 1)
    expect(isUpToDate(api, reflector)).toBe(true)
  })

  test('starts the list over, in one page, when a continue token has run out', async () => {
    const { api, reflector, put } = await setUp()
    for (let i = 0; i < 8; i++) put(`p${i}`)
    const fault = api.fault({ verb: 'list', times: 2 }, { kind: 'slow', bytesPerSecond: 4000 })
    reflector.start()
    await eventually('the first page', () => reflector.store.size >= 1)
    api.remove('pods', 'a', 'p0')
    api.expireContinues()
    fault[Symbol.dispose]()
    await eventually('all is known', () => isUpToDate(api, reflector))
    expect(reflector.state.failures.get('gone')).toBe(1)
    expect(api.seen('list', 'pods').at(-1)!.query.get('limit')).toBeNull()
  })

  test('reads the newest list when the server does not know the version yet', async () => {
    const { api, reflector, put } = await setUp()
    put('p')
    reflector.start()
    await eventually('the watch', () => api.watching('pods') === 1)
    // As after a restore of etcd: versions that were seen are of the future.
    const message = 'Too large resource version: 9, current: 5'
    const details = { causes: [{ reason: 'ResourceVersionTooLarge', message }] }
    const body = JSON.stringify({ kind: 'Status', status: 'Failure', reason: 'Timeout', message, details, code: 504 })
    api.fault({ verb: 'list', times: 1 }, { kind: 'status', code: 504, body })
    api.compact()
    api.closeWatches('error')
    await eventually('the list', () => reflector.state.watching && reflector.state.failures.get('too_new') === 1)
    const versions = api.seen('list', 'pods').map(({ query }) => query.get('resourceVersion'))
    expect(versions.slice(-2)).toEqual([expect.stringMatching(/^\d{4}$/), null])
  })

  test.each([
    ['throttled', { kind: 'status', code: 429, reason: 'TooManyRequests', retryAfterSecs: 0 }],
    ['server', { kind: 'status', code: 500, reason: 'InternalError' }],
    ['server', { kind: 'status', code: 503, body: '<html>no backend</html>' }],
    ['network', { kind: 'reset' }],
    ['malformed', { kind: 'truncate', bytes: 300 }],
    ['malformed', { kind: 'raw', text: 'not JSON at all' }],
    ['malformed', { kind: 'raw', text: '{"kind":"PodList","items":[]}' }],
    ['timeout', { kind: 'hang' }],
    ['timeout', { kind: 'silent' }],
    ['invalid', { kind: 'status', code: 422, reason: 'Invalid' }],
  ] as const)('comes through a list that fails as %s (%j)', async (failure, fault) => {
    const { api, reflector, put } = await setUp({ reflector: { pageSize: 500 } })
    for (let i = 0; i < 8; i++) put(`p${i}`)
    api.fault({ verb: 'list', times: 2 }, fault)
    reflector.start()
    await eventually('all is known', () => isUpToDate(api, reflector) && reflector.state.watching)
    expect(Object.fromEntries(reflector.state.failures)).toEqual({ [failure]: 2 })
    expect(reflector.state.lastError).toBe('')
  })

  test.each([
    ['throttled', { kind: 'status', code: 429, retryAfterSecs: 0 }],
    ['server', { kind: 'status', code: 500 }],
    ['network', { kind: 'reset', afterMs: 30 }],
    ['malformed', { kind: 'truncate', bytes: 100 }],
    ['malformed', { kind: 'raw', text: '{"type":"ADDED","object":{}' }],
    ['malformed', { kind: 'raw', text: '{"type":"SURPRISE","object":{}}\n' }],
    ['malformed', { kind: 'raw', text: '[1]\n' }],
    ['timeout', { kind: 'hang' }],
    ['timeout', { kind: 'silent' }],
    [
      'server',
      { kind: 'event', event: { type: 'ERROR', object: { kind: 'Status', code: 500, reason: 'InternalError' } } },
    ],
    ['short', { kind: 'raw', text: '' }],
  ] as const)('comes through a watch that fails as %s (%j) without a new list', async (failure, fault) => {
    const { api, reflector, put } = await setUp()
    put('p')
    api.fault({ verb: 'watch', times: 2 }, fault)
    reflector.start()
    await eventually('the watch', () => api.seen('watch', 'pods').length > 0)
    for (let i = 0; i < 3; i++) put(`p${i}`)
    await eventually('all is known', () => isUpToDate(api, reflector) && reflector.state.lastError === '')
    await eventually('both failures', () => reflector.state.failures.get(failure) === 2)
    expect(Object.fromEntries(reflector.state.failures)).toEqual({ [failure]: 2 })
    expect(reflector.state.lists).toBe(1)
  })

  test('does not ask without end when a server ends each watch after it has told something', async () => {
    const { api, reflector, put } = await setUp()
    put('p')
    const event = { type: 'BOOKMARK', object: { kind: 'Pod', metadata: { resourceVersion: '1001' } } }
    api.fault({ verb: 'watch' }, { kind: 'event', event })
    reflector.start()
    await reflector.settled()
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(reflector.state.events).toBeGreaterThan(0)
    expect(api.seen('watch', 'pods').length).toBeLessThan(20)
  })

  test('keeps up while every connection is reset after 30 ms', async () => {
    const { api, reflector, put } = await setUp()
    using _fault = api.fault({}, { kind: 'reset', afterMs: 30 })
    reflector.start()
    for (let i = 0; i < 100; i++) {
      put(`p${i % 20}`)
      if (i % 7 === 0) api.remove('pods', 'a', `p${i % 20}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await eventually('all is known', () => isUpToDate(api, reflector))
    expect(reflector.state.failures.get('network')).toBeGreaterThan(3)
  })

  test('waits as long as the server asks', async () => {
    const { api, reflector, put } = await setUp()
    put('p')
    api.fault({ verb: 'list', times: 1 }, { kind: 'status', code: 429, retryAfterSecs: 1 })
    const begun = performance.now()
    reflector.start()
    await reflector.settled()
    expect(performance.now() - begun).toBeGreaterThanOrEqual(1000)
  })

  test('is settled and asks on when it may not read, and comes in when it may', async () => {
    const { api, reflector, put } = await setUp()
    put('p')
    api.forbid('pods')
    reflector.start()
    await reflector.settled()
    expect(reflector.state).toMatchObject({ synced: false, lastError: expect.stringContaining('pods is forbidden') })
    api.allow('pods')
    reflector.poke()
    await eventually('the list', () => isUpToDate(api, reflector))
    expect(reflector.state.synced).toBe(true)
  })

  test('takes a resource that does not exist for empty, and finds it when it comes', async () => {
    const things = { group: 'x.test', version: 'v1', plural: 'things' }
    const { api, reflector, names } = await setUp({
      reflector: { resource: things, absentIsEmpty: true, absentDelayMs: 50 },
    })
    reflector.start()
    await reflector.settled()
    expect(reflector.state).toMatchObject({ synced: true, absent: true, lastError: '' })
    const type = { ...things, kind: 'Thing', namespaced: false, hasStatus: true }
    api.define(type)
    api.apply('things', { metadata: { name: 't' } })
    await eventually('the thing', () => names().includes('t'))
    expect(reflector.state.absent).toBe(false)
    api.undefine('things')
    await eventually('nothing', () => reflector.state.absent && names().length === 0)
  })

  test('refuses objects beyond its bound, counts them, and takes one when there is room', async () => {
    const { api, reflector, put, names } = await setUp({ reflector: { maxObjects: 2 } })
    for (const name of ['a', 'b', 'c']) put(name)
    reflector.start()
    await reflector.settled()
    expect(names()).toEqual(['a', 'b'])
    expect(reflector.state.refused).toBe(1)
    api.remove('pods', 'a', 'a')
    put('c')
    await eventually('c', () => names().join() === 'b,c')
  })

  test('leaves out what is picked as nothing or cannot be read, and goes on', async () => {
    const { api, reflector, put, names } = await setUp({
      reflector: {
        pick: ({ metadata }) => {
          if (metadata.name === 'broken') throw new Error('no such field')
          if (metadata.labels?.['phase'] === 'over') return undefined
          return { name: metadata.name, version: metadata.resourceVersion, app: undefined }
        },
      },
    })
    for (const name of ['broken', 'p', 'q']) put(name)
    reflector.start()
    await reflector.settled()
    expect(names()).toEqual(['p', 'q'])
    expect(reflector.state.unreadable).toBe(1)
    api.apply('pods', pod({ namespace: 'a', name: 'p', labels: { phase: 'over' } }))
    await eventually('p is over', () => names().join() === 'q')
    put('p')
    await eventually('p is back', () => names().join() === 'p,q')
  })

  test('refuses objects of unbounded length', async () => {
    const { api, reflector } = await setUp({ maxObjectBytes: 10_000 })
    api.apply('pods', pod({ namespace: 'a', name: 'p', labels: { long: 'x'.repeat(20_000) } }))
    reflector.start()
    await eventually('the refusal', () => (reflector.state.failures.get('too_large') ?? 0) > 0)
    expect(reflector.state.lastError).toContain('has more than 10000 bytes')
    api.remove('pods', 'a', 'p')
    await eventually('the list', () => reflector.state.synced)
  })

  test('asks for metadata only', async () => {
    const seen: ApiObject[] = []
    const { api, reflector, put } = await setUp({
      reflector: {
        metadataOnly: true,
        pick: (object) => {
          seen.push(object)
          return { name: object.metadata.name, version: object.metadata.resourceVersion, app: undefined }
        },
      },
    })
    put('p')
    reflector.start()
    await eventually('the watch', () => api.watching('pods') === 1)
    put('q')
    await eventually('both', () => seen.length === 2)
    for (const object of seen) expect(Object.keys(object).sort()).toEqual(['apiVersion', 'kind', 'metadata'])
  })

  test('tells nothing more once it is disposed, also while it waits or lists', async () => {
    const { api, reflector, calls, put } = await setUp()
    put('p')
    using _slow = api.fault({ verb: 'list' }, { kind: 'hang' })
    reflector.start()
    await eventually('the request', () => api.seen('list', 'pods').length === 1)
    await reflector[Symbol.asyncDispose]()
    put('q')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(calls).toEqual([])
    expect(reflector.state.watching).toBe(false)
  })
})
