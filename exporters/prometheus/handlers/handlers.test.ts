import { describe, expect, test } from 'vitest'
import type { L7Record } from '../../../model/l7.ts'
import { EventType, ObservationPoint, Verdict } from '../../../model/layouts.gen.ts'
import type { FlowSpec } from '../../../test/helpers/flow-store.ts'
import { CountedFlows } from '../../../test/helpers/metric-lines.ts'
import { HANDLERS } from './index.ts'

const FIN = 1
const SYN = 2
const RST = 4
const ACK = 16

async function count(metrics: string, ...flows: FlowSpec[]): Promise<Record<string, number>> {
  return await new CountedFlows(metrics).push(...flows).series()
}

function dns(fields: Partial<NonNullable<L7Record['dns']>> = {}, type = 1): L7Record {
  return {
    type,
    latencyNs: 0,
    traceId: '',
    dns: {
      query: 'example.org.',
      ips: [],
      ttl: 0,
      cnames: [],
      observationSource: 'kernel',
      rcode: 0,
      qtypes: ['A'],
      rrtypes: [],
      ...fields,
    },
  }
}

function http(type: number, fields: { code?: number; latencyNs?: number; traceId?: string; method?: string } = {}) {
  const { code = 0, latencyNs = 0, traceId = '', method = 'GET' } = fields
  return { type, latencyNs, traceId, http: { code, method, url: '/', protocol: 'HTTP/1.1', headers: [] } }
}

const UDP = { protocol: 17, l4Info: 0 }
const icmp = (type: number, code = 0) => ({ protocol: 1, l4Info: (type << 8) | code, srcPort: 0, dstPort: 0 })
const icmp6 = (type: number, code = 0) => ({
  ...icmp(type, code),
  protocol: 58,
  srcIp: 'fd00::1',
  dstIp: 'fd00::2',
})
const WORLD = { identity: 2, labels: ['reserved:world'] }

interface Case {
  readonly what: string
  readonly metrics: string
  readonly flows: FlowSpec[]
  readonly series: Record<string, number>
}

const flow = (labels: string) => `hubble_flows_processed_total{${labels}}`

