import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Lab } from '../../lab/index.ts'
import { runSluice, TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { readFlowLog } from '../helpers/flow-log.ts'
import { LabCluster } from '../helpers/lab-cluster.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { trafficLab } from '../helpers/traffic-lab.ts'

/** What a change of filters may take until it is seen. */
const APPLIED_MS = 2000
/** A candidate looks at the Lease every 15 to 30 s. */
const TAKEOVER_MS = 40_000

const METRIC = 'ContainerNetworkMetric'
const METRIC_NAME = 'container-network-metric'
const LOG = 'ContainerNetworkLog'
const FLOWS = 'hubble_flows_processed_total'
const FLAGS = 'hubble_tcp_flags_total'

/** The example of the announcement, with the dashes that its page lost: an API server wants lists. */
const ANNOUNCED = `
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkMetric
metadata:
  name: container-network-metric
spec:
  filters:
    - metric: flow
      includeFilters:
        - verdict: [dropped]
          from:
            namespacedPod: [traffic/http]
      excludeFilters:
        - from:
            namespacedPod: [traffic/fortio]
`

const logOf = (name: string, filter: object) => ({
  apiVersion: 'acn.azure.com/v1alpha1',
  kind: LOG,
  metadata: { name },
  spec: { includefilters: [filter] },
})

type Samples = Readonly<Record<string, number>>

const seriesOf = (samples: Samples, family: string) =>
  Object.keys(samples).filter((series) => series.startsWith(`${family}{`))
const sum = (samples: Samples, family: string) =>
  seriesOf(samples, family).reduce((total, series) => total + samples[series]!, 0)
const onlyDrops = (samples: Samples) => {
  const found = seriesOf(samples, FLOWS)
  return found.length > 0 && found.every((series) => series.includes('verdict="DROPPED"'))
}
const hasForwarded = (samples: Samples) =>
  seriesOf(samples, FLOWS).some((series) => series.includes('verdict="FORWARDED"'))

describeKernel('filters by the Kubernetes API', () => {
  let lab: Lab
  let cluster: LabCluster
  /** On the node with the pods. It is the first, and so the one that writes. */
  let agent: TestAgent
  let second: TestAgent

  const lines = () => readFlowLog(agent.logPath).flows
  const shows = (what: string, holds: (samples: Samples) => boolean, timeoutMs = APPLIED_MS) =>
    eventually(what, async () => holds(await agent.metrics()), timeoutMs)
  const status = (kind = METRIC, name = METRIC_NAME) => cluster.filterOf(kind, name)?.status
  const lease = () =>
    cluster.api.get('leases', cluster.namespace, 'sluice-agent')?.['spec'] as { holderIdentity: string }
  /** Requests of one of the agents that change something. */
  const writes = (identity: string) =>
    cluster.api.requests.filter(
      ({ verb, resource, headers, status: code }) =>
        headers.authorization === `Bearer ${identity}` &&
        ['create', 'update', 'patch', 'delete'].includes(verb) &&
        !(resource === 'leases' && code === 409),
    )

  beforeAll(async () => {
    lab = await trafficLab(['node-1', 'node-2'])
    cluster = await LabCluster.start(lab)
    agent = await TestAgent.start({
      name: 'kfilters',
      settings: { ...cluster.settings('first', 'node-1'), 'kernel.aggregationInterval': '500ms' },
    })
    await eventually('the first one leads', () => lease()?.holderIdentity === 'node-1')
    second = await TestAgent.start({ name: 'kfilters-b', settings: cluster.settings('second', 'node-2') })
    const pods = ['traffic/http-0', 'traffic/fortio-0', 'other/client-0']
    await eventually('traffic of all pods is counted', async () => {
      const found = seriesOf(await agent.metrics(), FLOWS).join('\n')
      return pods.every((pod) => found.includes(`source="${pod}"`)) && found.includes('verdict="DROPPED"')
    })
  })

  afterAll(async () => {
    await second?.[Symbol.asyncDispose]()
    await agent?.[Symbol.asyncDispose]()
    await cluster?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  afterEach(async () => {
    cluster.removeFilters()
    if (agent.isRunning) await shows('everything is counted again', hasForwarded)
  })

  test('without a resource all metrics count and no log is written', async () => {
    const samples = await agent.metrics()
    for (const family of [FLOWS, FLAGS, 'hubble_drop_total']) expect(sum(samples, family), family).toBeGreaterThan(0)
    expect(lines()).toEqual([])
  })

  test('the announced example is in force in two seconds, on every agent, and says so', async () => {
    const before = await agent.metrics()
    cluster.filter(ANNOUNCED)
    await shows('only drops are left', onlyDrops)
    const filtered = await agent.metrics()
    for (const [series, value] of Object.entries(before)) {
      if (series.startsWith(FLAGS)) expect(filtered[series], series).toBeGreaterThanOrEqual(value)
    }
    await shows('TCP flags go on', (samples) => sum(samples, FLAGS) > sum(filtered, FLAGS))
    await eventually('the status is written', () => status() !== undefined)
    expect(status()).toMatchObject({
      state: 'CONFIGURED',
      reason: 'Configured',
      warnings: [],
      filters: 2,
      observedGeneration: 1,
      conditions: [
        { type: 'Accepted', status: 'True' },
        { type: 'Applied', status: 'True' },
      ],
    })
    for (const { grpc } of [agent, second]) {
      await eventually('it is listed', async () => {
        const { stdout } = await runSluice(['filters', 'list', '--server', grpc])
        return stdout.includes(METRIC_NAME) && stdout.includes('CONFIGURED')
      })
    }
    expect(await agent.ledger()).toMatchObject({ closes: true })
  })

  test('the log is written while a resource asks for it, and holds what it asks for', async () => {
    cluster.filter(logOf('drops', { from: { namespacedPod: ['traffic/http-'] }, verdict: ['dropped'] }))
    await eventually('lines are written', () => lines().length > 3, APPLIED_MS)
    expect([...new Set(lines().map((flow) => `${flow.source?.pod_name} ${flow.verdict}`))]).toEqual(['http-0 DROPPED'])
    cluster.removeFilter(LOG, 'drops')
    await eventually('the log is off', async () =>
      /no ContainerNetworkLog/.test((await agent.parts())['exporter/json-log']!.message),
    )
    const { length } = lines()
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(lines()).toHaveLength(length)
  })

  test('what is accepted and hardly meant is a warning in the status', async () => {
    cluster.filter(logOf('trap', { from: { namespacedPod: ['traffic/*'] } }))
    await eventually('the status is written', () => status(LOG, 'trap') !== undefined)
    expect(status(LOG, 'trap')).toMatchObject({
      state: 'CONFIGURED',
      warnings: [expect.stringMatching(/traffic\/\*.*traffic\//)],
    })
  })

  test('a wrong version is FAILED and says why, the good one before stays, and a new resource owes nothing to it', async () => {
    cluster.filter(ANNOUNCED)
    await shows('only drops are left', onlyDrops)
    cluster.filter(ANNOUNCED.replaceAll('namespacedPod', 'pod'))
    await eventually('the mistake is told', () => status()?.state === 'FAILED')
    expect(status()).toMatchObject({ reason: 'Invalid', observedGeneration: 2, filters: 2 })
    expect(status()!.message).toMatch(/spec\.filters\[0\]\.includeFilters\[0\]\.from.*namespacedPod/s)
    expect(status()!.conditions.map((one) => [one.type, one.status])).toEqual([
      ['Accepted', 'False'],
      ['Applied', 'False'],
    ])
    expect(onlyDrops(await agent.metrics())).toBe(true)
    cluster.removeFilter(METRIC, METRIC_NAME)
    cluster.filter(ANNOUNCED.replaceAll('namespacedPod', 'pod'))
    await shows('the new one has nothing in force', hasForwarded)
    await eventually('that is told', () => status()?.state === 'FAILED' && status()?.filters === 0)
    cluster.filter(ANNOUNCED)
    await shows('only drops are left again', onlyDrops)
    await eventually('all is well', () => status()?.state === 'CONFIGURED')
  })

  test('ConfigMaps show what is in force; what somebody writes into them is put back', async () => {
    const metrics = () => cluster.configMap('sluice-dynamic-metrics-config')?.['dynamic-metrics.yaml'] ?? ''
    const logs = () => cluster.configMap('sluice-flowlog-config')?.['flowlogs.yaml'] ?? ''
    cluster.filter(ANNOUNCED)
    await eventually('the metric is shown', () => /traffic\/http.*traffic\/fortio/s.test(metrics()))
    const { metadata } = cluster.api.get('configmaps', cluster.namespace, 'sluice-dynamic-metrics-config')!
    cluster.api.apply('configmaps', { metadata, data: { 'dynamic-metrics.yaml': 'edited', more: '1' } })
    cluster.filter(logOf('calls', { to: { namespacedPod: ['traffic/server-'] } }))
    await eventually('the log is shown', () => logs().includes('traffic/server-'))
    await eventually('the edit is gone', () => metrics().includes('traffic/http'))
    expect(Object.keys(cluster.configMap('sluice-dynamic-metrics-config')!)).toEqual(['dynamic-metrics.yaml'])
  })

  test('one agent alone writes; when it stops the other one does, and has the same in force', async () => {
    cluster.filter(logOf('l', { protocol: ['tcp'] }))
    await eventually('the status is written', () => status(LOG, 'l')?.state === 'CONFIGURED')
    expect(lease().holderIdentity).toBe('node-1')
    expect(writes('first').length).toBeGreaterThan(5)
    expect(writes('second')).toEqual([])
    const { resourceVersion } = cluster.filterOf(LOG, 'l')!.metadata
    expect(await agent.stop()).toBe(0)
    expect(lease().holderIdentity).toBe('')
    await eventually('the other one leads', () => lease().holderIdentity === 'node-2', TAKEOVER_MS)
    cluster.filter(logOf('l', { protocol: ['udp'] }))
    await eventually('it writes', () => status(LOG, 'l')?.observedGeneration === 2)
    // What was right was not written once more.
    const patches = writes('second').filter(({ resource }) => resource === 'containernetworklogs')
    expect(patches).toHaveLength(1)
    expect(Number(cluster.filterOf(LOG, 'l')!.metadata.resourceVersion)).toBeGreaterThan(Number(resourceVersion))
    for (const { noise } of [agent, second]) expect(noise).toBe('')
  })
})
