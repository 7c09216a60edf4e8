import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Lab } from '../../lab/index.ts'
import { runSluice, TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { OPEN, trafficLab } from '../helpers/traffic-lab.ts'

/** How long is looked, before and after. */
const LOOK_SECONDS = 12
/** Of hundreds of events that are made every 100 ms: what a loaded machine leaves undone in one of the looks. */
const TOLERANCE = 0.12

/** Leaves nearly everything in the kernel. */
const BEFORE = `
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkMetric
metadata: {name: container-network-metric}
spec:
  unlisted: drop
  filters:
    - metric: drop
      includeFilters: [{from: {namespacedPod: [traffic/http]}}]
`
const AFTER = `
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkMetric
metadata: {name: container-network-metric}
spec:
  unlisted: drop
  filters:
    - metric: flow
      includeFilters: [{to: {port: [${OPEN}]}}]
      excludeFilters: [{from: {namespacedPod: [traffic/fortio]}}]
---
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkLog
metadata: {name: calls}
spec:
  includefilters:
    - to: {port: [${OPEN}]}
    - verdict: [dropped]
`

// biome-ignore lint/suspicious/noExplicitAny: JSON of a command line
type Json = any

describeKernel('what sluice filters explain foretells', () => {
  let lab: Lab
  let agent: TestAgent
  let directory: string

  beforeAll(async () => {
    lab = await trafficLab()
    directory = join(lab.directory, 'filters')
    mkdirSync(directory)
    writeFileSync(join(directory, 'filters.yaml'), BEFORE)
    agent = await TestAgent.start({
      name: 'filters-explain',
      settings: {
        'node.netns': lab.node().netnsPath,
        'node.clusterName': 'test',
        'metadata.file': lab.metadataPath,
        'filters.directory': directory,
        'log.enabled': 'auto',
        'kernel.aggregationInterval': '1s',
      },
    })
  })

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  const ask = async (...args: string[]): Promise<Json> => {
    const { code, stdout, stderr } = await runSluice(['filters', ...args, '-o', 'json', '--server', agent.grpc])
    if (code !== 0) throw new Error(`sluice filters ${args.join(' ')} ended with ${code}: ${stderr}`)
    return JSON.parse(stdout)
  }
  const named = (list: Json[], name: string): Json => list.find((one) => one.name === name)
  const expectNear = (what: string, value: number, wanted: number) =>
    expect(Math.abs(value / wanted - 1), `${what}: ${value.toFixed(1)}, foretold ${wanted.toFixed(1)}`).toBeLessThan(
      TOLERANCE,
    )
  const flowsSeen = async (): Promise<number> => {
    const { stdout } = await runSluice(['status', '-o', 'json', '--server', agent.grpc])
    return Number(JSON.parse(stdout).seen_flows)
  }

  test('is what happens when the files are applied, for events, metrics, series and the log', async () => {
    await eventually('filters leave events in the kernel', async () => (await ask('list')).filtered_in_kernel > 200)
    const path = join(lab.directory, 'new.yaml')
    writeFileSync(path, AFTER)
    const foretold = await ask('explain', '-f', path, '--from', 'live', '--for', `${LOOK_SECONDS}s`)
    expect(foretold.resources.map((one: Json) => one.state)).toEqual(['CONFIGURED', 'CONFIGURED'])
    // What never left the kernel is counted there. It counts fewer: the last acknowledgement of a connection, which
    // comes with its FIN, has no event of its own as long as nobody wants it.
    await sleep(5000)
    const counted = await ask('explain')
    expect(counted.without.per_minute / foretold.without.per_minute).toBeGreaterThan(0.7)
    expect(counted.without.per_minute / foretold.without.per_minute).toBeLessThan(1 + TOLERANCE)

    writeFileSync(join(directory, 'filters.yaml'), AFTER)
    await eventually('the files are in force', async () =>
      (await ask('list')).resources.some((one: Json) => one.name === 'calls' && one.state === 'CONFIGURED'),
    )
    // Flows tell what they counted while they were left out.
    await sleep(2500)
    const lines = () => readFileSync(agent.logPath, 'utf8')
    const before = { list: await ask('list'), seen: await flowsSeen(), log: lines() }
    const began = performance.now()
    await sleep(LOOK_SECONDS * 1000)
    const after = { list: await ask('list'), seen: await flowsSeen(), log: lines() }
    const perMinute = 60_000 / (performance.now() - began)

    expectNear('events', (after.seen - before.seen) * perMinute, foretold.with.per_minute)
    const flow = named(foretold.consumers, 'metric/flow')
    const kept = (list: Json, name: string): number => named(list.consumers, name).count.kept
    const grown = (name: string) => (kept(after.list, name) - kept(before.list, name)) * perMinute
    expectNear('events of metric/flow', grown('metric/flow'), flow.with.kept_per_minute)
    const log = named(foretold.consumers, 'log')
    expectNear('events of the log', grown('log'), log.with.kept_per_minute)
    const added = after.log.slice(before.log.length)
    expectNear('lines', (added.split('\n').length - 1) * perMinute, log.with.kept_per_minute)
    expectNear('bytes', Buffer.byteLength(added) * perMinute * 60 * 24, log.with.log_bytes_per_day)
    for (const rule of foretold.rules.filter(({ rule }: Json) => rule.kind !== 'built in')) {
      const of = ({ rules }: Json) => rules.find((one: Json) => one.rule.id === rule.rule.id).count.matched
      expectNear(rule.rule.text, (of(after.list) - of(before.list)) * perMinute, rule.matched_per_minute)
    }
    const scrape = await (await fetch(agent.metricsUrl)).text()
    const series = scrape.match(/^hubble_flows_processed_total\{/gm)!.length
    // One connection of hundreds may end in a drop, which makes a series of its own.
    expect(Math.abs(series - flow.with.series)).toBeLessThanOrEqual(2)
    expect(flow.without.series).toBeGreaterThan(flow.with.series + 4)
  }, 90_000)
})