const CASES: Case[] = [
  {
    what: 'flow: traces by protocol, observation point and verdict',
    metrics: 'flow',
    flows: [{}, {}, { point: ObservationPoint.TO_ENDPOINT }, UDP, { verdict: Verdict.REDIRECTED }],
    series: {
      [flow('protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED"')]: 2,
      [flow('protocol="TCP",type="Trace",subtype="to-endpoint",verdict="FORWARDED"')]: 1,
      [flow('protocol="UDP",type="Trace",subtype="to-stack",verdict="FORWARDED"')]: 1,
      [flow('protocol="TCP",type="Trace",subtype="to-stack",verdict="REDIRECTED"')]: 1,
    },
  },
  {
    what: 'flow: one per event whatever its packets',
    metrics: 'flow',
    flows: [{ packets: 1000, replyPackets: 500 }],
    series: { [flow('protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED"')]: 1 },
  },
  {
    what: 'flow: drops and L7 events',
    metrics: 'flow',
    flows: [
      { verdict: Verdict.DROPPED, dropReason: 3 },
      { l7: dns() },
      { l7: http(1) },
      { l7: dns(), verdict: Verdict.DROPPED },
      { protocol: 47 },
      { protocol: 112 },
      { protocol: 2 },
    ],
    series: {
      [flow('protocol="TCP",type="Drop",subtype="",verdict="DROPPED"')]: 1,
      [flow('protocol="DNS",type="L7",subtype="DNS",verdict="FORWARDED"')]: 1,
      [flow('protocol="HTTP",type="L7",subtype="HTTP",verdict="FORWARDED"')]: 1,
      [flow('protocol="DNS",type="L7",subtype="DNS",verdict="DROPPED"')]: 1,
      [flow('protocol="Unknown L4",type="Trace",subtype="to-stack",verdict="FORWARDED"')]: 1,
      [flow('protocol="VRRP",type="Trace",subtype="to-stack",verdict="FORWARDED"')]: 1,
      [flow('protocol="IGMP",type="Trace",subtype="to-stack",verdict="FORWARDED"')]: 1,
    },
  },
  {
    what: 'drop: only dropped flows, by reason',
    metrics: 'drop',
    flows: [{}, { verdict: Verdict.DROPPED, hubbleReason: 133 }, { ...UDP, verdict: Verdict.DROPPED, dropReason: 3 }],
    series: {
      'hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"}': 1,
      'hubble_drop_total{reason="DROP_REASON_UNKNOWN",protocol="UDP"}': 1,
    },
  },
  {
    what: 'drop: context before own labels',
    metrics: 'drop:sourceContext=pod',
    flows: [
      { verdict: Verdict.DROPPED, hubbleReason: 206, source: { namespace: 'shop', podName: 'web' } },
      { verdict: Verdict.DROPPED, hubbleReason: 181, l7: dns() },
    ],
    series: {
      'hubble_drop_total{source="shop/web",reason="206",protocol="TCP"}': 1,
      'hubble_drop_total{source="",reason="POLICY_DENY",protocol="DNS"}': 1,
    },
  },
  {
    what: 'tcp: each flag that stands for something, of forwarded packets',
    metrics: 'tcp',
    flows: [
      { l4Info: SYN },
      { l4Info: SYN | ACK },
      { l4Info: FIN | ACK },
      { l4Info: FIN | RST },
      { l4Info: ACK },
      { l4Info: SYN, verdict: Verdict.DROPPED },
      { l4Info: SYN, verdict: Verdict.REDIRECTED },
      { l4Info: SYN, srcIp: 'fd00::1', dstIp: 'fd00::2' },
      { ...UDP, l4Info: SYN },
    ],
    series: {
      'hubble_tcp_flags_total{flag="SYN",family="IPv4"}': 2,
      'hubble_tcp_flags_total{flag="SYN-ACK",family="IPv4"}': 1,
      'hubble_tcp_flags_total{flag="FIN",family="IPv4"}': 2,
      'hubble_tcp_flags_total{flag="RST",family="IPv4"}': 1,
      'hubble_tcp_flags_total{flag="SYN",family="IPv6"}': 1,
    },
  },
  {
    what: 'tcp: not again for the L7 record of a packet',
    metrics: 'tcp',
    flows: [{ l4Info: FIN | ACK, l7: http(1) }],
    series: {},
  },
  {
    what: 'dns: queries, responses and their record types',
    metrics: 'dns:query',
    flows: [
      { ...UDP, l7: dns() },
      {
        ...UDP,
        isReply: true,
        l7: dns({ ips: ['192.0.2.1', '192.0.2.2'], rrtypes: ['CNAME', 'A', 'A'] }, 2),
      },
      { ...UDP, isReply: true, l7: dns({ rcode: 3 }, 2) },
      { ...UDP, isReply: true, l7: dns({ rcode: 12 }, 2) },
    ],
    series: {
      'hubble_dns_queries_total{rcode="",qtypes="A",ips_returned="0",query="example.org."}': 1,
      'hubble_dns_responses_total{rcode="No Error",qtypes="A",ips_returned="2",query="example.org."}': 1,
      'hubble_dns_responses_total{rcode="Non-Existent Domain",qtypes="A",ips_returned="0",query="example.org."}': 1,
      'hubble_dns_responses_total{rcode="",qtypes="A",ips_returned="0",query="example.org."}': 1,
      'hubble_dns_response_types_total{type="CNAME",qtypes="A",query="example.org."}': 1,
      'hubble_dns_response_types_total{type="A",qtypes="A",query="example.org."}': 2,
    },
  },
  {
    what: 'dns: a dropped message is a query that policy denied',
    metrics: 'dns',
    flows: [{ verdict: Verdict.DROPPED, isReply: true, l7: dns({ rrtypes: ['A'] }, 2) }],
    series: { 'hubble_dns_queries_total{rcode="Policy denied",qtypes="A",ips_returned="0"}': 1 },
  },
  {
    what: 'dns: where the direction is unknown the message says what it is',
    metrics: 'dns',
    flows: [
      { isReply: undefined, l7: dns({ qtypes: ['A', 'AAAA'] }, 1) },
      { isReply: undefined, l7: dns({}, 2) },
    ],
    series: {
      'hubble_dns_queries_total{rcode="",qtypes="A,AAAA",ips_returned="0"}': 1,
      'hubble_dns_responses_total{rcode="No Error",qtypes="A",ips_returned="0"}': 1,
    },
  },
  {
    what: 'dns: ignoreAAAA leaves out events that ask for AAAA alone',
    metrics: 'dns:ignoreAAAA',
    flows: [{ l7: dns({ qtypes: ['AAAA'] }) }, { l7: dns({ qtypes: ['A', 'AAAA'] }) }],
    series: { 'hubble_dns_queries_total{rcode="",qtypes="A,AAAA",ips_returned="0"}': 1 },
  },
  {
    what: 'icmp: types and codes, and IPv6 as what it is',
    metrics: 'icmp',
    flows: [
      icmp(8),
      { ...icmp(0), isReply: true },
      { ...icmp(0), isReply: undefined },
      icmp(3, 3),
      icmp(11, 0),
      icmp(3, 99),
      icmp(8, 1),
      icmp(250, 1),
      icmp6(128),
      icmp6(1, 4),
      icmp6(135),
      icmp6(143),
      { ...icmp(8), verdict: Verdict.DROPPED },
      {},
    ],
    series: {
      'hubble_icmp_total{family="IPv4",type="EchoRequest"}': 2,
      'hubble_icmp_total{family="IPv4",type="EchoReply"}': 2,
      'hubble_icmp_total{family="IPv4",type="DestinationUnreachable(Port)"}': 1,
      'hubble_icmp_total{family="IPv4",type="TimeExceeded(TTLExceeded)"}': 1,
      'hubble_icmp_total{family="IPv4",type="DestinationUnreachable(Code: 99)"}': 1,
      'hubble_icmp_total{family="IPv4",type="EchoRequest(Code: 1)"}': 1,
      'hubble_icmp_total{family="IPv4",type="250(1)"}': 1,
      'hubble_icmp_total{family="IPv6",type="EchoRequest"}': 1,
      'hubble_icmp_total{family="IPv6",type="DestinationUnreachable(PortUnreachable)"}': 1,
      'hubble_icmp_total{family="IPv6",type="NeighborSolicitation"}': 1,
      'hubble_icmp_total{family="IPv6",type="143(0)"}': 1,
    },
  },
  {
    what: 'port-distribution: forwarded, no replies; 0 without ports; ICMPv6 once',
    metrics: 'port-distribution',
    flows: [
      { dstPort: 443 },
      { dstPort: 443 },
      { ...UDP, dstPort: 53 },
      { dstPort: 40000, isReply: true },
      { dstPort: 443, isReply: undefined },
      { dstPort: 22, verdict: Verdict.DROPPED },
      icmp6(128),
      icmp(8),
      { protocol: 132, l4Info: 1, dstPort: 2905 },
      { protocol: 47 },
    ],
    series: {
      'hubble_port_distribution_total{protocol="TCP",port="443"}': 3,
      'hubble_port_distribution_total{protocol="UDP",port="53"}': 1,
      'hubble_port_distribution_total{protocol="ICMPv6",port="0"}': 1,
      'hubble_port_distribution_total{protocol="ICMPv4",port="0"}': 1,
      'hubble_port_distribution_total{protocol="SCTP",port="2905"}': 1,
    },
  },
  {
    what: 'sctp: the chunk types that Hubble names',
    metrics: 'sctp',
    flows: [1, 2, 6, 7, 8, 14, 0, 3].map((chunk) => ({ protocol: 132, l4Info: chunk })),
    series: Object.fromEntries(
      ['INIT', 'INIT_ACK', 'ABORT', 'SHUTDOWN', 'SHUTDOWN_ACK', 'SHUTDOWN_COMPLETE'].map((chunk) => [
        `hubble_sctp_chunk_types_total{chunk_type="${chunk}",family="IPv4"}`,
        1,
      ]),
    ),
  },
  {
    what: 'policy: every L7 event, no traces',
    metrics: 'policy',
    flows: [
      {},
      { l7: dns() },
      { l7: http(1), direction: 'ingress' },
      { l7: http(1), direction: 'unknown', verdict: Verdict.DROPPED },
    ],
    series: {
      'hubble_policy_verdicts_total{direction="egress",match="l7/dns",action="forwarded"}': 1,
      'hubble_policy_verdicts_total{direction="ingress",match="l7/http",action="forwarded"}': 1,
      'hubble_policy_verdicts_total{direction="traffic_direction_unknown",match="l7/http",action="dropped"}': 1,
    },
  },
  {
    what: 'flows-to-world: what leaves the cluster, no replies, drops by policy',
    metrics: 'flows-to-world',
    flows: [
      { destination: WORLD },
      { destination: { labels: ['reserved:world-ipv6'] } },
      { destination: { labels: ['k8s:app=web'] } },
      {},
      { destination: WORLD, isReply: true },
      { destination: WORLD, verdict: Verdict.DROPPED, hubbleReason: 133, isReply: true },
      { destination: WORLD, verdict: Verdict.DROPPED, dropReason: 3 },
      { destination: WORLD, ...UDP },
      { destination: WORLD, protocol: 47 },
    ],
    series: {
      'hubble_flows_to_world_total{protocol="TCP",verdict="FORWARDED"}': 2,
      'hubble_flows_to_world_total{protocol="TCP",verdict="DROPPED"}': 1,
      'hubble_flows_to_world_total{protocol="UDP",verdict="FORWARDED"}': 1,
    },
  },
  {
    what: 'flows-to-world: any-drop, port and syn-only',
    metrics: 'flows-to-world:any-drop;port;syn-only',
    flows: [
      { destination: WORLD, dstPort: 443 },
      { destination: WORLD, dstPort: 443, l4Info: ACK },
      { destination: WORLD, ...UDP },
      { destination: WORLD, dstPort: 80, verdict: Verdict.DROPPED, dropReason: 3 },
      { destination: WORLD, dstPort: 80, verdict: Verdict.DROPPED, dropReason: 3, isReply: true },
    ],
    series: {
      'hubble_flows_to_world_total{protocol="TCP",verdict="FORWARDED",port="443"}': 1,
      'hubble_flows_to_world_total{protocol="TCP",verdict="DROPPED",port="80"}': 1,
    },
  },
  {
    what: 'flows-to-world: port is empty where there is none',
    metrics: 'flows-to-world:port=false',
    flows: [{ destination: WORLD, ...icmp(8) }],
    series: { 'hubble_flows_to_world_total{protocol="ICMPv4",verdict="FORWARDED",port=""}': 1 },
  },
  {
    what: 'http: requests and responses where each is seen',
    metrics: 'http',
    flows: [{ l7: http(1) }, { l7: http(1, { method: 'POST' }), direction: 'ingress' }, { l7: http(2, { code: 404 }) }],
    series: {
      'hubble_http_requests_total{method="GET",protocol="HTTP/1.1",reporter="client"}': 1,
      'hubble_http_requests_total{method="POST",protocol="HTTP/1.1",reporter="server"}': 1,
      'hubble_http_responses_total{method="GET",protocol="HTTP/1.1",status="404",reporter="client"}': 1,
    },
  },
  {
    what: 'httpV2: responses as requests, ends swapped, requests not counted',
    metrics: 'httpV2:sourceContext=pod-name;destinationContext=pod-name;responses',
    flows: [
      { l7: http(1) },
      {
        l7: http(2, { code: 200 }),
        direction: 'unknown',
        source: { podName: 'server' },
        destination: { podName: 'client' },
      },
    ],
    series: {
      'hubble_http_requests_total{source="client",destination="server",method="GET",protocol="HTTP/1.1",status="200",reporter="unknown"}': 1,
      'hubble_http_responses_total{source="client",destination="server",method="GET",protocol="HTTP/1.1",status="200",reporter="unknown"}': 1,
    },
  },
]

