import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { customResourceDefinition } from '../../../filters/resources/crd.ts'
import { GROUP, RESOURCE_KINDS, VERSION } from '../../../filters/resources/kinds.ts'
import { ApiDouble } from '../../helpers/api-double.ts'
import { type Answer, Caller, type CallOptions } from './caller.ts'
import { Cluster } from './cluster.ts'
import { buildPrograms, missing } from './programs.ts'

/**
 * The ordinary tests meet the API in a double. Here both get the same requests one after the other, and have to give
 * the same answers, as far as a client of ours looks at them.
 */

interface Server {
  ask(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answer>
  watch(path: string, count: number, options?: CallOptions): Promise<Answer[]>
  /** Makes lists and watches of what was before impossible. */
  forget(): Promise<void>
}

const MERGE = { contentType: 'application/merge-patch+json' }
const PODS = '/api/v1/namespaces/default/pods'
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps'
const LOGS = `/apis/${GROUP}/${VERSION}/containernetworklogs`

const pod = (name: string, labels: Record<string, string> = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, labels },
  spec: { containers: [{ name: 'main', image: 'none' }] },
})
const configMap = (name: string, data: Record<string, string>) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
})
const log = (name: string, protocol: string) => ({
  apiVersion: `${GROUP}/${VERSION}`,
  kind: 'ContainerNetworkLog',
  metadata: { name },
  spec: { includefilters: [{ protocol: [protocol] }] },
})
const status = (state: string) => ({ state, message: 'as it is', conditions: [] })

/** What our clients look at in an answer that is no success. */
const refusal = ({ status, body }: Answer) => ({
  status,
  kind: body?.kind,
  code: body?.code,
  reason: body?.reason,
  name: body?.details?.name,
  of: body?.details?.kind,
  group: body?.details?.group,
})

