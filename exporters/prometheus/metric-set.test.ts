import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { FlowJudge } from '../../filters/rules.ts'
import { Verdict } from '../../model/layouts.gen.ts'
import { CountedFlows } from '../../test/helpers/metric-lines.ts'
import { CONTEXT_IDENTIFIERS, metricSpecs, parseMetrics } from './context/options.ts'
import { HANDLERS } from './handlers/index.ts'

const PORTS = 'port-distribution'
const NAME = 'hubble_port_distribution_total'

const FLOW = 'protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED"'

function overflowSeries(series: Record<string, number>): number {
  return Object.keys(series).filter((key) => key.includes('="overflow"')).length
}

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

  test('asks the judge by the bit of each metric, and says whether any counted', async () => {
    const bit = HANDLERS.findIndex(({ name }) => name === PORTS)
    const asked = new Set<number>()
    const judge: FlowJudge = {
      wants: (one, view) => {
        asked.add(one)
        return view.dstPort !== 443
      },
      wouldTake: () => true,
    }
    const counted = new CountedFlows(PORTS, { judge })
    counted.push({ dstPort: 80 }, { dstPort: 443 }, { dstPort: 22 })
    expect([...asked]).toEqual([bit])
    expect(await counted.series()).toEqual({
      [`${NAME}{protocol="TCP",port="80"}`]: 1,
      [`${NAME}{protocol="TCP",port="22"}`]: 1,
    })
  })

  describe('reconfigure()', () => {
    const flow = (options: string) => `hubble_flows_processed_total{${FLOW}${options}}`

    test('leaves alone what stays the same, renews what has other options, and forgets what is gone', async () => {
      const counted = new CountedFlows(`flow:sourceContext=ip;labelsContext=source_ip ${PORTS} drop`)
      counted.push({ dstPort: 80 }, { dstPort: 80 }, { verdict: Verdict.DROPPED })
      const { used } = counted.metrics.budget
      const kept = counted.metrics.families[1]
      const changes = counted.metrics.reconfigure(
        parseMetrics(`tcp ${PORTS} flow:labelsContext=source_ip;sourceContext=pod-name`),
      )
      expect(changes).toEqual({ added: ['tcp'], removed: ['drop'], replaced: ['flow'] })
      expect(counted.metrics.names).toEqual(['tcp', PORTS, 'flow'])
      expect(counted.metrics.families[1]).toBe(kept)
      expect(counted.metrics.budget.used).toBe(used - 3)
      expect(await counted.series()).toEqual({ [`${NAME}{protocol="TCP",port="80"}`]: 2 })
      counted.push({ dstPort: 80 })
      expect(await counted.series()).toEqual({
        'hubble_tcp_flags_total{flag="SYN",family="IPv4"}': 1,
        [`${NAME}{protocol="TCP",port="80"}`]: 3,
        [flow(',source_ip="10.0.0.1",source=""')]: 1,
      })
    })

    test('takes the same options in another order, and written by another hand, for the same', () => {
      const counted = new CountedFlows('flow:sourceContext=ip|dns;labelsContext=source_ip drop')
      const families = counted.metrics.families
      const configs = metricSpecs([
        { name: 'drop' },
        {
          name: 'flow',
          contextOptions: [
            { name: 'labelscontext', values: ['source_ip'] },
            { name: 'SourceContext', values: ['ip', 'dns'] },
          ],
        },
      ])
      expect(counted.metrics.reconfigure(configs)).toEqual({ added: [], removed: [], replaced: [] })
      expect(counted.metrics.families).toEqual([families[1], families[0]])
      expect(counted.metrics.reconfigure(parseMetrics('flow:sourceContext=dns|ip drop')).replaced).toEqual(['flow'])
    })

    test.each([
      ['flow nonsense', /"nonsense" is not known/],
      ['flow:sourceContext=nobody', /unknown value "nobody"/],
      ['http httpV2', /write the same families/],
    ])('keeps the metrics in force when it is given %s', async (metrics, message) => {
      const counted = new CountedFlows(PORTS)
      counted.push({ dstPort: 80 })
      expect(() => counted.metrics.reconfigure(parseMetrics(metrics))).toThrow(message)
      counted.push({ dstPort: 80 })
      expect(await counted.series()).toEqual({ [`${NAME}{protocol="TCP",port="80"}`]: 2 })
    })

    test('lets one handler take the place of another that writes the same families', async () => {
      const counted = new CountedFlows('http')
      expect(counted.metrics.reconfigure(parseMetrics('httpV2'))).toEqual({
        added: ['httpV2'],
        removed: ['http'],
        replaced: [],
      })
    })

    test('any number of times, with any options, in the same memory', async () => {
      const counted = new CountedFlows('flow', { maxSeries: 100 })
      for (let i = 0; i < 300; i++) {
        const context = CONTEXT_IDENTIFIERS[i % CONTEXT_IDENTIFIERS.length]
        counted.metrics.reconfigure(parseMetrics(`flow:sourceContext=${context}|ip ${PORTS}`))
        counted.push({ dstPort: i }, { srcIp: `10.0.1.${i % 200}` })
      }
      expect(counted.metrics.budget.used).toBeLessThanOrEqual(100)
      const held = counted.metrics.families.reduce((sum, family) => sum + family.series, 0)
      expect(counted.metrics.budget.used).toBe(held - overflowSeries(await counted.series()))
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
