import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { silentLogger } from '../base/logger.ts'
import { FilterControl } from '../control/filter-control.ts'
import type { ResourceSink, ResourceSource } from '../control/resource.ts'
import { lineBytes } from '../exporters/json-log/index.ts'
import { PrometheusExporter } from '../exporters/prometheus/index.ts'
import { Judge } from '../filters/judge.ts'
import { CONSUMER_BITS } from '../filters/rules.ts'
import { Verdict } from '../model/layouts.gen.ts'
import { startApi } from '../test/helpers/api-server.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { run } from '../test/helpers/run-cli.ts'
import { AgentFilters } from './filter-info.ts'
import { withNews } from './progress.ts'

const METRIC = {
  apiVersion: 'acn.azure.com/v1alpha1',
  kind: 'ContainerNetworkMetric',
  metadata: { name: 'container-network-metric' },
  spec: {
    filters: [
      {
        metric: 'flow',
        includeFilters: [{ verdict: ['dropped'], from: { namespacedPod: ['traffic/http'] } }],
        excludeFilters: [{ from: { namespacedPod: ['traffic/fortio'] } }],
      },
    ],
  },
}
const LOG = {
  apiVersion: 'acn.azure.com/v1alpha1',
  kind: 'ContainerNetworkLog',
  metadata: { name: 'all' },
  spec: { includefilters: [{ name: 'web', to: { port: [80] } }] },
}

/** Filters of an agent without a kernel: every part but that is real. */
async function setup(documents: readonly { kind: string; metadata: { name: string } }[]) {
  const store = new TestFlowStore(4000)
  for (let i = 0; i < 1200; i++) {
    store.push({
      source: { namespace: 'traffic', podName: i % 3 === 0 ? 'fortio-1' : `http-${i % 7}` },
      destination: { namespace: 'traffic', podName: 'db-0' },
      dstPort: i % 2 === 0 ? 80 : 443,
      verdict: i % 10 === 0 ? Verdict.DROPPED : Verdict.FORWARDED,
      time: 1_790_000_000_000_000_000n + BigInt(i) * 50_000_000n,
    })
  }
  const exporter = new PrometheusExporter({ address: '127.0.0.1:0' }, { logger: silentLogger })
  const judge = new Judge({ historyEnd: () => store.end })
  const source: ResourceSource = {
    name: 'directory',
    start: async (sink: ResourceSink) => {
      for (const value of documents) {
        sink.upsert({ ref: { kind: value.kind, name: value.metadata.name }, uid: '', generation: 0, value, file: '' })
      }
      sink.synced()
    },
    setStatus: () => {},
    [Symbol.asyncDispose]: async () => {},
  }
  const control = new FilterControl({
    settings: { log: { mode: 'resources', allow: [], deny: [] }, history: 'wanted', merge: false, unlisted: 'keep' },
    sources: [source],
    targets: [judge],
    metrics: exporter.consumers(),
    settleMs: 1,
  })
  await control.start(new AbortController().signal)
  const filters = new AgentFilters({
    control,
    counts: () => judge.counts(),
    readCounts: async () => judge.counts(),
    store,
    node: { nodeName: 'node-1', nodeLabels: [] },
    meters: {
      series: (consumer, range, wants, signal) => exporter.countSeries(consumer, range, wants, signal),
      lines: ({ store: flows, first, end }, wants, signal) =>
        lineBytes(flows, first, end, wants, undefined, { signal }),
    },
    hasKernel: false,
    catchUpSeconds: 0,
    isJudging: () => false,
  })
  onTestFinished(() => filters[Symbol.dispose]())
  const { address } = await startApi(store, { deps: { filters } })
  return { store, judge, filters, server: ['--server', address], exporter }
}

/** Asks the judge as exporters do. */
function judgeAll({ store, judge, exporter }: Awaited<ReturnType<typeof setup>>): number[] {
  const { bit } = exporter.consumers().find(({ name }) => name === 'metric/flow')!
  const view = store.createView()
  const taken = [0, 0]
  for (let sequence = 0; sequence < store.end; sequence++) {
    store.seek(view, sequence)
    if (judge.wants(bit, view)) taken[0]!++
    if (judge.wants(CONSUMER_BITS.LOG, view)) taken[1]!++
  }
  return taken
}

