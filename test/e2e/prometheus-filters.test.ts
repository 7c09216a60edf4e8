import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLogger } from '../../base/logger.ts'
import { PrometheusExporter } from '../../exporters/prometheus/index.ts'
import { Judge } from '../../filters/judge.ts'
import type { Predicate } from '../../filters/predicate.ts'
import type { FilterRule, RuleEffect, RuleSet } from '../../filters/rules.ts'
import { TestFlowStore } from '../helpers/flow-store.ts'

const isMissing = spawnSync('prometheus', ['--version']).error !== undefined
if (isMissing && process.env['CI'] === 'true') throw new Error('CI needs prometheus')
if (isMissing) console.warn('skipped: needs prometheus (Debian package prometheus)')

/** Milliseconds between scrapes; what filters do must be seen within 2 s. */
const SCRAPE_MS = 250
const METRIC = 'hubble_flows_processed_total'

function podRule(effect: RuleEffect, pod: string): FilterRule {
  const predicate: Predicate = { op: 'pod', side: 'source', names: [{ namespace: 'shop', prefix: pod }] }
  const origin = { kind: 'ContainerNetworkMetric', name: 'm', path: 'spec', label: '', text: `from shop/${pod}` }
  return { id: `${effect} ${pod}`, effect, predicate, origin }
}

/** An exporter with its judge, under traffic of three pods: two busy, one that is quiet after its first flow. */
class Node implements AsyncDisposable {
  readonly store = new TestFlowStore(100_000)
  readonly judge = new Judge({ historyEnd: () => this.store.end })
  readonly exporter = new PrometheusExporter(
    { address: '127.0.0.1:0', metrics: 'flow:sourceContext=pod tcp' },
    { logger: silentLogger, judge: this.judge },
  )
  readonly #pods = ['busy', 'other', 'quiet'].map((podName) => this.store.addEndpoint({ namespace: 'shop', podName }))
  #timer: NodeJS.Timeout | undefined

  async start(): Promise<void> {
    await this.exporter.start(new AbortController().signal)
    this.exporter.attach(this.store)
    await this.filter([])
    this.#flows([0, 1, 2])
    this.#timer = setInterval(() => this.#flows([0, 1]), 20)
  }

  #flows(pods: readonly number[]): void {
    const first = this.store.end
    const time = BigInt(Date.now()) * 1_000_000n
    for (const pod of pods) this.store.push({ source: this.#pods[pod]!, time })
    this.exporter.accept(this.store, first, this.store.end)
  }

  /** Puts the rules of the flow metric into force. */
  async filter(rules: readonly FilterRule[], isOn = true): Promise<void> {
    const consumers = this.exporter.consumers().map(({ name, bit, interest }) => {
      const isFlow = name === 'metric/flow'
      return { name, bit, kinds: interest.kinds, isOn: isOn || !isFlow, rules: isFlow ? rules : [] }
    })
    const set: RuleSet = { consumers }
    await this.judge.apply(set)
    this.exporter.filtersChanged(set)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.exporter[Symbol.asyncDispose]()
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

describe.skipIf(isMissing)('filters that change under a real Prometheus', () => {
  const node = new Node()
  let directory: string
  let prometheus: ChildProcess
  let api: string

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sluice-prometheus-filters-'))
    await node.start()
    const config = join(directory, 'prometheus.yml')
    const scrape = {
      job_name: 'sluice',
      scrape_interval: `${SCRAPE_MS}ms`,
      scrape_timeout: `${SCRAPE_MS}ms`,
      static_configs: [{ targets: [new URL(node.exporter.url!).host] }],
    }
    writeFileSync(config, JSON.stringify({ scrape_configs: [scrape] }))
    const port = await freePort()
    api = `http://127.0.0.1:${port}/api/v1`
    prometheus = spawn(
      'prometheus',
      [
        ...[`--config.file=${config}`, `--storage.tsdb.path=${join(directory, 'data')}`],
        ...[`--web.listen-address=127.0.0.1:${port}`, '--log.level=warn'],
      ],
      { stdio: 'ignore' },
    )
    await until('three pods are seen', async () => (await pods()).length === 3)
  }, 60_000)

  afterAll(async () => {
    const gone = new Promise((resolve) => prometheus.once('exit', resolve))
    prometheus.kill('SIGTERM')
    await gone
    await node[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  })

  /** Values by source; the value alone under '' where there is none. */
  async function query(expression: string): Promise<Record<string, number>> {
    const response = await fetch(`${api}/query?query=${encodeURIComponent(expression)}`)
    const { data } = (await response.json()) as {
      data: { result: { metric: Record<string, string>; value: [number, string] }[] }
    }
    return Object.fromEntries(data.result.map(({ metric, value }) => [metric['source'] ?? '', Number(value[1])]))
  }

  /** Pods whose series Prometheus sees now. */
  async function pods(): Promise<string[]> {
    const found = await query(METRIC).catch(() => ({}))
    return Object.keys(found).sort()
  }

  async function until(what: string, holds: () => Promise<boolean>): Promise<number> {
    const began = performance.now()
    while (!(await holds())) {
      if (performance.now() - began > 20_000) throw new Error(`Still not so after 20 s: ${what}`)
      await sleep(50)
    }
    return performance.now() - began
  }

  /** Scrapes of the last minute in which a pod's series was missing though it had been there before. */
  async function gaps(pod: string): Promise<number> {
    const scrapes = await query('count_over_time(up[1m])')
    const samples = await query(`count_over_time(${METRIC}{source="${pod}"}[1m])`)
    return Math.abs(scrapes['']! - samples[pod]!)
  }

  test('what is not wanted any more is gone within 2 s; the wanted are in every scrape, the quiet one too', async () => {
    await node.filter([podRule('exclude', 'other')])
    const tookMs = await until('the other pod is gone', async () => !(await pods()).includes('shop/other'))
    expect(tookMs).toBeLessThan(2000 + SCRAPE_MS)
    await sleep(2000)
    expect(await pods()).toEqual(['shop/busy', 'shop/quiet'])
    expect(await query(`${METRIC}{source="shop/quiet"}`)).toEqual({ 'shop/quiet': 1 })
    // One scrape may have come between the start and the first flows, one between the two queries.
    for (const pod of ['shop/busy', 'shop/quiet']) expect(await gaps(pod)).toBeLessThanOrEqual(2)
    expect(await query(`resets(${METRIC}[1m])`)).toEqual({ 'shop/busy': 0, 'shop/other': 0, 'shop/quiet': 0 })
  })

  test('what is wanted again goes on where it was, and other metrics never noticed', async () => {
    const before = (await query(`max_over_time(${METRIC}{source="shop/other"}[1m])`))['shop/other']!
    await node.filter([])
    await until('all pods are seen', async () => (await pods()).length === 3)
    expect((await query(METRIC))['shop/other']).toBeGreaterThanOrEqual(before)
    expect(Object.values(await query(`resets(${METRIC}[1m])`))).toEqual([0, 0, 0])
    expect(await query('resets(hubble_tcp_flags_total[1m])')).toEqual({ '': 0 })
    const growth = await query('rate(hubble_tcp_flags_total[2s]) > bool 50')
    expect(growth).toEqual({ '': 1 })
  })

  test('a metric that is switched off is gone wholly, and the others are not', async () => {
    await node.filter([], false)
    const tookMs = await until('no pod is seen', async () => (await pods()).length === 0)
    expect(tookMs).toBeLessThan(2000 + SCRAPE_MS)
    expect(Object.keys(await query('hubble_tcp_flags_total'))).toHaveLength(1)
    expect(node.exporter.ledger.difference).toBe(0)
  })
})
