import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLogger } from '../../base/logger.ts'
import { type NodeCounters, NodeFamilies, PrometheusExporter } from '../../exporters/prometheus/index.ts'
import type { L7Record } from '../../model/l7.ts'
import { Verdict } from '../../model/layouts.gen.ts'
import { TestAuthority } from '../helpers/certificates.ts'
import { TestFlowStore } from '../helpers/flow-store.ts'

const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736'
const CONTEXT = 'sourceEgressContext=pod|ip;destinationIngressContext=pod;labelsContext=source_ip,traffic_direction'
const METRICS = [
  ...['flow', 'tcp', 'drop', 'icmp', 'port-distribution', 'sctp', 'policy', 'flows-to-world'],
  'dns:query',
  'httpV2:exemplars=true;responses',
].map((metric) => `${metric}${metric.includes(':') ? ';' : ':'}${CONTEXT}`)

const missing = ['promtool', 'prometheus'].filter((tool) => spawnSync(tool, ['--version']).error !== undefined)
if (missing.length > 0 && process.env['CI'] === 'true') throw new Error(`CI needs ${missing.join(', ')}`)
if (missing.length > 0) console.warn(`skipped: needs ${missing.join(', ')} (Debian package prometheus)`)

function http(code: number, traceId: string): L7Record {
  const record = { code, method: 'GET', url: '/', protocol: 'HTTP/1.1', headers: [] }
  return { type: 2, latencyNs: 30e6, traceId, http: record }
}

function dns(query: string): L7Record {
  const base = { ttl: 1, cnames: [], observationSource: 'kernel', rcode: 0, qtypes: ['A'], rrtypes: ['A'] }
  return { type: 2, latencyNs: 0, traceId: '', dns: { ...base, query, ips: ['192.0.2.1'] } }
}

/** A store with a flow for every family, and label values that need escapes. */
function traffic(): TestFlowStore {
  const store = new TestFlowStore()
  const time = () => BigInt(Date.now()) * 1_000_000n
  const source = { namespace: 'shop', podName: 'web-0', labels: ['k8s:app=web'] }
  store.push(
    { source, time: time() },
    { source, l4Info: 18, direction: 'ingress', destination: source },
    { source, verdict: Verdict.DROPPED, hubbleReason: 133 },
    { source, protocol: 1, l4Info: 8 << 8 },
    { protocol: 58, l4Info: 128 << 8, srcIp: 'fd00::1', dstIp: 'fd00::2' },
    { protocol: 132, l4Info: 1 },
    { destination: { labels: ['reserved:world'] } },
    { source, isReply: true, l7: dns('we"ird\\name\n.') },
    { source, isReply: true, l7: http(200, TRACE_ID), time: time() },
    { source, isReply: true, l7: http(500, '') },
  )
  return store
}

const COUNTERS: NodeCounters = {
  podTotals: () => ({ ingressPackets: 10, ingressBytes: 1000, egressPackets: 2 ** 40, egressBytes: 2 ** 50 }),
  forEachPod: (visit) => {
    const pod = { namespace: 'shop', podName: 'web-0', ip: '10.0.0.1', workloadKind: '', workloadName: '' }
    visit(pod, { ingressPackets: 1, ingressBytes: 2, egressPackets: 3, egressBytes: 4 })
  },
  forEachDrop: (visit) => {
    visit({ kernelReason: 'NO_SOCKET', reason: 178, direction: 1, packets: 2, bytes: 3, pod: undefined })
  },
}