describe('AgentFilters', () => {
  test('list tells what rules counted, and the resources they come from', async () => {
    const agent = await setup([METRIC, LOG])
    const { server } = agent
    const [flow, log] = judgeAll(agent)
    const { stdout, stderr } = await run(['filters', 'list', '-o', 'json', ...server])
    expect(stderr).toBe('')
    const list = JSON.parse(stdout)
    expect(list.resources).toMatchObject([
      { kind: 'ContainerNetworkLog', state: 'CONFIGURED', filters: 1, source: 'directory' },
      { kind: 'ContainerNetworkMetric', state: 'CONFIGURED', filters: 2 },
    ])
    const consumers = new Map(list.consumers.map((one: { name: string }) => [one.name, one]))
    expect(consumers.get('metric/flow')).toMatchObject({ count: { matched: 1200, kept: flow, left_out: 1200 - flow! } })
    expect(consumers.get('log')).toMatchObject({ on: true, rules: 1, counted: true, count: { kept: log } })
    // Nobody asks whether a metric without filters wants a flow.
    expect(consumers.get('metric/icmp')).toMatchObject({ on: true, counted: false, count: { matched: 0, left_out: 0 } })
    const written = list.rules.filter(({ rule }: { rule: { kind: string } }) => rule.kind !== 'built in')
    expect(written).toMatchObject([
      { rule: { consumer: 'metric/flow', effect: 'include', text: 'from pod traffic/http, verdict dropped' } },
      {
        rule: { effect: 'exclude', place: 'user', path: 'spec.filters[0].excludeFilters[0]' },
        count: { matched: 400 },
      },
      { rule: { consumer: 'log', label: 'web' }, count: { matched: 600, kept: 600 } },
    ])
  })

  test('explain agrees with the judge, the scrape and the log', async () => {
    const agent = await setup([METRIC, LOG])
    const { store, server, exporter } = agent
    const [flow, log] = judgeAll(agent)
    const { stdout } = await run(['filters', 'explain', '-o', 'json', ...server])
    const result = JSON.parse(stdout)
    expect(result.basis).toMatchObject({ flows: 1200, complete: true, source: 'history' })
    const consumers = new Map(result.consumers.map((one: { name: string }) => [one.name, one]))
    const all = { store, first: 0, end: store.end }
    const series = await exporter.countSeries('metric/flow', all, () => true)
    expect(consumers.get('metric/flow')).toMatchObject({
      with: { kept: flow },
      without: { kept: 1200, series: series.series, scrape_bytes: series.bytes },
    })
    const lines = await lineBytes(store, 0, store.end, () => true, undefined)
    expect(consumers.get('log')).toMatchObject({ with: { kept: log }, without: { kept: 1200, log_bytes: lines.bytes } })
  })

  test('explain -f measures files over what is in force', async () => {
    const { server } = await setup([METRIC])
    const directory = mkdtempSync(join(tmpdir(), 'sluice-filter-info-'))
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    const path = join(directory, 'new.yaml')
    writeFileSync(path, JSON.stringify(LOG))
    const { stdout, code } = await run(['filters', 'explain', '-f', path, ...server])
    expect(code).toBe(0)
    expect(stdout).toMatch(/log: lines a minute +off +601 +1,201/)
    writeFileSync(path, JSON.stringify({ ...LOG, spec: {} }))
    const refused = await run(['filters', 'explain', '-f', path, ...server])
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/new\.yaml:1: spec/)
  })
})

describe('withNews()', () => {
  test('tells news, then the result', async () => {
    const seen: unknown[] = []
    const work = async (onNews: (step: string, done: number) => void) => {
      onNews('a', 0.1)
      await new Promise((resolve) => setTimeout(resolve, 20))
      onNews('b', 0.5)
      return 42
    }
    for await (const news of withNews(work)) seen.push(news.progress?.step ?? news.result)
    expect(seen).toEqual(['a', 42])
  })

  test('passes on a failure, also one without news', async () => {
    const failing = withNews(async () => {
      throw new Error('no luck')
    })
    await expect(failing.next()).rejects.toThrow('no luck')
  })
})
