import { Counter, Gauge, Histogram, Registry, Summary } from 'prom-client'
import { describe, expect, onTestFinished, test } from 'vitest'
import { silentLogger } from '../../base/logger.ts'
import { ALL_KINDS, type FlowJudge } from '../../filters/rules.ts'
import type { TelemetrySource } from '../../model/contracts.ts'
import { StageLedger } from '../../model/ledger.ts'
import { endpoint, TestFlowStore } from '../../test/helpers/flow-store.ts'
import { samples } from '../../test/helpers/metric-lines.ts'
import { tcpHandler } from './handlers/tcp.ts'
import { HANDLERS, type PrometheusConfig, type PrometheusDependencies, PrometheusExporter } from './index.ts'
import { registryText } from './registry-text.ts'
import type { Format } from './series/text.ts'

function make(config: PrometheusConfig = {}, dependencies: Partial<PrometheusDependencies> = {}) {
  const exporter = new PrometheusExporter(
    { address: '127.0.0.1:0', ...config },
    { logger: silentLogger, ...dependencies },
  )
  onTestFinished(() => exporter[Symbol.asyncDispose]())
  const text = async (format: Format = 'text') => {
    const scrape = await exporter.render(format)
    const string = scrape.toString()
    scrape.release()
    return string
  }
  return { exporter, text }
}

const PORT = (port: number) => `hubble_port_distribution_total{protocol="TCP",port="${port}"}`

