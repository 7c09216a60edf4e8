import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Lab } from '../../lab/index.ts'
import { runSluice, TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { trafficLab } from '../helpers/traffic-lab.ts'

/** What a change of filters may take until it is seen. */
const APPLIED_MS = 2000

/** The example of the announcement: its page lost the dashes of lists, and it is taken as it stands. */
const ANNOUNCED = `
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkMetric
metadata:
  name: container-network-metric
spec:
  filters:
    - metric: flow
      includeFilters:
        verdict: [dropped]
        from:
          namespacedPod: [traffic/http]
      excludeFilters:
        from:
          namespacedPod: [traffic/fortio]
`

const DROPS_OF_HTTP = `
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkLog
metadata:
  name: drops-of-http
spec:
  includefilters:
    - name: drops
      from:
        namespacedPod: [traffic/http-]
      verdict: [dropped]
`

type Samples = Readonly<Record<string, number>>

/** Labels of a series: `name{a="b"}` to { a: 'b' }. */
function labelsOf(series: string): Record<string, string> {
  return Object.fromEntries([...series.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, key, value]) => [key!, value!]))
}

function family(samples: Samples, name: string): Record<string, string>[] {
  return Object.keys(samples)
    .filter((series) => series.startsWith(`${name}{`))
    .map(labelsOf)
}

function sum(samples: Samples, name: string): number {
  return Object.entries(samples)
    .filter(([series]) => series === name || series.startsWith(`${name}{`))
    .reduce((total, [, value]) => total + value, 0)
}

describeKernel('filters as files in a directory', () => {
  let lab: Lab
  let agent: TestAgent
  let directory: string
  const FLOWS = 'hubble_flows_processed_total'
  const FLAGS = 'hubble_tcp_flags_total'

  const apply = (name: string, text: string) => writeFileSync(join(directory, name), text)
  const remove = (name: string) => rmSync(join(directory, name), { force: true })
  const lines = () => readFlowLog(agent.logPath).flows
  /** Waits until a scrape says it, no longer than a change may take. */
  const shows = (what: string, holds: (samples: Samples) => boolean) =>
    eventually(what, async () => holds(await agent.metrics()), APPLIED_MS)

  beforeAll(async () => {
    lab = await trafficLab()
    directory = join(lab.directory, 'filters')
    mkdirSync(directory)
    agent = await TestAgent.start({
      name: 'filters',
      settings: {
        'node.netns': lab.node().netnsPath,
        'node.clusterName': 'test',
        'metadata.file': lab.metadataPath,
        'filters.directory': directory,
        'log.enabled': 'auto',
        'kernel.aggregationInterval': '500ms',
      },
    })
    await eventually('traffic of all pods is counted', async () => {
      const found = family(await agent.metrics(), FLOWS)
      const sources = new Set(found.map(({ source }) => source))
      return (
        ['traffic/http-0', 'traffic/fortio-0', 'other/client-0'].every((pod) => sources.has(pod)) &&
        found.some(({ verdict }) => verdict === 'DROPPED')
      )
    })
  })

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  beforeEach(async () => {
    for (const name of ['metric.yaml', 'log.yaml']) remove(name)
    await shows('everything is counted again', (samples) =>
      family(samples, FLOWS).some(({ verdict }) => verdict === 'FORWARDED'),
    )
  })

  test('without a resource all metrics count and no log is written', () => {
    expect(lines()).toEqual([])
  })

  test('the announced example leaves dropped flows of its pods alone in the scrape, and other families unbroken', async () => {
    const before = await agent.metrics()
    apply('metric.yaml', ANNOUNCED)
    await shows('only drops are left', (samples) => {
      const found = family(samples, FLOWS)
      return found.length > 0 && found.every(({ verdict }) => verdict === 'DROPPED')
    })
    const filtered = await agent.metrics()
    // A drop inside the server's namespace is its ingress: the destination is named, the source was asked by the filter.
    for (const labels of family(filtered, FLOWS)) expect([labels['source'], labels['verdict']]).toEqual(['', 'DROPPED'])
    for (const [series, value] of Object.entries(before)) {
      if (series.startsWith(FLAGS)) expect(filtered[series], series).toBeGreaterThanOrEqual(value)
    }
    await shows('TCP flags go on', (samples) => sum(samples, FLAGS) > sum(filtered, FLAGS))
    const later = await agent.metrics()
    expect(sum(later, FLOWS)).toBeGreaterThanOrEqual(sum(filtered, FLOWS))
  })

  test('what nobody wants stays in the kernel and is counted by rule', async () => {
    const before = await agent.metrics()
    apply('metric.yaml', ANNOUNCED)
    const filteredEvents = 'sluice_kernel_ledger_total{counter="events_filtered"}'
    await shows('events stay in the kernel', (samples) => samples[filteredEvents]! > before[filteredEvents]! + 5)
    await shows('rules count', (samples) =>
      Object.entries(samples).some(
        ([series, value]) => series.startsWith('sluice_filter_rule_matched_total{') && value > 0,
      ),
    )
    const ledger = await agent.ledger()
    expect(ledger.equations.filter(({ difference }) => difference !== 0n)).toEqual([])
    expect(ledger.closes).toBe(true)
  })

  test('a log is written while a resource asks for it, and holds what it asks for', async () => {
    apply('log.yaml', DROPS_OF_HTTP)
    await eventually('lines are written', () => lines().length > 3, APPLIED_MS)
    expect([...new Set(lines().map((flow) => `${flow.source?.pod_name} ${flow.verdict}`))]).toEqual(['http-0 DROPPED'])
    remove('log.yaml')
    await eventually('the log is off', async () =>
      /no ContainerNetworkLog/.test((await agent.parts())['exporter/json-log']!.message),
    )
    const { length } = lines()
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(lines()).toHaveLength(length)
  })

  test('a wrong resource leaves what was in force, and status says what is wrong', async () => {
    apply('metric.yaml', ANNOUNCED)
    await shows('only drops are left', (samples) =>
      family(samples, FLOWS).every(({ verdict }) => verdict === 'DROPPED'),
    )
    apply('metric.yaml', ANNOUNCED.replace('namespacedPod: [traffic/http]', 'pod: [traffic/http]'))
    await eventually('the mistake is told', async () => {
      const { stdout } = await runSluice(['filters', 'list', '--server', agent.grpc])
      return stdout.includes('FAILED') && stdout.includes('namespacedPod')
    })
    const samples = await agent.metrics()
    expect(family(samples, FLOWS).every(({ verdict }) => verdict === 'DROPPED')).toBe(true)
  })

  test('a client that follows gets what the filters leave in the kernel, as long as it follows', async () => {
    apply('metric.yaml', ANNOUNCED.replace('spec:', 'spec:\n  unlisted: drop'))
    await shows('TCP flags are off', (samples) => family(samples, FLAGS).length === 0)
    const follow = ['observe', '--follow', '--server', agent.grpc, '--from-pod', 'other/client-0', '-o', 'json']
    const { stdout } = await runSluice(follow, { timeoutMs: 3000 })
    const pods = [
      ...new Set(
        stdout
          .trim()
          .split('\n')
          .slice(0, -1)
          .map((line) => JSON.parse(line).flow?.source?.pod_name),
      ),
    ]
    expect(pods).toEqual(['client-0'])
  })
})
