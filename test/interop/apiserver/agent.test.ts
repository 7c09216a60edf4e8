import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { KubernetesMetadata } from '../../../collector/metadata/kubernetes.ts'
import { ConfigMaps, DYNAMIC_METRICS, FLOW_LOGS } from '../../../control/config-maps.ts'
import { FilterControl } from '../../../control/filter-control.ts'
import { KubernetesResourceSource } from '../../../control/kubernetes-source.ts'
import { ElectedLeadership } from '../../../control/leadership.ts'
import { showFilters } from '../../../control/shown-filters.ts'
import { RESOURCE_KINDS } from '../../../filters/resources/kinds.ts'
import { CONSUMER_BITS, type RuleSet, type RuleTarget } from '../../../filters/rules.ts'
import { ApiClient, type ClusterAccess, clusterAccess } from '../../../kubernetes/index.ts'
import { eventually } from '../../helpers/eventually.ts'
import { Cluster } from './cluster.ts'
import { NamesOfPods } from './names-of-pods.ts'
import { buildPrograms, missing } from './programs.ts'

const CHART = fileURLToPath(new URL('../../../deploy/helm/sluice', import.meta.url))
const NAMESPACE = 'sluice'
const ACCOUNT = `system:serviceaccount:${NAMESPACE}:sluice`
const LOGS = '/apis/acn.azure.com/v1alpha1/containernetworklogs'

/** Takes every rule set. */
class Target implements RuleTarget {
  rules: RuleSet = { consumers: [] }
  #generation = 0

  async apply(rules: RuleSet) {
    this.rules = rules
    return { generation: ++this.#generation, decisions: new Map(), tookMs: 0 }
  }

  /** Texts of the log's rules; undefined while it is off. */
  get log(): string[] | undefined {
    const consumer = this.rules.consumers.find(({ name }) => name === 'log')
    return consumer?.isOn === true ? consumer.rules.map(({ origin }) => origin.text) : undefined
  }
}

/** Everything of an agent that speaks with the API server, with no right but those of an account. */
class AgentParts implements AsyncDisposable {
  readonly target = new Target()
  readonly names = new NamesOfPods()
  readonly client: ApiClient
  readonly leadership: ElectedLeadership
  readonly metadata: KubernetesMetadata
  readonly source: KubernetesResourceSource
  readonly maps: ConfigMaps
  readonly control: FilterControl
  readonly #stop = new AbortController()

  constructor(access: ClusterAccess, identity: string) {
    this.client = new ApiClient(access, { userAgent: 'sluice/test' })
    const { client } = this
    const times = { leaseMs: 3000, renewMs: 500, retryMs: 500 }
    const { namespace } = access
    this.leadership = new ElectedLeadership({ client, namespace, name: 'sluice-agent', identity, ...times })
    const { leadership } = this
    const backoff = { minMs: 50, maxMs: 500 }
    this.metadata = new KubernetesMetadata({ client, backoff })
    this.source = new KubernetesResourceSource({ client, leadership, backoff })
    this.maps = new ConfigMaps({ client, namespace, leadership, backoff, resyncMs: 500 })
    this.control = new FilterControl({
      settings: {
        log: { mode: 'resources', allow: [], deny: [] },
        history: 'wanted',
        merge: false,
        unlisted: 'keep',
      },
      sources: [this.source],
      targets: [this.target],
      metrics: [{ name: 'metric/flow', bit: CONSUMER_BITS.FIRST_METRIC, interest: { kinds: 0xff } }],
    })
  }