describe('PrometheusExporter', () => {
  test('counts blocks, settles at their end, and its ledger closes', async () => {
    const { exporter, text } = make({ metrics: 'port-distribution' })
    const store = new TestFlowStore()
    store.push({ dstPort: 80 }, { dstPort: 443 }, { dstPort: 80 })
    exporter.accept(store, 0, 2)
    expect(exporter.settled).toBe(2)
    exporter.accept(store, 2, 3)
    expect([exporter.settled, exporter.ledger.toJSON()]).toEqual([
      3,
      { stage: 'prometheus', accepted: 3, delivered: 3, filtered: 0, waiting: 0, lost: {}, difference: 0 },
    ])
    const series = samples(await text())
    expect([series[PORT(80)], series[PORT(443)]]).toEqual([2, 1])
    expect(series['sluice_ledger_flows{stage="prometheus",state="delivered"}']).toBe(3)
  })

  test('counts in each metric what the judge wants for it, and as filtered what none is asked to count', async () => {
    const bits = new Map(HANDLERS.map(({ name }, bit) => [name, bit]))
    const judge: FlowJudge = {
      wants: (bit, view) => bit === bits.get('port-distribution') && view.dstPort === 80,
      wouldTake: () => true,
    }
    const { exporter, text } = make({ metrics: 'flow port-distribution' }, { judge })
    const store = new TestFlowStore()
    store.push({ dstPort: 80 }, { dstPort: 443 }, { dstPort: 443 })
    exporter.accept(store, 0, 3)
    expect(exporter.ledger.toJSON()).toMatchObject({ accepted: 3, delivered: 1, filtered: 2, difference: 0 })
    const body = await text()
    expect(Object.keys(samples(body)).filter((key) => key.startsWith('hubble_port'))).toEqual([PORT(80)])
    expect(body).not.toContain('# TYPE hubble_flows_processed_total')
  })

  test('offers what it can use: the bit is the place in the registry, whatever is enabled', () => {
    const { exporter } = make({ metrics: 'tcp flow' })
    expect(exporter.consumers()).toEqual([
      { name: 'metric/tcp', bit: HANDLERS.findIndex(({ name }) => name === 'tcp'), interest: tcpHandler.interest },
      { name: 'metric/flow', bit: HANDLERS.findIndex(({ name }) => name === 'flow'), interest: { kinds: ALL_KINDS } },
    ])
    exporter.reconfigure('drop')
    expect(exporter.consumers().map(({ name }) => name)).toEqual(['metric/drop'])
  })

  test('never throws: a flow that cannot be counted is lost by name', () => {
    const broken = () => {
      throw new Error('broken')
    }
    const { exporter } = make({ metrics: 'flow' }, { judge: { wants: broken, wouldTake: broken } })
    const store = new TestFlowStore()
    store.push({}, {})
    exporter.accept(store, 0, 2)
    expect(exporter.ledger.toJSON()).toMatchObject({ lost: { handler_error: 2 }, difference: 0 })
  })

  test('counts lost records, not notifications', async () => {
    const { exporter, text } = make()
    const store = new TestFlowStore()
    exporter.attach(store)
    const lost = { cpu: undefined, firstMs: 0, lastMs: 0 }
    store.loseRecords({ ...lost, source: 1, count: 500 })
    store.loseRecords({ ...lost, source: 1, count: 7 })
    store.loseRecords({ ...lost, source: 3, count: 2 })
    const series = samples(await text())
    expect(series['hubble_lost_events_total{source="perf_event_ring_buffer"}']).toBe(507)
    expect(series['hubble_lost_events_total{source="hubble_ring_buffer"}']).toBe(2)
    expect(series['hubble_lost_events_total{source="observer_events_queue"}']).toBe(0)
  })

  test('removes the series of a deleted pod after its minute', async () => {
    let nowMs = 0
    const { exporter, text } = make({ metrics: 'port-distribution:sourceContext=pod' }, { now: () => nowMs })
    const store = new TestFlowStore()
    const pod = endpoint({ namespace: 'shop', podName: 'web' })
    store.push({ source: { namespace: 'shop', podName: 'web' } })
    exporter.accept(store, 0, 1)
    exporter.onEndpoint({ kind: 'deleted', endpoint: pod })
    nowMs = 59_999
    exporter.removeStale()
    expect(await text()).toContain('source="shop/web"')
    nowMs = 60_000
    exporter.removeStale()
    const after = await text()
    expect(after).not.toContain('source="shop/web"')
    expect(samples(after)['sluice_metrics_series_removed_total']).toBe(1)
  })

  test('a scrape shows all that was counted when it was asked for, however many wait', async () => {
    const { exporter, text } = make({ metrics: 'port-distribution' })
    const store = new TestFlowStore(4096)
    const scrapes: Promise<[number, number]>[] = []
    for (let i = 1; i <= 50; i++) {
      store.push({ dstPort: 80 })
      exporter.accept(store, i - 1, i)
      scrapes.push(text(i % 2 === 0 ? 'text' : 'openmetrics').then((body) => [i, samples(body)[PORT(80)]!]))
      if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    for (const [asked, shown] of await Promise.all(scrapes)) expect(shown).toBeGreaterThanOrEqual(asked)
  })

  test('shows one moment of a family while flows are counted and pods go during the scrape', async () => {
    const { exporter, text } = make({ metrics: 'port-distribution:sourceContext=pod', maxSeries: 30_000 })
    const store = new TestFlowStore(20_000)
    const pods = Array.from({ length: 200 }, (_, i) => store.addEndpoint({ namespace: 'a', podName: `p${i}` }))
    for (let i = 0; i < 20_000; i++) store.push({ source: pods[i % 200]!, dstPort: Math.floor(i / 200) })
    exporter.accept(store, 0, 20_000)
    const family = exporter.metrics.families[0]!
    for (let round = 1; round <= 4; round++) {
      const scrape = text(round % 2 === 0 ? 'text' : 'openmetrics')
      let done = false
      void scrape.then(() => {
        done = true
      })
      // Every series is counted again, a few at a time, while the scrape gives way.
      let at = 0
      while (!done && at < 20_000) {
        exporter.accept(store, at, at + 2000)
        at += 2000
        await new Promise((resolve) => setImmediate(resolve))
      }
      if (at < 20_000) exporter.accept(store, at, 20_000)
      const lines = Object.entries(samples(await scrape)).filter(([key]) => key.startsWith(family.name))
      expect(lines).toHaveLength(20_000)
      // One moment: the blocks counted by then are counted whole, in order.
      const values = lines.map(([, value]) => value)
      const total = values.reduce((a, b) => a + b)
      expect((total - round * 20_000) % 2000).toBe(0)
      expect(total).toBeGreaterThanOrEqual(round * 20_000)
    }
  })

  test('shows what components tell, and drops what would spoil the scrape', async () => {
    const stage = new StageLedger('history')
    stage.accepted = 5
    stage.delivered = 3
    stage.lose('full', 1)
    const source: TelemetrySource = {
      collect(sink) {
        sink.counter('sluice_a_total', 'A\nhelp \\ text', 3, { x: 'a"b' })
        sink.counter('sluice_a_total', 'A', 4, { x: 'c' })
        sink.counter('sluice_a_total', 'A', 9, { x: 'c' })
        sink.gauge('sluice_a_total', 'other type', 1)
        sink.gauge('process_cpu_seconds_total', 'clashes with the registry', 1)
        sink.gauge('hubble_flows_processed_total', 'clashes with a handler', 1)
        sink.gauge('bad-name', '', 1)
        sink.gauge('sluice_b', '', 1, { 'bad-label': '' })
        sink.gauge('sluice_c', 'C', Number.POSITIVE_INFINITY)
      },
    }
    const { text } = make({}, { telemetry: [source], ledgers: [stage] })
    const body = await text()
    expect(body).toContain('# HELP sluice_a_total A\\nhelp \\\\ text\n# TYPE sluice_a_total counter\n')
    const series = samples(body)
    expect(series).toMatchObject({
      'sluice_a_total{x="a\\"b"}': 3,
      'sluice_a_total{x="c"}': 4,
      'sluice_lost_total{stage="history",reason="full"}': 1,
      'sluice_ledger_difference{stage="history"}': 1,
    })
    expect(body).toContain('sluice_c +Inf\n')
    expect(body).not.toContain('bad-')
    expect(samples(await text())['sluice_metrics_samples_rejected']).toBe(6)
  })

  test('a component that fails to tell of itself does not take the others with it', async () => {
    const broken: TelemetrySource = {
      collect() {
        throw new Error('broken')
      },
    }
    const refreshing = [{ ...broken, refresh: () => Promise.reject(new Error('unreadable')) }]
    const fine: TelemetrySource = { collect: (sink) => sink.gauge('sluice_fine', '', 1) }
    const { text } = make({}, { telemetry: [broken, fine], refreshing })
    expect(samples(await text())['sluice_fine']).toBe(1)
    expect(samples(await text())['sluice_metrics_source_failures_total']).toBeGreaterThanOrEqual(3)
  })

  test('every family name is there once, with one TYPE, and the registry takes part in both formats', async () => {
    const { exporter, text } = make()
    const registers = [exporter.registry as Registry]
    new Counter({ name: 'extra_total', help: 'x', registers }).inc(2)
    new Histogram({ name: 'extra_seconds', help: 'x', buckets: [1, 2.5], registers }).observe(1)
    // Again and again, for prom-client's own text changes names when it has been asked for OpenMetrics.
    for (const format of ['text', 'openmetrics', 'text', 'openmetrics', 'text'] as const) {
      const body = await text(format)
      const types = body.split('\n').filter((line) => line.startsWith('# TYPE '))
      expect(new Set(types.map((line) => line.split(' ')[2])).size).toBe(types.length)
      expect(body).toContain(format === 'text' ? '# TYPE extra_total counter\n' : '# TYPE extra counter\n')
      const series = samples(body)
      expect(series).toMatchObject({ extra_total: 2, 'extra_seconds_bucket{le="2.5"}': 1, extra_seconds_count: 1 })
      expect(series[`extra_seconds_bucket{le="${format === 'text' ? '1' : '1.0'}"}`]).toBe(1)
      expect(series['process_cpu_seconds_total']).toBeGreaterThan(0)
      expect(body.endsWith('# EOF\n')).toBe(format === 'openmetrics')
      expect(body.split('# EOF').length).toBe(format === 'openmetrics' ? 2 : 1)
    }
  })

  test('shows the registry as prom-client does', async () => {
    const registry = new Registry<typeof Registry.PROMETHEUS_CONTENT_TYPE>()
    const registers = [registry as Registry]
    new Counter({ name: 'a_total', help: 'A\nx', labelNames: ['l'], registers }).inc({ l: 'q"\\' }, 3)
    new Histogram({ name: 'b', help: 'B', labelNames: ['l'], buckets: [0.5, 1], registers }).observe({ l: 'x' }, 0.7)
    new Gauge({ name: 'c', help: 'C', registers }).set(-1.5)
    new Summary({ name: 'd', help: 'D', percentiles: [0.5, 0.99], registers }).observe(3)
    registry.setDefaultLabels({ node: 'n' })
    const lines = (text: string) => text.split('\n').filter((line) => line !== '')
    const labelsSorted = (line: string) => line.replace(/\{(.*)\}/, (_, all: string) => `{${all.split(',').sort()}}`)
    const ours = lines(await registryText(registry as never, 'text')).map(labelsSorted)
    expect(ours).toEqual(lines(await registry.metrics()).map(labelsSorted))
  })

  test('renders as prom-client does', async () => {
    const { exporter, text } = make({ metrics: 'flow:sourceContext=dns' })
    const store = new TestFlowStore()
    const names = ['plain', 'q"uote', 'back\\slash', 'new\nline', 'ünïcode☃', '']
    for (const [i, name] of names.entries()) {
      for (let j = 0; j < 10 ** (i % 3); j++) store.push({ sourceNames: [name] })
    }
    exporter.accept(store, 0, store.end)
    const registry = new Registry()
    const oracle = new Counter({
      name: 'hubble_flows_processed_total',
      help: 'Total number of flows processed',
      labelNames: ['protocol', 'type', 'subtype', 'verdict', 'source'],
      registers: [registry],
    })
    const labels = { protocol: 'TCP', type: 'Trace', subtype: 'to-stack', verdict: 'FORWARDED' }
    for (const [i, source] of names.entries()) oracle.inc({ ...labels, source }, 10 ** (i % 3))
    const body = await text()
    const ours = body.slice(0, body.indexOf('# HELP hubble_lost'))
    expect(ours.trim()).toBe((await registry.metrics()).trim())
  })

  test('serves what it renders', async () => {
    const { exporter } = make()
    await exporter.start(new AbortController().signal)
    const response = await fetch(exporter.url!)
    const series = samples(await response.text())
    expect(series).toHaveProperty('process_resident_memory_bytes')
    const again = samples(await (await fetch(exporter.url!)).text())
    expect(again['hubble_metrics_http_handler_requests_total{code="200"}']).toBeGreaterThanOrEqual(1)
    expect(again).toHaveProperty('hubble_metrics_http_handler_request_duration_seconds_count{code="200"}')
  })

  test.each([
    [{ address: 'nonsense' }, /Cannot serve metrics on "nonsense": want host:port/],
    [{ metrics: 'flow:sourceContext=x' }, /Metric "flow" option sourceContext/],
    [{ metrics: [{ name: 'flow' }, { name: 'flow' }] }, /metrics\[1\]\.name "flow" is there twice/],
  ])('refuses %j', (config, message) => {
    expect(() => make(config)).toThrow(message)
  })
})
