import { describe, expect, onTestFinished, test } from 'vitest'
import { Listeners } from '../base/lifetime.ts'
import { GROUP, RESOURCE_KINDS, VERSION } from '../filters/resources/kinds.ts'
import type { ClusterAccess } from '../kubernetes/access.ts'
import { ApiClient } from '../kubernetes/client.ts'
import { ApiDouble, type KubeObject } from '../test/helpers/api-double.ts'
import { eventually } from '../test/helpers/eventually.ts'
import { KubernetesResourceSource, type KubernetesSourceOptions } from './kubernetes-source.ts'
import type { Leadership } from './leadership.ts'
import type { ResourceDocument, ResourceRef, ResourceSink, ResourceStatus } from './resource.ts'

const LOGS = 'containernetworklogs'
const REF: ResourceRef = { kind: 'ContainerNetworkLog', name: 'l' }

class Leader implements Leadership {
  readonly #listeners = new Listeners<boolean>()
  isLeader = true

  onChange(listener: (isLeader: boolean) => void): Disposable {
    return this.#listeners.add(listener)
  }

  become(isLeader: boolean): void {
    this.isLeader = isLeader
    this.#listeners.emit(isLeader)
  }
}

/** Notes what a source tells. */
class Notes implements ResourceSink {
  readonly events: string[] = []
  readonly documents: ResourceDocument[] = []
  readonly troubles = new Map<string, string | undefined>()

  upsert(document: ResourceDocument): void {
    this.documents.push(document)
    const { ref, generation } = document
    this.events.push(`upsert ${ref.kind}/${ref.name} ${generation}`)
  }

  remove({ kind, name }: ResourceRef): void {
    this.events.push(`remove ${kind}/${name}`)
  }

  synced(): void {
    this.events.push('synced')
  }

  trouble(part: string, text: string | undefined): void {
    this.troubles.set(part, text)
  }
}

async function set(options: Partial<KubernetesSourceOptions> = {}) {
  const api = await ApiDouble.start({ bookmarkMs: 100 })
  onTestFinished(() => api[Symbol.asyncDispose]())
  for (const kind of RESOURCE_KINDS) defineKind(api, kind.plural)
  const access: ClusterAccess = {
    server: new URL(api.url),
    namespace: 'kube-system',
    credentials: async () => ({ headers: {}, tls: {} }),
  }
  const client = new ApiClient(access, { idleMs: 2000 })
  onTestFinished(() => client[Symbol.dispose]())
  const leader = new Leader()
  const backoff = { minMs: 10, maxMs: 50 }
  const source = new KubernetesResourceSource({
    client,
    leadership: leader,
    backoff,
    absentDelayMs: 60_000,
    startDeadlineMs: 1000,
    checkMs: 20,
    ...options,
  })
  onTestFinished(() => source[Symbol.asyncDispose]())
  const stop = new AbortController()
  onTestFinished(() => stop.abort())
  const notes = new Notes()
  const start = () => source.start(notes, stop.signal)
  const stored = () => api.get(LOGS, undefined, 'l')?.['status'] as Record<string, unknown> | undefined
  const patches = () => api.seen('patch', LOGS).length
  return { api, leader, source, notes, stop, start, stored, patches }
}

function defineKind(api: ApiDouble, plural: string): void {
  const kind = RESOURCE_KINDS.find((one) => one.plural === plural)!
  api.define({ group: GROUP, version: VERSION, plural, kind: kind.kind, namespaced: false, hasStatus: true })
}

const log = (protocol: string, name = 'l'): KubeObject => ({
  metadata: { name },
  spec: { includefilters: [{ protocol: [protocol] }] },
})

function status(generation: number, change: Partial<ResourceStatus> = {}): ResourceStatus {
  const { state = 'CONFIGURED', reason = 'Configured', timestamp = '2026-11-24T10:00:00Z' } = change
  const isGood = state === 'CONFIGURED' ? 'True' : 'False'
  const common = { reason, message: '', lastTransitionTime: timestamp, observedGeneration: generation }
  return {
    state,
    reason,
    message: '1 filter in force',
    warnings: [],
    observedGeneration: generation,
    filters: 1,
    timestamp,
    conditions: [
      { type: 'Accepted', status: isGood, ...common },
      { type: 'Applied', status: isGood, ...common },
    ],
    ...change,
  }
}

