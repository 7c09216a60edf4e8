import { describe, expect, onTestFinished, test } from 'vitest'
import { silentLogger } from '../../base/logger.ts'
import { Verdict } from '../../model/layouts.gen.ts'
import { TestFlowStore } from '../../test/helpers/flow-store.ts'
import { CountedFlows } from '../../test/helpers/metric-lines.ts'
import { parseMetrics } from './context/options.ts'
import { countSeries } from './count-series.ts'
import { PrometheusExporter } from './index.ts'

const METRICS = 'flow:sourceContext=ip tcp drop port-distribution httpV2:sourceContext=pod'
const HTTP = { code: 200, method: 'GET', url: '/', protocol: 'HTTP/1.1', headers: [] }

function traffic(flows: number, capacity = flows): TestFlowStore {
  const store = new TestFlowStore(capacity)
  const source = store.addEndpoint({ namespace: 'shop', podName: 'wéb' })
  for (let i = 0; i < flows; i++) {
    const kind = i % 5
    store.push({
      source,
      srcIp: `10.0.${(i >> 8) & 3}.${i & 255}`,
      dstPort: i % 300,
      ...(kind === 1 ? { verdict: Verdict.DROPPED, hubbleReason: 133 } : {}),
      ...(kind === 2 ? { l7: { type: 2, latencyNs: 2e6 * i, traceId: '', http: HTTP } } : {}),
    })
  }
  return store
}

describe('countSeries()', () => {
  test('says what a scrape shows of the same flows, to the byte', async () => {
    const store = traffic(3000)
    const wants = (view: { dstPort: number }) => view.dstPort < 100
    const counted = new CountedFlows(METRICS, { store })
    const view = store.createView()
    for (let at = 500; at < 2500; at++) {
      store.seek(view, at)
      if (wants(view)) counted.metrics.count(view)
    }
    const count = await countSeries(store, 500, 2500, parseMetrics(METRICS), wants)
    const text = await counted.text()
    expect(count).toEqual({
      series: Object.keys(await counted.series()).length,
      bytes: Buffer.byteLength(text),
      overflowed: 0,
    })
    expect(count.series).toBeGreaterThan(500)
  })

  test('is bounded as the metrics in force are, and says so', async () => {
    const store = traffic(3000)
    const specs = parseMetrics('flow:sourceContext=ip')
    const count = await countSeries(store, 0, 3000, specs, () => true, { maxSeries: 100 })
    expect(count.series).toBeLessThan(200)
    expect(count.overflowed).toBeGreaterThan(1000)
  })

  test('leaves out what the history has overwritten, also while it counts', async () => {
    const store = traffic(2000, 1000)
    const seen: number[] = []
    const counting = countSeries(store, 0, 2000, parseMetrics('port-distribution'), ({ sequence }) => {
      seen.push(sequence)
      const until = performance.now() + 0.2
      while (performance.now() < until) {}
      return true
    })
    await new Promise((resolve) => setImmediate(resolve))
    const before = seen.length
    for (let i = 0; i < 900; i++) store.push({})
    await counting
    expect([before < 500, seen[0]]).toEqual([true, 1000])
    expect(seen[before]).toBeGreaterThanOrEqual(1900)
    expect(seen.at(-1)).toBe(1999)
  })

  test('stops when it is told to', async () => {
    const store = traffic(2000)
    const abort = new AbortController()
    let asked = 0
    const counting = countSeries(
      store,
      0,
      2000,
      parseMetrics('tcp'),
      () => {
        asked++
        const until = performance.now() + 0.2
        while (performance.now() < until) {}
        return true
      },
      { signal: abort.signal },
    )
    abort.abort(new Error('enough'))
    await expect(counting).rejects.toThrow('enough')
    expect(asked).toBeLessThan(500)
  })

  test('by the exporter: one metric as it is configured; none that is not enabled', async () => {
    const exporter = new PrometheusExporter({ metrics: METRICS }, { logger: silentLogger })
    onTestFinished(() => exporter[Symbol.asyncDispose]())
    const store = traffic(1000)
    const range = { store, first: 0, end: 1000 }
    const wants = () => true
    const tcp = await exporter.countSeries('metric/tcp', range, wants)
    expect(tcp).toEqual(await countSeries(store, 0, 1000, parseMetrics('tcp'), wants))
    expect(await exporter.countSeries('metric/dns', range, wants)).toEqual({ series: 0, bytes: 0, overflowed: 0 })
    expect(exporter.metrics.budget.used).toBe(0)
  })
})