describe('handlers count flows into series', () => {
  test.each(CASES)('$what', async ({ metrics, flows, series }) => {
    expect(await count(metrics, ...flows)).toEqual(series)
  })

  test('every handler has a case', () => {
    const tested = new Set(CASES.map((row) => row.metrics.split(':')[0]))
    expect(HANDLERS.map((handler) => handler.name).filter((name) => !tested.has(name))).toEqual([])
  })

  test('none fails on a record of zeros or an L7 record whose message is forgotten', async () => {
    const names = HANDLERS.map((handler) => handler.name).filter((name) => name !== 'http')
    const zeros: FlowSpec = { verdict: 0, point: 0, protocol: 0, ipVersion: 0, l4Info: 0, isReply: undefined, type: 0 }
    const series = await count(names.join(' '), zeros, { type: EventType.HTTP }, { type: EventType.DNS })
    expect(series[flow('protocol="Unknown L4",type="Trace",subtype="unknown",verdict="VERDICT_UNKNOWN"')]).toBe(1)
  })
})

describe('hubble_http_request_duration_seconds', () => {
  test('has the default buckets, cumulative, and no observation where the request was not seen', async () => {
    const series = await count(
      'http',
      { l7: http(2, { latencyNs: 3e6 }) },
      { l7: http(2, { latencyNs: 5e6 }) },
      { l7: http(2, { latencyNs: 70e6 }) },
      { l7: http(2, { latencyNs: 20e9 }) },
      { l7: http(2, { latencyNs: 0 }) },
    )
    const labels = 'method="GET",reporter="client"'
    const bucket = (le: string) => series[`hubble_http_request_duration_seconds_bucket{${labels},le="${le}"}`]
    const bounds = ['0.005', '0.01', '0.025', '0.05', '0.1', '0.25', '0.5', '1', '2.5', '5', '10', '+Inf']
    expect(bounds.map(bucket)).toEqual([2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4])
    expect(series[`hubble_http_request_duration_seconds_sum{${labels}}`]).toBeCloseTo(20.078, 9)
    expect(series[`hubble_http_request_duration_seconds_count{${labels}}`]).toBe(4)
  })

  test('carries exemplars in OpenMetrics only, on counter and bucket, when switched on', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
    const spec = { l7: http(2, { code: 200, latencyNs: 30e6, traceId }), time: 1_790_000_000_250_000_000n }
    const counted = new CountedFlows('httpV2:exemplars=true').push(spec)
    expect(await counted.text('text')).not.toContain(traceId)
    const lines = (await counted.text('openmetrics')).split('\n').filter((line) => line.includes(' # '))
    const exemplar = (value: string) => ` # {traceID="${traceId}"} ${value} 1790000000.250`
    expect(lines).toEqual([
      `hubble_http_requests_total{method="GET",protocol="HTTP/1.1",status="200",reporter="client"} 1${exemplar('1')}`,
      `hubble_http_request_duration_seconds_bucket{method="GET",reporter="client",le="0.05"} 1${exemplar('0.03')}`,
    ])
    for (const off of ['httpV2', 'httpV2:exemplars', 'httpV2:exemplars=false']) {
      expect(await new CountedFlows(off).push(spec).text('openmetrics')).not.toContain(traceId)
    }
  })

  test('shows the latest exemplar, and none that belonged to a removed series', async () => {
    const counted = new CountedFlows('http:exemplars=true')
    counted.push({ l7: http(2, { latencyNs: 1e6, traceId: 'a'.repeat(32) }) })
    await counted.text('openmetrics')
    counted.push({ l7: http(2, { latencyNs: 2e6, traceId: 'b'.repeat(32) }) })
    const second = await counted.text('openmetrics')
    expect(second).toContain('b'.repeat(32))
    expect(second).not.toContain('a'.repeat(32))
    for (const family of counted.metrics.families) family.clear()
    counted.push({ l7: http(2, { latencyNs: 2e6 }) })
    expect(await counted.text('openmetrics')).not.toContain('traceID')
  })
})