  async start(): Promise<void> {
    const { signal } = this.#stop
    this.leadership.start()
    await Promise.all([this.metadata.start(this.names, signal), this.control.start(signal)])
    showFilters({
      control: this.control,
      maps: this.maps,
      metrics: () => [{ name: 'flow', contextOptions: [{ name: 'sourceContext', values: ['pod'] }] }],
      logPath: '/var/log/acns/hubble/events.log',
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.control[Symbol.asyncDispose]()
    await this.maps[Symbol.asyncDispose]()
    await this.metadata[Symbol.asyncDispose]()
    await this.leadership[Symbol.asyncDispose]()
    this.#stop.abort()
    this.client[Symbol.dispose]()
  }
}

const log = (name: string, filter: unknown) => ({
  apiVersion: 'acn.azure.com/v1alpha1',
  kind: 'ContainerNetworkLog',
  metadata: { name },
  spec: { includefilters: [filter] },
})

describe.skipIf(missing)(`an agent of the chart at a real API server${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let cluster: Cluster
  let access: ClusterAccess
  let agent: AgentParts

  beforeAll(async () => {
    buildPrograms()
    cluster = await Cluster.start()
    await cluster.helmOk(['install', 'sluice', CHART, '--namespace', NAMESPACE, '--create-namespace'])
    // As in a pod: by the files that a kubelet mounts.
    access = await clusterAccess(await cluster.podAccess(NAMESPACE, 'sluice'))
    agent = new AgentParts(access, 'first')
    await agent.start()
    await eventually('it leads', () => agent.leadership.isLeader)
  })
  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await cluster?.[Symbol.asyncDispose]()
  })

  const apply = (document: object) =>
    cluster.kubectlOk(['apply', '--server-side', '--force-conflicts', '-f', '-'], JSON.stringify(document))

  test('has its metadata and its filters', async () => {
    expect(agent.metadata.details()).toMatchObject({ synced: true, refused: 0 })
    expect(agent.metadata.details()).not.toHaveProperty('not_read')
    // The server answers 429 while it makes room for kinds that were defined just now.
    await eventually('nothing is wrong', () => {
      const [source] = agent.control.status().sources
      return source?.isSynced === true && source.troubles.length === 0
    })
    expect(agent.target.log).toBeUndefined()
  })

  test('puts a resource into force within two seconds, and says so', async () => {
    const body = log('l', { protocol: ['tcp'], from: { namespacedPod: ['shop/'] } })
    await cluster.ok('POST', `${LOGS}?dryRun=All`, { body })
    const begun = performance.now()
    await cluster.ok('POST', LOGS, { body })
    await eventually('it is in force', () => agent.target.log !== undefined)
    expect(performance.now() - begun).toBeLessThan(2000)
    expect(agent.target.log).toHaveLength(1)
    await cluster.kubectlOk(['wait', 'cnl/l', '--for=condition=Applied', '--timeout=10s'])
    const { status, metadata } = await cluster.ok('GET', `${LOGS}/l`)
    expect(status).toEqual({
      state: 'CONFIGURED',
      reason: 'Configured',
      message: '1 filter in force: log 1',
      warnings: [],
      observedGeneration: 1,
      filters: 1,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      conditions: ['Accepted', 'Applied'].map((type) => ({
        type,
        status: 'True',
        reason: 'Configured',
        message: '1 filter in force: log 1',
        lastTransitionTime: status.timestamp,
        observedGeneration: 1,
      })),
    })
    expect(
      metadata.managedFields.map(({ manager, subresource }: Record<string, string>) => [manager, subresource]),
    ).toContainEqual(['sluice', 'status'])
  })

  test('says what is wrong with a version, and leaves the one before in force', async () => {
    const before = agent.target.log
    await apply(log('l', { httpPath: ['('] }))
    await cluster.kubectlOk(['wait', 'cnl/l', '--for=jsonpath={.status.state}=FAILED', '--timeout=10s'])
    const { status } = await cluster.ok('GET', `${LOGS}/l`)
    expect(status).toMatchObject({ reason: 'Invalid', observedGeneration: 2 })
    expect(status.message).toMatch(/spec\.includefilters\[0\]\.httpPath.*"\("/)
    expect(status.conditions.map((one: Record<string, string>) => [one['type'], one['status']])).toEqual([
      ['Accepted', 'False'],
      ['Applied', 'False'],
    ])
    expect(agent.target.log).toEqual(before)
  })

  test('takes the rules of a resource back when it is deleted', async () => {
    await cluster.kubectlOk(['delete', 'cnl', 'l'])
    await eventually('the log is off', () => agent.target.log === undefined)
    await apply(log('l', { protocol: ['udp'] }))
    await cluster.kubectlOk(['wait', 'cnl/l', '--for=condition=Applied', '--timeout=10s'])
    expect((await cluster.ok('GET', `${LOGS}/l`)).status.observedGeneration).toBe(1)
  })

  test('tells of resources of each kind', async () => {
    const spec = { filters: [{ metric: 'flow', includeFilters: [{ protocol: ['tcp'] }] }] }
    await apply({ ...log('container-network-metric', {}), kind: 'ContainerNetworkMetric', spec })
    await apply({ ...log('older', { protocol: ['tcp'] }), kind: 'RetinaNetworkFlowLog' })
    for (const name of ['cnm/container-network-metric', 'rnfl/older']) {
      await cluster.kubectlOk(['wait', name, '--for=condition=Applied', '--timeout=10s'])
      await cluster.kubectlOk(['delete', name])
    }
  })

  test('warns of what is accepted and hardly meant', async () => {
    await apply(log('trap', { from: { namespacedPod: ['kube-system/*'] } }))
    await cluster.kubectlOk(['wait', 'cnl/trap', '--for=condition=Applied', '--timeout=10s'])
    const { warnings } = (await cluster.ok('GET', `${LOGS}/trap`)).status
    expect(warnings).toEqual([expect.stringContaining('kube-system/*')])
    await cluster.kubectlOk(['delete', 'cnl', 'trap'])
  })

  test('shows its filters in ConfigMaps, and puts them back', async () => {
    const get = async ({ configMap }: { configMap: string }) =>
      (await cluster.call('GET', `/api/v1/namespaces/${NAMESPACE}/configmaps/${configMap}`)).body.data
    const right = async () =>
      (await get(DYNAMIC_METRICS))?.['dynamic-metrics.yaml'] === METRICS_TEXT &&
      (await get(FLOW_LOGS))?.['flowlogs.yaml'] === LOG_TEXT
    await eventually('both are there', right)
    await cluster.kubectlOk([
      'patch',
      'configmap',
      DYNAMIC_METRICS.configMap,
      '-n',
      NAMESPACE,
      '--type=merge',
      '-p',
      '{"data":{"dynamic-metrics.yaml":"edited","more":"1"}}',
    ])
    await cluster.kubectlOk(['delete', 'configmap', FLOW_LOGS.configMap, '-n', NAMESPACE])
    await eventually('both are there again', right)
    expect(Object.keys(await get(DYNAMIC_METRICS))).toEqual(['dynamic-metrics.yaml'])
  })

  test('is followed by another when it goes, who writes nothing that is right', async () => {
    const { resourceVersion } = (await cluster.ok('GET', `${LOGS}/l`)).metadata
    const second = new AgentParts(access, 'second')
    try {
      await second.start()
      expect(second.leadership.isLeader).toBe(false)
      expect(second.target.log).toEqual(agent.target.log)
      await agent[Symbol.asyncDispose]()
      await eventually('the second leads', () => second.leadership.isLeader)
      const lease = await cluster.ok('GET', `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/sluice-agent`)
      expect(lease.spec).toMatchObject({ holderIdentity: 'second', leaseTransitions: 1 })
      await new Promise((resolve) => setTimeout(resolve, 1000))
      expect((await cluster.ok('GET', `${LOGS}/l`)).metadata.resourceVersion).toBe(resourceVersion)
      await apply(log('l', { protocol: ['icmp'] }))
      await cluster.kubectlOk(['wait', 'cnl/l', '--for=jsonpath={.status.observedGeneration}=2', '--timeout=10s'])
    } finally {
      await second[Symbol.asyncDispose]()
    }
  })

  test('was refused nothing, and has no right that it does not use', async () => {
    const seen = (await cluster.audit()).filter(({ user }) => user === ACCOUNT)
    expect(seen.filter(({ status }) => status === 401 || status === 403)).toEqual([])
    const used = new Set(seen.map(({ verb, resource }) => `${verb} ${resource}`))
    const granted = new Set<string>()
    const manifest = await cluster.helmOk(['get', 'manifest', 'sluice', '--namespace', NAMESPACE])
    for (const document of parseAllDocuments(manifest)) {
      const { kind, rules = [] } = (document.toJS() ?? {}) as { kind?: string; rules?: Rule[] }
      if (kind !== 'ClusterRole' && kind !== 'Role') continue
      for (const { resources, verbs } of rules) {
        for (const resource of resources) for (const verb of verbs) granted.add(`${verb} ${resource}`)
      }
    }
    // The version of a resource is asked for when its labels change while its status is written.
    for (const { plural } of RESOURCE_KINDS) used.add(`get ${plural}`)
    expect([...used].sort()).toEqual([...granted].sort())
  })
})

const HEADER = '# The filters in force, for people to read: made by Sluice, which puts changes back.\n'
const METRICS_TEXT = `${HEADER}metrics:
  - name: flow
    contextOptions:
      - name: sourceContext
        values:
          - pod
`
const LOG_TEXT = `${HEADER}flowLogs:
  - name: all
    filePath: /var/log/acns/hubble/events.log
    fieldMask: []
    includeFilters:
      - protocol:
          - udp
    excludeFilters: []
`

interface Rule {
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}
