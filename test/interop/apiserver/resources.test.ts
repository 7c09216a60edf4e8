import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { GROUP, RESOURCE_KINDS, resourceKind, VERSION } from '../../../filters/resources/kinds.ts'
import { Cluster } from './cluster.ts'
import { buildPrograms, missing } from './programs.ts'

const path = (relative: string) => fileURLToPath(new URL(`../../../${relative}`, import.meta.url))
const CRDS = path('deploy/crds')
const EXAMPLES = path('examples/filters')
/** The one example whose document has an object where an API server insists on a list. */
const NO_LISTS = 'announcement-without-lists.yaml'

interface Document {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly spec: unknown
}

const metric = (...filters: unknown[]) => ({
  apiVersion: `${GROUP}/${VERSION}`,
  kind: 'ContainerNetworkMetric',
  metadata: { name: 'container-network-metric' },
  spec: { filters },
})
const log = (filter: unknown, more: object = {}) => ({
  apiVersion: `${GROUP}/${VERSION}`,
  kind: 'ContainerNetworkLog',
  metadata: { name: 'l' },
  spec: { includefilters: [filter], ...more },
})
const flow = (filter: unknown) => metric({ metric: 'flow', includeFilters: [filter] })

/** Documents that the API server refuses, and what it says: the field, and where it knows it the value. */
const REFUSED: readonly (readonly [name: string, document: object, message: RegExp])[] = [
  [
    'a metric that is none',
    metric({ metric: 'http', includeFilters: [{ protocol: ['tcp'] }] }),
    /spec\.filters\[0\]\.metric: Unsupported value: "http": supported values: "flow", "dns", "tcp", "drop"/,
  ],
  [
    'the common mistake pod',
    flow({ from: { pod: ['traffic/http'] } }),
    /unknown field "spec\.filters\[0\]\.includeFilters\[0\]\.from\.pod"/,
  ],
  [
    'a metric with neither include nor exclude',
    metric({ metric: 'flow' }),
    /spec\.filters\[0\]: Invalid value: .*want at least one filter to include or to exclude: includeFilters/s,
  ],
  [
    'a metric twice',
    metric(
      { metric: 'flow', includeFilters: [{ protocol: ['tcp'] }] },
      { metric: 'flow', excludeFilters: [{ protocol: ['udp'] }] },
    ),
    /spec\.filters\[1\]: Duplicate value: .*flow/,
  ],
  ['no filters', metric(), /spec\.filters.*should have at least 1 items/],
  [
    'a verdict that is none',
    flow({ verdict: ['droped'] }),
    /spec\.filters\[0\]\.includeFilters\[0\]\.verdict\[0\]: Invalid value: "droped"/,
  ],
  [
    'a protocol that is none',
    flow({ protocol: ['quic'] }),
    /spec\.filters\[0\]\.includeFilters\[0\]\.protocol\[0\]: Invalid value: "quic"/,
  ],
  [
    'an empty pod',
    flow({ from: { namespacedPod: [''] } }),
    /spec\.filters\[0\]\.includeFilters\[0\]\.from\.namespacedPod\[0\].*at least 1 chars/,
  ],
  [
    'an operator that is none',
    flow({ to: { labelSelector: { matchExpressions: [{ key: 'app', operator: 'Like', values: ['a'] }] } } }),
    /includeFilters\[0\]\.to\.labelSelector\.matchExpressions\[0\]\.operator: Unsupported value: "Like"/,
  ],
  [
    'an operator that lacks values',
    flow({ to: { labelSelector: { matchExpressions: [{ key: 'app', operator: 'In' }] } } }),
    /matchExpressions\[0\]: Invalid value: .*want at least one value for the operators In and NotIn/s,
  ],
  [
    'a label value that is none',
    flow({ from: { labelSelector: { matchLabels: { app: 'a b' } } } }),
    /includeFilters\[0\]\.from\.labelSelector\.matchLabels\.app: Invalid value: "a b"/,
  ],
  [
    'an address that is none',
    flow({ from: { ip: ['10.0.0.300'] } }),
    /includeFilters\[0\]\.from\.ip\[0\].*Invalid value: "10\.0\.0\.300"/,
  ],
  [
    'a text in place of a list',
    flow({ protocol: 'tcp' }),
    /includeFilters\[0\]\.protocol: Invalid value: "string":.*must be of type array/,
  ],
  ['a log with the spelling of metrics', log({}, { includeFilters: [] }), /unknown field "spec\.includeFilters"/],
  ['a verdict of a log', log({ verdict: ['lost'] }), /spec\.includefilters\[0\]\.verdict\[0\]: Invalid value: "lost"/],
  ['a log with no filter', { ...log({}), spec: {} }, /spec: Invalid value: .*want at least one filter/s],
  ['no spec', { ...log({}), spec: undefined }, /spec: Required value/],
]