/** What each does, in order; later ones find what earlier ones left. */
const PROBES: readonly (readonly [name: string, run: (server: Server) => Promise<unknown>])[] = [
  [
    'lists in pages',
    async ({ ask }) => {
      for (const name of ['a', 'b', 'c', 'd', 'e']) await ask('POST', PODS, pod(name, { app: name }))
      const pages: unknown[] = []
      for (let next = ''; ; ) {
        const { status, body } = await ask('GET', `${PODS}?limit=2&continue=${encodeURIComponent(next)}`)
        const { metadata, items, kind, apiVersion } = body
        pages.push([
          status,
          kind,
          apiVersion,
          names(items),
          metadata.remainingItemCount,
          typeof metadata.resourceVersion,
        ])
        next = metadata.continue ?? ''
        if (next === '') return pages
      }
    },
  ],
  [
    'lists what selectors choose',
    async ({ ask }) => [
      names((await ask('GET', `${PODS}?labelSelector=${encodeURIComponent('app in (a,c)')}`)).body.items),
      names((await ask('GET', `${PODS}?fieldSelector=metadata.name%3Db`)).body.items),
    ],
  ],
  [
    'gives an object at its creation what a server gives',
    async ({ ask }) => {
      const { status, body } = await ask('POST', CONFIG_MAPS, configMap('first', { a: '1' }))
      const { uid, resourceVersion, creationTimestamp, name, namespace } = body.metadata
      const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(creationTimestamp)
      return [status, body.kind, body.data, typeof uid, typeof resourceVersion, isTime, name, namespace]
    },
  ],
  [
    'refuses what is there, and what is not',
    async ({ ask }) => [
      refusal(await ask('POST', CONFIG_MAPS, configMap('first', {}))),
      refusal(await ask('GET', `${CONFIG_MAPS}/none`)),
      refusal(await ask('DELETE', `${CONFIG_MAPS}/none`)),
      refusal(await ask('PATCH', `${CONFIG_MAPS}/none`, { data: {} }, MERGE)),
      refusal(await ask('PATCH', `${LOGS}/none/status`, { status: status('FAILED') }, MERGE)),
      refusal(await ask('PUT', `${CONFIG_MAPS}/none`, configMap('none', {}))),
      (await ask('GET', '/apis/acn.azure.com/v1alpha1/nothings')).status,
      (await ask('GET', '/apis/nobody.example/v1/nothings')).text,
    ],
  ],
  [
    'refuses writes over a version that is not the present one',
    async ({ ask }) => {
      const { body } = await ask('GET', `${CONFIG_MAPS}/first`)
      const { resourceVersion, uid } = body.metadata
      const later = await ask('PUT', `${CONFIG_MAPS}/first`, { ...body, data: { a: '2' } })
      return [
        later.status,
        refusal(await ask('PUT', `${CONFIG_MAPS}/first`, { ...body, data: { a: '3' } })),
        refusal(await ask('PATCH', `${CONFIG_MAPS}/first`, { metadata: { resourceVersion }, data: { a: '3' } }, MERGE)),
        refusal(await ask('PATCH', `${CONFIG_MAPS}/first`, { metadata: { uid: `${uid}0` }, data: { a: '3' } }, MERGE)),
        (await ask('PATCH', `${CONFIG_MAPS}/first`, { metadata: { uid }, data: { a: '3', b: '4' } }, MERGE)).body.data,
        (await ask('PATCH', `${CONFIG_MAPS}/first`, { data: { a: null } }, MERGE)).body.data,
      ]
    },
  ],
  [
    'leaves the version as it is when a write changes nothing',
    async ({ ask }) => {
      const before = await ask('GET', `${CONFIG_MAPS}/first`)
      const after = await ask('PATCH', `${CONFIG_MAPS}/first`, { data: { b: '4' } }, MERGE)
      return [after.status, after.body.metadata.resourceVersion === before.body.metadata.resourceVersion]
    },
  ],
  [
    'keeps spec and status of a custom resource apart',
    async ({ ask }) => {
      const created = await ask('POST', LOGS, { ...log('l', 'tcp'), status: status('FAILED') })
      const patched = await ask('PATCH', `${LOGS}/l/status`, { status: status('CONFIGURED'), spec: {} }, MERGE)
      const changed = await ask('PATCH', `${LOGS}/l`, { ...log('l', 'udp'), status: status('FAILED') }, MERGE)
      const looks = (answer: Answer) => [
        answer.status,
        answer.body.metadata.generation,
        answer.body.spec.includefilters,
        answer.body.status,
      ]
      return [looks(created), looks(patched), looks(changed)]
    },
  ],
  [
    'does not take the status of another object of the same name',
    async ({ ask }) => {
      const { body } = await ask('GET', `${LOGS}/l`)
      await ask('DELETE', `${LOGS}/l`)
      await ask('POST', LOGS, log('l', 'dns'))
      const of = (metadata: object) => ({ metadata, status: status('FAILED') })
      const { uid, resourceVersion } = body.metadata
      const answers = [
        await ask('PATCH', `${LOGS}/l/status`, of({ uid }), MERGE),
        await ask('PATCH', `${LOGS}/l/status`, of({ resourceVersion }), MERGE),
      ]
      return [answers.map(refusal), (await ask('GET', `${LOGS}/l`)).body.status]
    },
  ],
  [
    'gives metadata alone to who asks for it',
    async ({ ask }) => {
      const accept = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'
      const { status, body } = await ask('GET', `${PODS}?limit=1`, undefined, { accept })
      return [status, body.kind, body.apiVersion, names(body.items), Object.keys(body.items[0]).sort()]
    },
  ],
  [
    'lists what it has at hand as a whole, whatever the limit',
    async ({ ask }) => {
      const { status, body } = await ask('GET', `${PODS}?limit=2&resourceVersion=0&resourceVersionMatch=NotOlderThan`)
      return [status, names(body.items), body.metadata.continue]
    },
  ],
  [
    'refuses what nobody can have meant',
    async ({ ask }) => [
      refusal(await ask('GET', `${PODS}?continue=nonsense`)),
      refusal(await ask('PATCH', `${CONFIG_MAPS}/first`, 'text', { contentType: 'text/plain' })),
    ],
  ],
  [
    'watches metadata alone',
    async ({ ask, watch }) => {
      const from = (await ask('GET', `${PODS}?limit=1`)).body.metadata.resourceVersion
      await ask('PATCH', `${PODS}/a`, { metadata: { labels: { more: '1' } } }, MERGE)
      const accept = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1'
      const [line] = await watch(`${PODS}?watch=1&resourceVersion=${from}&timeoutSeconds=2`, 1, { accept })
      const { type, object } = line?.body ?? {}
      return [type, object.kind, object.apiVersion, object.metadata.name, Object.keys(object).sort()]
    },
  ],
  [
    'deletes the one that is meant',
    async ({ ask }) => {
      await ask('POST', CONFIG_MAPS, configMap('meant', {}))
      const precondition = (uid: string) => ({ preconditions: { uid } })
      const { uid } = (await ask('GET', `${CONFIG_MAPS}/meant`)).body.metadata
      return [
        (await ask('DELETE', `${CONFIG_MAPS}/meant`, precondition(`${uid}0`))).body.reason,
        (await ask('DELETE', `${CONFIG_MAPS}/meant`, precondition(uid))).status,
        (await ask('GET', `${CONFIG_MAPS}/meant`)).status,
      ]
    },
  ],
  [
    'tells a watch what came since a revision, and ends in time',
    async ({ ask, watch }) => {
      const from = (await ask('GET', `${CONFIG_MAPS}?limit=1`)).body.metadata.resourceVersion
      await ask('POST', CONFIG_MAPS, configMap('watched', { n: '0' }))
      await ask('PATCH', `${CONFIG_MAPS}/watched`, { data: { n: '1' } }, MERGE)
      await ask('DELETE', `${CONFIG_MAPS}/watched`)
      const query = `watch=true&resourceVersion=${from}&allowWatchBookmarks=true&timeoutSeconds=2`
      const lines = (await watch(`${CONFIG_MAPS}?${query}`, 10)).map(({ body }) => body)
      const changes = lines.filter((line) => line.type !== 'BOOKMARK')
      const versions = changes.map((line) => Number(line.object.metadata.resourceVersion))
      return [
        changes.map((line) => [line.type, line.object.kind, line.object.metadata.name, line.object.data]),
        versions.every((version, i) => i === 0 || version > versions[i - 1]!),
      ]
    },
  ],
  [
    'tells a watch of a selector when objects come under it and leave it',
    async ({ ask, watch }) => {
      const { items, metadata } = (await ask('GET', PODS)).body
      const app = (name: string, value: string) =>
        ask('PATCH', `${PODS}/${name}`, { metadata: { labels: { app: value } } }, MERGE)
      await app(items[1].metadata.name, 'chosen')
      await app(items[1].metadata.name, 'other')
      await app(items[2].metadata.name, 'other')
      const query = `watch=1&labelSelector=app%3Dchosen&resourceVersion=${metadata.resourceVersion}&timeoutSeconds=1`
      const lines = await watch(`${PODS}?${query}`, 10)
      return lines.map(({ body }) => [body.type, body.object.metadata.name, body.object.metadata.labels])
    },
  ],
  [
    'refuses with 410 what is too old',
    async ({ ask, watch, forget }) => {
      const first = (await ask('GET', `${PODS}?limit=2`)).body.metadata
      for (const name of ['x', 'y', 'z']) await ask('POST', PODS, pod(name))
      await forget()
      const next = `${PODS}?limit=2&continue=${encodeURIComponent(first.continue)}`
      const [line] = await watch(`${PODS}?watch=1&resourceVersion=${first.resourceVersion}`, 1)
      return [
        refusal(await ask('GET', next)),
        refusal(await ask('GET', `${PODS}?resourceVersionMatch=Exact&resourceVersion=${first.resourceVersion}`)),
        [line?.status, line?.body.type, line?.body.object.kind, line?.body.object.code, line?.body.object.reason],
      ]
    },
  ],
  [
    'refuses with 504 a revision that is not yet there',
    async ({ ask }) => {
      const { status, body } = await ask('GET', `${PODS}?resourceVersion=999999999999`)
      return [status, body.reason, body.details.causes]
    },
  ],
]