/** Time in which something wrong would have happened. */
const aWhile = () => new Promise((resolve) => setTimeout(resolve, 150))

describe('KubernetesResourceSource.start()', () => {
  test('tells resources of each kind, each change of a spec once, and deletions', async () => {
    const { api, notes, start } = await set()
    api.apply(LOGS, log('tcp'))
    api.apply('containernetworkmetrics', { metadata: { name: 'm' }, spec: {} })
    api.apply('retinanetworkflowlogs', log('tcp', 'r'))
    await start()
    expect(notes.events.slice(0, 3).sort()).toEqual([
      'upsert ContainerNetworkLog/l 1',
      'upsert ContainerNetworkMetric/m 1',
      'upsert RetinaNetworkFlowLog/r 1',
    ])
    expect(notes.events[3]).toBe('synced')
    api.apply(LOGS, log('udp'))
    api.apply(LOGS, { metadata: { name: 'l', labels: { a: 'b' } }, ...{ spec: log('udp')['spec'] } })
    api.apply(LOGS, { metadata: { name: 'l' }, status: { state: 'FAILED' } })
    api.remove(LOGS, undefined, 'l')
    await eventually('the deletion is told', () => notes.events.includes('remove ContainerNetworkLog/l'))
    expect(notes.events.slice(4, 5)).toEqual(['upsert ContainerNetworkLog/l 2'])
  })

  test('hands on the document as it is, without what the server adds', async () => {
    const { api, notes, start } = await set()
    api.apply(LOGS, { ...log('tcp'), status: { state: 'FAILED' }, metadata: { name: 'l', managedFields: [{}] } })
    await start()
    const [document] = notes.documents
    expect(document).toMatchObject({ ref: REF, generation: 1, file: '' })
    expect(document?.uid).toMatch(/^[0-9a-f-]{36}$/)
    const value = document?.value as Record<string, Record<string, unknown>>
    expect(Object.keys(value).sort()).toEqual(['apiVersion', 'kind', 'metadata', 'spec'])
    expect(value['metadata']).not.toHaveProperty('managedFields')
    expect(value['spec']).toEqual({ includefilters: [{ protocol: ['tcp'] }] })
  })

  test('tells another resource of the same name as removed and new', async () => {
    const { api, notes, start } = await set()
    api.apply(LOGS, log('tcp'))
    await start()
    using _ = api.fault({ verb: 'watch' }, { kind: 'reset' })
    api.closeWatches('reset')
    api.remove(LOGS, undefined, 'l')
    api.apply(LOGS, log('tcp'))
    api.compact()
    _[Symbol.dispose]()
    await eventually('the new one is told', () => notes.events.length === 4)
    expect(notes.events).toEqual([
      'upsert ContainerNetworkLog/l 1',
      'synced',
      'remove ContainerNetworkLog/l',
      'upsert ContainerNetworkLog/l 1',
    ])
    expect(notes.documents[0]?.uid).not.toBe(notes.documents[1]?.uid)
  })

  test('takes a missing definition for no resources, and finds it when it is asked to look', async () => {
    const { api, notes, source, start } = await set()
    for (const { plural } of RESOURCE_KINDS) api.undefine(plural)
    await start()
    expect(notes.events).toEqual(['synced'])
    expect([...notes.troubles.values()].every((text) => text === undefined)).toBe(true)
    expect(source.states().map(({ absent }) => absent)).toEqual([true, true, true])
    defineKind(api, LOGS)
    api.apply(LOGS, log('tcp'))
    await aWhile()
    expect(notes.events).toEqual(['synced'])
    source.poke()
    await eventually('the resource is told', () => notes.events.length === 2)
  })

  test('looks for missing definitions by itself, and drops resources whose definition goes', async () => {
    const { api, notes, start } = await set({ absentDelayMs: 20 })
    api.undefine(LOGS)
    await start()
    defineKind(api, LOGS)
    api.apply(LOGS, log('tcp'))
    await eventually('the resource is told', () => notes.events.includes('upsert ContainerNetworkLog/l 1'))
    api.undefine(LOGS)
    await eventually('it is gone', () => notes.events.at(-1) === 'remove ContainerNetworkLog/l')
  })

  test('ends without an API server, says what is wrong, and goes on when there is one', async () => {
    const { api, notes, start } = await set({ startDeadlineMs: 50 })
    api.apply(LOGS, log('tcp'))
    const fault = api.fault({ verb: 'list' }, { kind: 'status', code: 500, message: 'etcd is down' })
    await start()
    expect(notes.events).toEqual([])
    expect(notes.troubles.get('ContainerNetworkLog')).toMatch(/Cannot list containernetworklogs.*etcd is down/)
    fault[Symbol.dispose]()
    await eventually('it is synced', () => notes.events.includes('synced'))
    await eventually('no trouble is left', () => [...notes.troubles.values()].every((text) => text === undefined))
  })

  test('says when there are more resources than room', async () => {
    const { api, notes, start } = await set({ maxResources: 2 })
    for (const name of ['a', 'b', 'c']) api.apply(LOGS, log('tcp', name))
    await start()
    expect(notes.documents).toHaveLength(2)
    expect(notes.troubles.get('ContainerNetworkLog')).toBe(
      'Cannot take all of containernetworklogs.acn.azure.com: there is room for 2, delete some',
    )
    api.remove(LOGS, undefined, 'a')
    await eventually('that is over', () => notes.troubles.get('ContainerNetworkLog') === undefined)
  })

  test('ends when the signal aborts, and tells nothing after', async () => {
    const { api, notes, start, stop } = await set({ startDeadlineMs: 60_000 })
    using _ = api.fault({ verb: 'list' }, { kind: 'hang' })
    const started = start()
    stop.abort()
    await started
    expect(notes.events).toEqual([])
  })
})

