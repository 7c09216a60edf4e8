import { describe, expect, onTestFinished, test } from 'vitest'
import { ApiDouble, type ApiDoubleOptions } from './api-double.ts'
import { node, pod } from './api-double-objects.ts'

async function start(options?: ApiDoubleOptions) {
  const api = await ApiDouble.start(options)
  onTestFinished(() => api[Symbol.asyncDispose]())
  const ask = async (path: string, method = 'GET', body?: object, headers: Record<string, string> = {}) => {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    const init = { method, headers: { 'content-type': type, ...headers } }
    const response = await fetch(api.url + path, body === undefined ? init : { ...init, body: JSON.stringify(body) })
    return { code: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  return { api, ask }
}

/** Lines of a watch until it ends, or until there are so many. */
async function lines(url: string, count: number): Promise<Record<string, unknown>[]> {
  const response = await fetch(url)
  const found: Record<string, unknown>[] = []
  let text = ''
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk
    const parts = text.split('\n')
    text = parts.pop()!
    for (const part of parts) found.push(JSON.parse(part) as Record<string, unknown>)
    if (found.length >= count) break
  }
  return found
}

const PODS = '/api/v1/namespaces/a/pods'

describe('ApiDouble', () => {
  test('lists pages of one snapshot while objects change', async () => {
    const { api, ask } = await start()
    for (const name of ['p1', 'p2', 'p3']) api.apply('pods', pod({ namespace: 'a', name, ip: '10.0.0.1' }))
    const first = await ask(`${PODS}?limit=2`)
    api.remove('pods', 'a', 'p3')
    const metadata = first.body['metadata'] as Record<string, string>
    const second = await ask(`${PODS}?limit=2&continue=${metadata['continue']}`)
    expect(first.body['items']).toHaveLength(2)
    expect(second.body['items']).toMatchObject([{ metadata: { name: 'p3' } }])
    expect((second.body['metadata'] as Record<string, string>)['resourceVersion']).toBe(metadata['resourceVersion'])
    api.expireContinues()
    expect(await ask(`${PODS}?limit=2&continue=${metadata['continue']}`)).toMatchObject({
      code: 410,
      body: { kind: 'Status', reason: 'Expired' },
    })
  })

  test('tells watches what they missed, what comes, and bookmarks', async () => {
    const { api } = await start({ bookmarkMs: 20 })
    api.apply('nodes', node('n1', '192.168.0.1'))
    const from = api.storage.revision
    api.apply('nodes', node('n2', '192.168.0.2'))
    api.remove('nodes', undefined, 'n1')
    const query = `watch=1&resourceVersion=${from}&allowWatchBookmarks=true`
    const seen = await lines(`${api.url}/api/v1/nodes?${query}`, 3)
    expect(seen.map((line) => line['type'])).toEqual(['ADDED', 'DELETED', 'BOOKMARK'])
  })

  test.each(['event', 'http'] as const)('refuses a watch from before the compaction by %s', async (goneAs) => {
    const { api } = await start({ goneAs })
    api.apply('nodes', node('n1', '192.168.0.1'))
    api.compact()
    const url = `${api.url}/api/v1/nodes?watch=1&resourceVersion=1001`
    if (goneAs === 'http') expect((await fetch(url)).status).toBe(410)
    else expect(await lines(url, 1)).toMatchObject([{ type: 'ERROR', object: { code: 410, reason: 'Expired' } }])
  })

  test('shows changes of a label as coming and going to a watch that selects it', async () => {
    const { api } = await start()
    const from = api.storage.revision
    for (const app of ['web', 'other', 'web']) api.apply('pods', pod({ namespace: 'a', name: 'p', labels: { app } }))
    const seen = await lines(`${api.url}${PODS}?watch=1&resourceVersion=${from}&labelSelector=app%3Dweb`, 3)
    expect(seen.map((line) => line['type'])).toEqual(['ADDED', 'DELETED', 'ADDED'])
  })

  test('refuses what a server refuses: conflicts, doubles, unknown resources, patches of another type', async () => {
    const { api, ask } = await start()
    const lease = { metadata: { name: 'l' }, spec: { holderIdentity: 'x' } }
    const leases = '/apis/coordination.k8s.io/v1/namespaces/a/leases'
    expect((await ask(leases, 'POST', lease)).code).toBe(201)
    expect(await ask(leases, 'POST', lease)).toMatchObject({ code: 409, body: { reason: 'AlreadyExists' } })
    const stale = { metadata: { name: 'l', resourceVersion: '1' }, spec: {} }
    expect(await ask(`${leases}/l`, 'PUT', stale)).toMatchObject({ code: 409, body: { reason: 'Conflict' } })
    expect(await ask(`${leases}/m`)).toMatchObject({ code: 404, body: { reason: 'NotFound' } })
    expect((await fetch(`${api.url}/apis/x/v1/things`)).status).toBe(404)
    const json = { 'content-type': 'application/json-patch+json' }
    expect((await ask(`${leases}/l`, 'PATCH', {}, json)).code).toBe(415)
  })

  test('keeps status and the rest apart, counts generations, and writes nothing when nothing changes', async () => {
    const { api, ask } = await start()
    const type = { group: 'x.test', version: 'v1', plural: 'things', kind: 'Thing', namespaced: false, hasStatus: true }
    api.define(type)
    const things = '/apis/x.test/v1/things'
    await ask(things, 'POST', { metadata: { name: 't' }, spec: { a: 1 }, status: { ignored: true } })
    expect(api.get('things', undefined, 't')).not.toHaveProperty('status')
    await ask(`${things}/t`, 'PATCH', { spec: { a: 2 }, status: { ignored: true } })
    await ask(`${things}/t/status`, 'PATCH', { spec: { a: 3 }, status: { state: 'CONFIGURED' } })
    const last = api.get('things', undefined, 't')
    expect(last).toMatchObject({ spec: { a: 2 }, status: { state: 'CONFIGURED' }, metadata: { generation: 2 } })
    await ask(`${things}/t/status`, 'PATCH', { status: { state: 'CONFIGURED' } })
    expect(api.get('things', undefined, 't')).toBe(last)
    api.undefine('things')
    expect((await fetch(api.url + things)).status).toBe(404)
  })

  test('asks for its token over TLS, and gives metadata only to who wants no more', async () => {
    const { api, ask } = await start({ token: 'secret' })
    api.apply('nodes', node('n1', '192.168.0.1'))
    expect(await ask('/api/v1/nodes')).toMatchObject({ code: 401, body: { reason: 'Unauthorized' } })
    const accept = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'
    const list = await ask('/api/v1/nodes', 'GET', undefined, { authorization: 'Bearer secret', accept })
    expect(list.body['kind']).toBe('PartialObjectMetadataList')
    expect(list.body['items']).toMatchObject([{ kind: 'PartialObjectMetadata', metadata: { name: 'n1' } }])
    expect((list.body['items'] as object[])[0]).not.toHaveProperty('status')
  })

  test('keeps an object with finalizers until they are gone', async () => {
    const { api, ask } = await start()
    api.apply('configmaps', { metadata: { namespace: 'a', name: 'c', finalizers: ['x.test/hold'] } })
    await ask('/api/v1/namespaces/a/configmaps/c', 'DELETE')
    expect(api.get('configmaps', 'a', 'c')?.metadata.deletionTimestamp).toBeDefined()
    await ask('/api/v1/namespaces/a/configmaps/c', 'PATCH', { metadata: { finalizers: null } })
    expect(api.get('configmaps', 'a', 'c')).toBeUndefined()
  })
})