function names(items: readonly { readonly metadata: { readonly name: string } }[]): string[] {
  return items.map((item) => item.metadata.name)
}

describe.skipIf(missing)(`ApiDouble, as a real server does${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let cluster: Cluster
  let double: ApiDouble
  let caller: Caller
  let real: Server
  let fake: Server

  beforeAll(async () => {
    buildPrograms()
    cluster = await Cluster.start()
    double = await ApiDouble.start({ token: cluster.adminToken, bookmarkMs: 500 })
    double.lists.ignoresLimitOfCachedLists = true
    for (const kind of RESOURCE_KINDS) {
      await cluster.kubectlOk(['apply', '-f', '-'], JSON.stringify(customResourceDefinition(kind)))
      double.define({ group: GROUP, version: VERSION, ...kind, namespaced: false, hasStatus: true })
    }
    await cluster.kubectlOk(['wait', '--for=condition=Established', 'crd', '--all'])
    real = serverAt(cluster.caller, async () => {
      await cluster.etcd.compact()
      await cluster.stopApiServer()
      await cluster.startApiServer()
    })
    caller = new Caller(double.url, cluster.adminToken, undefined)
    fake = serverAt(caller, async () => {
      double.compact()
      double.expireContinues()
    })
  })
  afterAll(async () => {
    caller?.[Symbol.dispose]()
    await double?.[Symbol.asyncDispose]()
    await cluster?.[Symbol.asyncDispose]()
  })

  test.each(PROBES)('%s', async (_name, run) => {
    const [expected, seen] = await Promise.all([run(real), run(fake)])
    expect(seen).toEqual(expected)
  })

  test('refuses tokens and rights', async () => {
    const account = await cluster.accountToken('default', 'nobody')
    double.tokens.add(account)
    double.forbid('pods')
    const refused = async (server: Caller, token: string) => {
      const { status, body } = await server.call('GET', '/api/v1/pods', { token })
      return [status, { ...body, message: body.message.replace(/User "\S+"/, 'User') }]
    }
    for (const token of ['wrong', account]) {
      expect(await refused(caller, token)).toEqual(await refused(cluster.caller, token))
    }
    double.allow('pods')
  })
})

function serverAt(caller: Caller, forget: () => Promise<void>): Server {
  return {
    ask: (method, path, body, options) => caller.call(method, path, { body, ...options }),
    watch: (path, count, options) => caller.watch(path, count, options),
    forget,
  }
}
