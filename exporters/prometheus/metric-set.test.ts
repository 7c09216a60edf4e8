import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Verdict } from '../../model/layouts.gen.ts'
import { CountedFlows } from '../../test/helpers/metric-lines.ts'

const PORTS = 'port-distribution'
const NAME = 'hubble_port_distribution_total'

describe('MetricSet', () => {
  test('agrees with counting label texts in a Map, whatever the flows', async () => {
    const flow = fc.record({
      pod: fc.integer({ min: 0, max: 5 }),
      peer: fc.integer({ min: 0, max: 5 }),
      dstPort: fc.constantFrom(53, 80, 443),
      protocol: fc.constantFrom(6, 17),
      verdict: fc.constantFrom(Verdict.FORWARDED, Verdict.DROPPED, Verdict.REDIRECTED),
      direction: fc.constantFrom('ingress' as const, 'egress' as const, 'unknown' as const),
    })
    const names = ['', 'a', 'b', 'c', 'd', 'e']
    await fc.assert(
      fc.asyncProperty(fc.array(flow, { maxLength: 200 }), async (flows) => {
        const counted = new CountedFlows('flow:sourceContext=pod;destinationIngressContext=pod;labelsContext=source_ip')
        const pods = names.map((podName) => counted.store.addEndpoint({ podName }))
        const oracle: Record<string, number> = {}
        for (const { pod, peer, ...fields } of flows) {
          counted.push({ ...fields, srcIp: `10.0.0.${pod}`, source: pods[pod]!, destination: pods[peer]! })
          const drop = fields.verdict === Verdict.DROPPED
          const own = `protocol="${fields.protocol === 6 ? 'TCP' : 'UDP'}",type="${drop ? 'Drop' : 'Trace'}",subtype="${drop ? '' : 'to-stack'}"`
          const verdict = ['', 'FORWARDED', 'DROPPED', '', '', 'REDIRECTED'][fields.verdict]
          const destination = fields.direction === 'ingress' ? names[peer] : ''
          const key = `hubble_flows_processed_total{${own},verdict="${verdict}",source_ip="10.0.0.${pod}",source="${names[pod]}",destination="${destination}"}`
          oracle[key] = (oracle[key] ?? 0) + 1
          if (flows.length % 7 === 0) await counted.text()
        }
        expect(await counted.series()).toEqual(oracle)
      }),
      { numRuns: 60 },
    )
  })

  test.each([
    ['flow kafka drop', /"kafka" is not known, want one of dns, drop, flow,/],
    ['flow:sourceContxt=pod', /"flow" has no option "sourcecontxt", want one of sourceContext,/],
    ['dns:query;port', /"dns" has no option "port", want one of query, ignoreAAAA, sourceContext/],
    ['http httpV2', /"http" and "httpV2" write the same families/],
    ['httpV2 http', /"httpV2" and "http" write the same families/],
    ['flow drop flow', /"flow" is enabled twice/],
    ['flow:sourceContext=nobody', /sourceContext has the unknown value "nobody"/],
  ])('refuses %s', (metrics, message) => {
    expect(() => new CountedFlows(metrics)).toThrow(message)
  })

  test('counts what any include wants and no exclude refuses, also after a change', async () => {
    const to = (port: number) => (view: { dstPort: number }) => view.dstPort === port
    const filters = new Map([[PORTS, { include: [to(80), to(443)], exclude: [to(443)] }]])
    const counted = new CountedFlows(PORTS, { filters })
    counted.push({ dstPort: 80 }, { dstPort: 443 }, { dstPort: 22 })
    expect(counted.metrics.setFilter(PORTS, { exclude: [to(80)] })).toBe(true)
    expect(counted.metrics.setFilter('drop', {})).toBe(false)
    counted.push({ dstPort: 80 }, { dstPort: 443 })
    expect(await counted.series()).toEqual({
      [`${NAME}{protocol="TCP",port="80"}`]: 1,
      [`${NAME}{protocol="TCP",port="443"}`]: 1,
    })
  })

  test('keeps closed labels in overflow, so that their sums stay exact', async () => {
    const counted = new CountedFlows('flow:sourceContext=ip', { maxSeries: 3 })
    for (let i = 0; i < 10; i++) counted.push({ srcIp: `10.0.0.${i}`, protocol: i % 2 === 0 ? 6 : 17, l4Info: 0 })
    const series = await counted.series()
    const trace = 'type="Trace",subtype="to-stack",verdict="FORWARDED"'
    expect(series[`hubble_flows_processed_total{protocol="TCP",${trace},source="overflow"}`]).toBe(3)
    expect(series[`hubble_flows_processed_total{protocol="UDP",${trace},source="overflow"}`]).toBe(4)
    expect(Object.values(series).reduce((a, b) => a + b)).toBe(10)
    expect(Object.keys(series)).toHaveLength(5)
    expect(counted.metrics.families[0]!.overflowed).toBe(7)
  })

  test('puts open numbers and values in overflow', async () => {
    const counted = new CountedFlows(PORTS, { maxSeries: 2 })
    for (const dstPort of [1, 2, 3, 4, 2]) counted.push({ dstPort })
    expect(await counted.series()).toEqual({
      [`${NAME}{protocol="TCP",port="1"}`]: 1,
      [`${NAME}{protocol="TCP",port="2"}`]: 2,
      [`${NAME}{protocol="TCP",port="overflow"}`]: 2,
    })
  })

  test('bounds the series of overflow too', async () => {
    const counted = new CountedFlows('drop', { maxSeries: 0 })
    for (let reason = 130; reason < 210; reason++) counted.push({ verdict: Verdict.DROPPED, hubbleReason: reason })
    const series = await counted.series()
    expect(Object.keys(series)).toHaveLength(65)
    expect(series['hubble_drop_total{reason="overflow",protocol="overflow"}']).toBe(80 - 64)
  })

  test('no family takes more than its share, and a histogram counts with all its lines', async () => {
    const counted = new CountedFlows(`${PORTS} flow:sourceContext=ip`, { maxSeries: 10, maxSeriesPerFamily: 4 })
    for (let i = 0; i < 20; i++) counted.push({ dstPort: i, srcIp: `10.0.0.${i}` })
    expect(counted.metrics.families.map((family) => family.series)).toEqual([5, 5])
    expect(counted.metrics.budget.used).toBe(8)
    const histogram = new CountedFlows('http', { maxSeries: 20 })
    const http = { code: 200, url: '/', protocol: 'HTTP/1.1', headers: [] }
    for (const method of ['GET', 'PUT']) {
      histogram.push({ l7: { type: 2, latencyNs: 1, traceId: '', http: { ...http, method } } })
    }
    const series = await histogram.series()
    expect(series['hubble_http_request_duration_seconds_count{method="GET",reporter="client"}']).toBe(1)
    expect(series['hubble_http_request_duration_seconds_count{method="overflow",reporter="client"}']).toBe(1)
  })

  test('frees label values that no series uses when their table is full, and counts on rightly', async () => {
    const counted = new CountedFlows('flow:sourceContext=ip', { maxSeries: 2 })
    const { values } = counted.metrics
    const address = (i: number) => ({ srcIp: `10.0.${i >> 8}.${i & 255}` })
    for (let i = 0; i < 1100; i++) counted.push(address(i))
    expect(values.isFull).toBe(true)
    expect(values.refused).toBeGreaterThan(0)
    counted.metrics.maintain(1)
    expect(values.size).toBeLessThan(10)
    for (let i = 0; i < 1000; i++) counted.push(address(i + 3000))
    counted.push(address(0), address(1), address(2))
    const labels = 'protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED",source='
    expect(await counted.series()).toEqual({
      [`hubble_flows_processed_total{${labels}"10.0.0.0"}`]: 2,
      [`hubble_flows_processed_total{${labels}"10.0.0.1"}`]: 2,
      [`hubble_flows_processed_total{${labels}"overflow"}`]: 1098 + 1001,
    })
  })
})