describe.skipIf(missing)(`resources in a real API server${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let cluster: Cluster

  beforeAll(async () => {
    buildPrograms()
    cluster = await Cluster.start()
    await cluster.kubectlOk(['apply', '-f', CRDS])
    await cluster.kubectlOk(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s'])
  })
  afterEach(async () => {
    for (const { plural } of RESOURCE_KINDS) await cluster.ok('DELETE', `/apis/${GROUP}/${VERSION}/${plural}`)
  })
  afterAll(async () => await cluster?.[Symbol.asyncDispose]())

  test.each(RESOURCE_KINDS)('the definition of $kind is taken without complaint', async ({ plural }) => {
    const name = `${plural}.${GROUP}`
    const definition = await cluster.ok('GET', `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`)
    const { conditions } = definition.status as { conditions: { type: string; status: string }[] }
    // A NonStructuralSchema, or a rule that does not compile, would be here.
    expect(conditions.map(({ type, status }) => `${type}=${status}`).sort()).toEqual([
      'Established=True',
      'NamesAccepted=True',
    ])
  })

  test('the definitions are the same again when they are applied again', async () => {
    const again = await cluster.kubectlOk(['apply', '-f', CRDS])
    expect(
      again
        .trim()
        .split('\n')
        .map((line) => line.split(' ').at(-1)),
    ).toEqual(['unchanged', 'unchanged', 'unchanged'])
  })

  test(`examples/filters/${NO_LISTS} is for files: its filters are no list`, async () => {
    const { code, stderr } = await cluster.kubectl(['apply', '-f', `${EXAMPLES}/${NO_LISTS}`])
    expect([code, stderr]).toEqual([1, expect.stringContaining('unknown field "spec.filters.metric"')])
  })

  test.each(readdirSync(EXAMPLES).filter((file) => file.endsWith('.yaml') && file !== NO_LISTS))(
    'examples/filters/%s is applied as it is',
    async (file) => {
      const text = readFileSync(`${EXAMPLES}/${file}`, 'utf8')
      await cluster.kubectlOk(['apply', '-f', `${EXAMPLES}/${file}`])
      for (const document of parseAllDocuments(text).map((one) => one.toJS() as Document)) {
        const { plural } = resourceKind(document.kind)!
        const stored = await cluster.ok('GET', `/apis/${GROUP}/${VERSION}/${plural}/${document.metadata.name}`)
        // Nothing was pruned.
        expect(stored.spec).toEqual(document.spec)
      }
      await cluster.kubectlOk(['apply', '--server-side', '--force-conflicts', '-f', `${EXAMPLES}/${file}`])
    },
  )

  test.each(REFUSED)('%s is refused with field and value', async (_name, document, message) => {
    const { code, stderr } = await cluster.kubectl(['create', '-f', '-'], JSON.stringify(document))
    expect(stderr).toMatch(message)
    expect(code).toBe(1)
  })

  test('the largest lists that the schema takes fit into an object', async () => {
    const filter = { from: { namespacedPod: Array.from({ length: 100 }, (_, i) => `namespace-${i}/pod-${i}-`) } }
    const filters = Array.from({ length: 256 }, () => filter)
    await cluster.kubectlOk(['create', '-f', '-'], JSON.stringify(metric({ metric: 'flow', includeFilters: filters })))
    const { stderr } = await cluster.kubectl(
      ['create', '-f', '-'],
      JSON.stringify(metric({ metric: 'flow', includeFilters: [...filters, filter] })),
    )
    expect(stderr).toMatch(/spec\.filters\[0\]\.includeFilters: Too many: 257: must have at most 256 items/)
  })

  test('kubectl get shows state, filters and message, also by short name and category', async () => {
    await cluster.kubectlOk(['create', '-f', '-'], JSON.stringify(flow({ protocol: ['tcp'] })))
    await cluster.kubectlOk(['create', '-f', '-'], JSON.stringify(log({ protocol: ['tcp'] })))
    await cluster.ok('PATCH', `/apis/${GROUP}/${VERSION}/containernetworklogs/l/status`, {
      contentType: 'application/merge-patch+json',
      body: { status: { state: 'CONFIGURED', filters: 1, message: 'in force', reason: 'Configured' } },
    })
    const rows = async (...args: string[]) =>
      (await cluster.kubectlOk(['get', ...args]))
        .trim()
        .split('\n')
        .map((row) => row.trim().split(/ {2,}/))
    const [head, row] = await rows('cnl')
    expect(head).toEqual(['NAME', 'STATE', 'FILTERS', 'MESSAGE', 'AGE'])
    expect(row?.slice(0, 4)).toEqual(['l', 'CONFIGURED', '1', 'in force'])
    expect((await rows('cnl', '-o', 'wide'))[0]).toEqual(['NAME', 'STATE', 'FILTERS', 'MESSAGE', 'REASON', 'AGE'])
    expect((await rows('cnm'))[1]?.[0]).toBe('container-network-metric')
    expect((await cluster.kubectl(['get', 'rnfl'])).stderr).toBe('No resources found\n')
    expect((await rows('sluice')).map(([name]) => name).filter((name) => name?.includes('/'))).toEqual([
      'containernetworklog.acn.azure.com/l',
      'containernetworkmetric.acn.azure.com/container-network-metric',
    ])
  })

  test('kubectl explain knows every field', async () => {
    const text = await cluster.kubectlOk(['explain', 'cnl.spec.includefilters', '--recursive'])
    for (const field of ['namespacedPod', 'labelSelector', 'matchExpressions', 'verdict', 'protocol', 'ip']) {
      expect(text).toContain(field)
    }
  })
})