describe('KubernetesResourceSource.setStatus()', () => {
  async function configured(options: Partial<KubernetesSourceOptions> = {}) {
    const all = await set(options)
    all.api.apply(LOGS, log('tcp'))
    await all.start()
    return all
  }

  test('writes the status of one version once', async () => {
    const { source, stored, patches } = await configured()
    source.setStatus(REF, status(1, { message: 'older' }))
    source.setStatus(REF, status(1))
    await eventually('it is written', () => stored() !== undefined)
    expect(stored()).toEqual(status(1))
    source.setStatus(REF, status(1))
    await aWhile()
    expect(patches()).toBe(1)
  })

  test('writes nothing that is stored already, whoever wrote it', async () => {
    const { api, source, start, patches } = await set()
    api.apply(LOGS, { ...log('tcp') })
    api.apply(LOGS, { metadata: { name: 'l' }, status: { ...status(1) } })
    await start()
    source.setStatus(REF, status(1, { timestamp: '2030-01-01T00:00:00Z' }))
    await aWhile()
    expect(patches()).toBe(0)
  })

  test('keeps the times of what has not changed', async () => {
    const { source, stored } = await configured()
    source.setStatus(REF, status(1))
    await eventually('it is written', () => stored() !== undefined)
    const later = '2026-11-24T11:00:00Z'
    source.setStatus(REF, status(1, { timestamp: later, message: 'another' }))
    await eventually('the message is written', () => stored()?.['message'] === 'another')
    expect(stored()).toMatchObject({ timestamp: '2026-11-24T10:00:00Z' })
    expect(stored()?.['conditions']).toEqual(status(1).conditions)
    source.setStatus(REF, status(1, { state: 'FAILED', reason: 'Invalid', timestamp: later }))
    await eventually('the state is written', () => stored()?.['state'] === 'FAILED')
    expect(stored()).toEqual(status(1, { state: 'FAILED', reason: 'Invalid', timestamp: later }))
  })

  test('is left to the leader, who writes all that he knows when he becomes it', async () => {
    const { leader, source, stored, patches } = await configured()
    leader.become(false)
    source.setStatus(REF, status(1))
    await aWhile()
    expect(patches()).toBe(0)
    leader.become(true)
    await eventually('it is written', () => stored() !== undefined)
    leader.become(false)
    leader.become(true)
    await aWhile()
    expect(patches()).toBe(1)
  })

  test('renews its condition when labels were changed meanwhile', async () => {
    const { api, source, stored, patches } = await configured()
    // The watch does not tell of the change before the write.
    using _ = api.fault({ verb: 'watch' }, { kind: 'hang' })
    api.closeWatches('reset')
    api.apply(LOGS, { metadata: { name: 'l', labels: { a: 'b' } } })
    source.setStatus(REF, status(1))
    await eventually('it is written', () => stored() !== undefined)
    expect(patches()).toBe(2)
  })

  test.each([
    ['a newer version', (api: ApiDouble) => void api.apply(LOGS, log('udp'))],
    [
      'another resource of the name',
      (api: ApiDouble) => {
        api.remove(LOGS, undefined, 'l')
        api.apply(LOGS, log('tcp'))
      },
    ],
    ['nothing', (api: ApiDouble) => api.remove(LOGS, undefined, 'l')],
  ])('is not written over %s that is there meanwhile', async (_name, change) => {
    const { api, source, stored, patches } = await configured()
    using _ = api.fault({ verb: 'watch' }, { kind: 'hang' })
    api.closeWatches('reset')
    change(api)
    source.setStatus(REF, status(1))
    await eventually('it was tried', () => patches() === 1)
    await aWhile()
    expect([stored(), patches()]).toEqual([undefined, 1])
  })

  test('is tried again while the API server fails, and not when it is refused', async () => {
    const { api, source, stored, patches } = await configured()
    api.fault({ verb: 'patch', times: 2 }, { kind: 'status', code: 500 })
    source.setStatus(REF, status(1))
    await eventually('it is written', () => stored() !== undefined)
    expect(patches()).toBe(3)
    const fault = api.fault({ verb: 'patch' }, { kind: 'status', code: 422, reason: 'Invalid' })
    source.setStatus(REF, status(1, { message: 'refused' }))
    await aWhile()
    expect(patches()).toBe(4)
    fault[Symbol.dispose]()
    source.setStatus(REF, status(1, { message: 'accepted' }))
    await eventually('the next is written', () => stored()?.['message'] === 'accepted')
  })

  test('does not correct for ever what somebody else writes', async () => {
    const { api, source, stored, patches } = await configured()
    source.setStatus(REF, status(1))
    await eventually('it is written', () => stored() !== undefined)
    api.apply(LOGS, { metadata: { name: 'l' }, status: { state: 'FAILED' } })
    await aWhile()
    expect(patches()).toBe(1)
    source.setStatus(REF, status(1))
    await eventually('a status that is told again is written', () => stored()?.['reason'] === 'Configured')
  })

  test('costs a bounded number of writes when it flaps', async () => {
    const { source, stored, patches } = await configured()
    for (let i = 0; i <= 200; i++) {
      source.setStatus(REF, status(1, { message: `${i}` }))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await eventually('the last is written', () => stored()?.['message'] === '200')
    expect(patches()).toBeLessThan(30)
  })

  test('of resources that go and come again is written to the one that is there', async () => {
    const { api, source, notes, stored, patches } = await configured()
    for (let i = 0; i < 40; i++) {
      source.setStatus(REF, status(1, { message: `${i}` }))
      api.remove(LOGS, undefined, 'l')
      api.apply(LOGS, log('tcp'))
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await eventually('all are told', () => notes.documents.length === 41)
    source.setStatus(REF, status(1, { message: 'last' }))
    await eventually('the last is written', () => stored()?.['message'] === 'last')
    expect(patches()).toBeLessThanOrEqual(41)
  })

  test('is counted', async () => {
    const { source } = await configured()
    source.setStatus(REF, status(1))
    const seen = new Map<string, number>()
    const note = (name: string, _help: string, value: number, labels: object = {}) =>
      void seen.set(`${name}${JSON.stringify(labels)}`, value)
    await eventually('it is counted', () => {
      source.collect({ counter: note, gauge: note })
      return seen.get('sluice_resource_status_writes_total{"result":"written"}') === 1
    })
    expect(seen.get('sluice_resource_status_pending{}')).toBe(0)
    expect(seen.get('sluice_kubernetes_objects{"resource":"containernetworklogs"}')).toBe(1)
    expect(seen.get('sluice_kubernetes_watching{"resource":"containernetworklogs"}')).toBe(1)
  })
})