function exporterOf(config: object): PrometheusExporter {
  const node = new NodeFamilies({ counters: COUNTERS, logger: silentLogger, version: '0.1.0' })
  const exporter = new PrometheusExporter(
    { address: '127.0.0.1:0', metrics: METRICS.join(' '), ...config },
    { logger: silentLogger, refreshing: [node] },
  )
  const store = traffic()
  exporter.accept(store, 0, store.end)
  return exporter
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

describe.skipIf(missing.length > 0)('promtool check metrics', () => {
  test('finds no error in the classic text', async () => {
    const exporter = exporterOf({})
    // What OpenMetrics was asked for before must not show in the classic text.
    ;(await exporter.render('openmetrics')).release()
    const scrape = await exporter.render('text')
    const text = scrape.toString()
    scrape.release()
    await exporter[Symbol.asyncDispose]()
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
    // 3 = only remarks of style, which are about names that Hubble, Retina and Node's client chose.
    const remarks = `${stdout}${stderr}`.trim().split('\n')
    expect([0, 3], remarks.join('\n')).toContain(status)
    expect(remarks.filter((line) => /^(hubble|sluice|cilium|process)_/.test(line))).toEqual([])
  })
})

describe.skipIf(missing.length > 0)('a real Prometheus', () => {
  let directory: string
  let prometheus: ChildProcess
  let api: string
  let authority: TestAuthority
  const exporters: PrometheusExporter[] = []

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sluice-prometheus-'))
    authority = await TestAuthority.create()
    const hosts = 'DNS:localhost,IP:127.0.0.1'
    const server = await authority.issue('server', hosts)
    const client = await authority.issue('client', hosts)
    const jobs = {
      openmetrics: exporterOf({}),
      classic: exporterOf({ openMetrics: false }),
      tls: exporterOf({ tls: { ...server, caFile: authority.certFile, requireClientCert: true } }),
    }
    const scrapes = []
    for (const [job, exporter] of Object.entries(jobs)) {
      exporters.push(exporter)
      await exporter.start(new AbortController().signal)
      const tls = { ca_file: authority.certFile, cert_file: client.certFile, key_file: client.keyFile }
      scrapes.push({
        job_name: job,
        static_configs: [{ targets: [new URL(exporter.url!).host] }],
        ...(job === 'tls' ? { scheme: 'https', tls_config: tls } : {}),
      })
    }
    const config = join(directory, 'prometheus.yml')
    // JSON is YAML.
    writeFileSync(config, JSON.stringify({ global: { scrape_interval: '1s' }, scrape_configs: scrapes }))
    execFileSync('promtool', ['check', 'config', config])
    const port = await freePort()
    api = `http://127.0.0.1:${port}/api/v1`
    prometheus = spawn(
      'prometheus',
      [
        ...[`--config.file=${config}`, `--storage.tsdb.path=${join(directory, 'data')}`],
        ...[`--web.listen-address=127.0.0.1:${port}`, '--enable-feature=exemplar-storage', '--log.level=warn'],
      ],
      { stdio: 'ignore' },
    )
    await waitForSamples()
  }, 60_000)

  afterAll(async () => {
    const gone = new Promise((resolve) => prometheus.once('exit', resolve))
    prometheus.kill('SIGTERM')
    await gone
    for (const exporter of exporters) await exporter[Symbol.asyncDispose]()
    await authority[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  })

  async function query(expression: string): Promise<Record<string, string>> {
    const response = await fetch(`${api}/query?query=${encodeURIComponent(expression)}`)
    const { data } = (await response.json()) as {
      data: { result: { metric: Record<string, string>; value: [number, string] }[] }
    }
    return Object.fromEntries(data.result.map((row) => [row.metric['job'] ?? '', row.value[1]]))
  }

  async function waitForSamples(): Promise<void> {
    for (let i = 0; i < 100; i++) {
      await sleep(300)
      const found = await query('sluice_metrics_series_limit').catch(() => ({}))
      if (Object.keys(found).length === 3) return
    }
    throw new Error(`Prometheus has no samples of all jobs: ${await targets()}`)
  }

  async function targets(): Promise<string> {
    const response = await fetch(`${api}/targets`).catch(() => undefined)
    return response === undefined ? 'it does not answer' : await response.text()
  }

  const ALL = (value: string) => ({ openmetrics: value, classic: value, tls: value })

  test('takes every target without an error', async () => {
    const { data } = JSON.parse(await targets()) as {
      data: { activeTargets: { labels: { job: string }; health: string; lastError: string }[] }
    }
    const found = data.activeTargets.map(({ labels, health, lastError }) => [labels.job, health, lastError])
    expect(found.sort()).toEqual([
      ['classic', 'up', ''],
      ['openmetrics', 'up', ''],
      ['tls', 'up', ''],
    ])
  })

  test.each([
    ['sum by (job) (hubble_flows_processed_total)', '10'],
    ['hubble_drop_total{reason="POLICY_DENIED",source="shop/web-0",source_ip="10.0.0.1"}', '1'],
    ['sum by (job) (hubble_tcp_flags_total{flag="SYN-ACK",destination="shop/web-0"})', '1'],
    ['hubble_dns_responses_total{query="we\\"ird\\\\name\\n."}', '1'],
    ['sum by (job) (hubble_icmp_total{family="IPv6"})', '1'],
    ['sum by (job) (hubble_http_responses_total{status="500"})', '1'],
    ['sum by (job) (hubble_http_request_duration_seconds_count)', '2'],
    ['hubble_http_request_duration_seconds_bucket{le="0.05"}', '2'],
    ['hubble_http_request_duration_seconds_bucket{le="0.025"}', '0'],
    ['networkobservability_forward_bytes{direction="egress"}', String(2 ** 50)],
    ['networkobservability_dns_response_count', '1'],
    ['cilium_drop_count_total{reason="Socket lookup failed"}', '2'],
    ['sluice_ledger_difference', '0'],
    ['process_start_time_seconds > bool 0', '1'],
  ])('%s is %s in both formats and over mutual TLS', async (expression, value) => {
    expect(await query(expression)).toEqual(ALL(value))
  })

  test('histogram_quantile works on the buckets of both formats', async () => {
    const expression = 'histogram_quantile(0.5, sum by (job, le) (hubble_http_request_duration_seconds_bucket))'
    const found = Object.values(await query(expression)).map(Number)
    expect(found).toHaveLength(3)
    for (const quantile of found) expect(quantile).toBeCloseTo(0.0375, 6)
  })

  test('stores exemplars of OpenMetrics, and none of the classic format', async () => {
    const now = Date.now() / 1000
    const range = `start=${now - 600}&end=${now + 60}`
    const jobs: string[] = []
    for (const name of ['hubble_http_requests_total', 'hubble_http_request_duration_seconds_bucket']) {
      const response = await fetch(`${api}/query_exemplars?query=${name}&${range}`)
      const { data } = (await response.json()) as {
        data: { seriesLabels: Record<string, string>; exemplars: { labels: Record<string, string>; value: string }[] }[]
      }
      for (const { seriesLabels, exemplars } of data) {
        jobs.push(`${seriesLabels['job']} ${name}`)
        for (const exemplar of exemplars) expect(exemplar.labels).toEqual({ traceID: TRACE_ID })
      }
    }
    expect(jobs.sort()).toEqual(
      ['openmetrics', 'tls'].flatMap((job) => [
        `${job} hubble_http_request_duration_seconds_bucket`,
        `${job} hubble_http_requests_total`,
      ]),
    )
  })

  test('metadata has the types of the families', async () => {
    const response = await fetch(`${api}/metadata?metric=hubble_http_request_duration_seconds`)
    const { data } = (await response.json()) as { data: Record<string, { type: string }[]> }
    expect(data['hubble_http_request_duration_seconds']?.map(({ type }) => type)).toEqual(['histogram'])
  })
})
