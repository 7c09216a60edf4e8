import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Lab } from '../../lab/index.ts'
import { runSluice, TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { OPEN, trafficLab } from '../helpers/traffic-lab.ts'

const METRIC = `
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkMetric
metadata: {name: container-network-metric}
spec:
  unlisted: drop
  filters:
    - metric: flow
      includeFilters:
        - name: drops
          verdict: [dropped]
          from: {namespacedPod: [traffic/http]}
      excludeFilters:
        - from: {namespacedPod: [traffic/fortio]}
        - from: {namespacedPod: [nowhere/]}
`
const LOG = `
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkLog
metadata: {name: calls}
spec:
  includefilters:
    - name: calls
      to: {port: [${OPEN}]}
`
const PRICES = `
currency: EUR
nodes: 10
metrics: [{name: series, perThousandSeriesMonth: 5}]
logs: [{name: analytics, perGB: 2}]
`

// biome-ignore lint/suspicious/noExplicitAny: JSON of a command line
type Json = any

describeKernel('sluice filters', () => {
  let lab: Lab
  let agent: TestAgent
  let directory: string

  const file = (name: string, text: string): string => {
    const path = join(lab.directory, name)
    writeFileSync(path, text)
    return path
  }
  const apply = (name: string, text: string) => writeFileSync(join(directory, name), text)
  const sluice = async (...args: string[]): Promise<Json> => {
    const { code, stdout, stderr } = await runSluice(['filters', ...args, '-o', 'json', '--server', agent.grpc])
    if (code !== 0) throw new Error(`sluice filters ${args.join(' ')} ended with ${code}: ${stderr}`)
    return JSON.parse(stdout)
  }
  const named = (list: Json[], name: string): Json => list.find((one) => one.name === name)
  const ruleOf = (list: Json[], consumer: string, text: RegExp): Json =>
    list.find(({ rule }) => rule.consumer === consumer && text.test(rule.text))

  beforeAll(async () => {
    lab = await trafficLab()
    directory = join(lab.directory, 'filters')
    mkdirSync(directory)
    agent = await TestAgent.start({
      name: 'filters-cli',
      settings: {
        'node.netns': lab.node().netnsPath,
        'node.clusterName': 'test',
        'metadata.file': lab.metadataPath,
        'filters.directory': directory,
        'log.enabled': 'auto',
        'kernel.aggregationInterval': '500ms',
      },
    })
  })

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  afterEach(() => {
    for (const name of ['metric.yaml', 'log.yaml']) rmSync(join(directory, name), { force: true })
  })

  test('list shows that nothing is filtered when there is no resource', async () => {
    const list = await sluice('list')
    expect(list.resources).toEqual([])
    expect(named(list.consumers, 'metric/flow')).toMatchObject({ on: true, rules: 0 })
    expect(named(list.consumers, 'log')).toMatchObject({ on: false, rules: 0 })
    expect(list.generation).toBeGreaterThanOrEqual(1)
  })

  test('list shows what each rule does, where it is decided, and what never left the kernel', async () => {
    apply('metric.yaml', METRIC)
    apply('log.yaml', LOG)
    let list: Json
    await eventually('rules count', async () => {
      list = await sluice('list')
      return (
        (ruleOf(list.rules, 'metric/flow', /verdict dropped/)?.count.matched ?? 0) > 3 &&
        (ruleOf(list.rules, 'log', /port/)?.count.matched ?? 0) > 3 &&
        list.filtered_in_kernel > 3
      )
    })
    expect(list.resources).toMatchObject([
      { kind: 'ContainerNetworkLog', name: 'calls', state: 'CONFIGURED', source: 'directory', filters: 1 },
      { kind: 'ContainerNetworkMetric', state: 'CONFIGURED', filters: 3 },
    ])
    const drops = ruleOf(list.rules, 'metric/flow', /verdict dropped/)
    expect(drops.rule).toMatchObject({ effect: 'include', label: 'drops', place: 'kernel', because: [] })
    expect(drops.count.kept + drops.count.left_out).toBe(drops.count.matched)
    expect(drops.count.left_out).toBe(0)
    const fortio = ruleOf(list.rules, 'metric/flow', /fortio/)
    expect(fortio.count).toMatchObject({ kept: 0, left_out: fortio.count.matched })
    expect(fortio.count.matched).toBeGreaterThan(0)
    expect(ruleOf(list.rules, 'metric/flow', /nowhere/).count.matched).toBe(0)
    expect(named(list.consumers, 'metric/dns')).toMatchObject({ on: false })
    const text = await runSluice(['filters', 'list', '-o', 'wide', '--server', agent.grpc])
    expect(text.stdout).toMatch(/metric\/flow +include +drops: .*kernel/)
  })

  test('explain says what was left in the kernel, and measures all of it live', async () => {
    apply('metric.yaml', METRIC)
    apply('log.yaml', LOG)
    await eventually('events are left in the kernel', async () => (await sluice('list')).filtered_in_kernel > 20)
    const history = await sluice('explain')
    expect(history).toMatchObject({ proposed: false, basis: { source: 'history', complete: false } })
    expect(history.basis.notes.join(' ')).toMatch(/in the kernel, which are not among these flows/)

    const prices = file('prices.yaml', PRICES)
    const live = await sluice('explain', '--from', 'live', '--for', '3s', '--prices', prices)
    expect(live.basis).toMatchObject({ source: 'live', complete: true })
    expect(live.basis.flows).toBeGreaterThan(30)
    expect(live.basis.seconds).toBeGreaterThanOrEqual(3)
    const flow = named(live.consumers, 'metric/flow')
    expect(flow.with.kept).toBeGreaterThan(0)
    expect(flow.with.kept).toBeLessThan(flow.without.kept)
    expect(flow.with.series).toBeLessThan(flow.without.series)
    const log = named(live.consumers, 'log')
    expect(log.with.log_bytes).toBeGreaterThan(0)
    expect(log.with.log_bytes).toBeLessThan(log.without.log_bytes)
    expect(live.without.events).toBe(live.basis.flows)
    expect(live.with.events).toBeLessThan(live.without.events)
    const fortio = ruleOf(live.rules, 'metric/flow', /fortio/)
    expect(fortio.left_out).toBeGreaterThan(0)
    const [series, analytics] = live.costs.with
    expect(series.perMonth).toBeCloseTo(
      (10 * live.consumers.reduce((sum: number, one: Json) => sum + (one.with.on ? one.with.series : 0), 0) * 5) / 1000,
    )
    expect(analytics.perMonth).toBeGreaterThan(0)
    // Nobody looks any more: the kernel filters again.
    await eventually('the live query is gone', async () => {
      const before = (await sluice('list')).filtered_in_kernel
      await new Promise((resolve) => setTimeout(resolve, 300))
      return (await sluice('list')).filtered_in_kernel > before
    })
  })

  test('explain -f measures a file that is not in force, and leaves it so', async () => {
    const path = file('new.yaml', LOG)
    await eventually('there are flows', async () => (await sluice('explain')).basis.flows > 50)
    const result = await sluice('explain', '-f', path)
    expect(result).toMatchObject({ proposed: true, resources: [{ name: 'calls', state: 'CONFIGURED' }] })
    expect(named(result.consumers, 'log')).toMatchObject({
      now: { on: false },
      with: { on: true },
      without: { on: true },
    })
    expect(ruleOf(result.rules, 'log', /port/).rule.place).toBe('kernel')
    expect((await sluice('list')).resources).toEqual([])
    const bad = file('bad.yaml', LOG.replace('port:', 'ports:'))
    const refused = await runSluice(['filters', 'explain', '-f', bad, '--server', agent.grpc])
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/bad\.yaml:8: .*ports.*did you mean port\?/)
  })

  test('test tells of the flows of the log what a file would do with them', async () => {
    apply('log.yaml', LOG)
    await eventually('lines are written', async () =>
      (await sluice('list')).rules.some((one: Json) => one.count.kept > 10),
    )
    const path = file('metric.yaml', METRIC)
    await eventually('and are on disk', async () => {
      const { code, stdout } = await runSluice([
        'filters',
        'test',
        '-f',
        path,
        '--input-file',
        agent.logPath,
        '-o',
        'json',
      ])
      if (code !== 0) return false
      const { counts } = JSON.parse(stdout)
      const excluded = counts.rules.find((one: Json) => one.path === 'spec.filters[0].excludeFilters[0]')
      return counts.flows > 10 && excluded.matched > 0 && excluded.kept === 0
    })
  })
})
