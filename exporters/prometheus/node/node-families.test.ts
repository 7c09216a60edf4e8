import { describe, expect, test } from 'vitest'
import { silentLogger } from '../../../base/logger.ts'
import { samples } from '../../../test/helpers/metric-lines.ts'
import { SampleCollector } from '../sample-collector.ts'
import type { DropCount, NodeCounters, PodOfCounter } from './counters.ts'
import { NodeFamilies } from './node-families.ts'

const POD: PodOfCounter = {
  namespace: 'shop',
  podName: 'web-0',
  ip: '10.0.0.1',
  workloadKind: 'Deployment',
  workloadName: 'web',
}
const DROP: DropCount = { kernelReason: 'NO_SOCKET', reason: 178, direction: 1, packets: 2, bytes: 120, pod: POD }

const COUNTERS: NodeCounters = {
  podTotals: () => ({ ingressPackets: 10, ingressBytes: 1000, egressPackets: 2 ** 40, egressBytes: 2 ** 50 }),
  forEachPod: (visit) => {
    visit(POD, { ingressPackets: 4, ingressBytes: 400, egressPackets: 5, egressBytes: 500 })
    visit({ ...POD, podName: '' }, { ingressPackets: 1, ingressBytes: 1, egressPackets: 1, egressBytes: 1 })
  },
  forEachDrop: (visit) => {
    visit(DROP)
    visit({ ...DROP, pod: undefined, packets: 3, bytes: 180 })
    visit({ ...DROP, kernelReason: 'NETFILTER_DROP', reason: 133, direction: 2, packets: 7, bytes: 700 })
    visit({ ...DROP, kernelReason: 'TCP_CSUM', reason: 0, direction: 0, packets: 1, bytes: 1, pod: undefined })
  },
}

function collect(counters: NodeCounters, perPod = true): Record<string, number> {
  const families = new NodeFamilies({
    counters,
    logger: silentLogger,
    version: '0.1.0',
    perPod,
    procNet: '/nonexistent',
  })
  const collector = new SampleCollector()
  families.collect(collector)
  expect(collector.rejected).toBe(0)
  return samples([...collector.text('text')].join(''))
}

const only = (series: Record<string, number>, pattern: RegExp) =>
  Object.fromEntries(Object.entries(series).filter(([key]) => pattern.test(key)))

describe('NodeFamilies', () => {
  test('tells what was forwarded in the words of Retina and of Cilium', () => {
    expect(only(collect(COUNTERS), /^(networkobservability|cilium)_forward/)).toEqual({
      'networkobservability_forward_count{direction="ingress"}': 10,
      'networkobservability_forward_count{direction="egress"}': 2 ** 40,
      'networkobservability_forward_bytes{direction="ingress"}': 1000,
      'networkobservability_forward_bytes{direction="egress"}': 2 ** 50,
      'cilium_forward_count_total{direction="INGRESS"}': 10,
      'cilium_forward_count_total{direction="EGRESS"}': 2 ** 40,
      'cilium_forward_bytes_total{direction="INGRESS"}': 1000,
      'cilium_forward_bytes_total{direction="EGRESS"}': 2 ** 50,
    })
  })

  test('adds up drops by reason and direction, pods that went included', () => {
    const series = collect(COUNTERS)
    expect(only(series, /^networkobservability_drop_count/)).toEqual({
      'networkobservability_drop_count{reason="NO_SOCKET",direction="ingress"}': 5,
      'networkobservability_drop_count{reason="IPTABLE_RULE_DROP",direction="egress"}': 7,
      'networkobservability_drop_count{reason="TCP_CSUM",direction="unknown"}': 1,
    })
    expect(only(series, /^cilium_drop_bytes/)).toEqual({
      'cilium_drop_bytes_total{reason="Socket lookup failed",direction="INGRESS"}': 300,
      'cilium_drop_bytes_total{reason="Policy denied",direction="EGRESS"}': 700,
      'cilium_drop_bytes_total{reason="Unknown",direction="UNKNOWN"}': 1,
    })
  })

  test('gives each known pod its own', () => {
    const pod = 'ip="10.0.0.1",namespace="shop",podname="web-0",workload_kind="Deployment",workload_name="web"'
    expect(only(collect(COUNTERS), /_adv_/)).toEqual({
      [`networkobservability_adv_forward_count{direction="ingress",${pod}}`]: 4,
      [`networkobservability_adv_forward_count{direction="egress",${pod}}`]: 5,
      [`networkobservability_adv_forward_bytes{direction="ingress",${pod}}`]: 400,
      [`networkobservability_adv_forward_bytes{direction="egress",${pod}}`]: 500,
      [`networkobservability_adv_drop_count{reason="NO_SOCKET",direction="ingress",${pod}}`]: 2,
      [`networkobservability_adv_drop_bytes{reason="NO_SOCKET",direction="ingress",${pod}}`]: 120,
      [`networkobservability_adv_drop_count{reason="IPTABLE_RULE_DROP",direction="egress",${pod}}`]: 7,
      [`networkobservability_adv_drop_bytes{reason="IPTABLE_RULE_DROP",direction="egress",${pod}}`]: 700,
    })
    expect(only(collect(COUNTERS, false), /_adv_/)).toEqual({})
  })

  test('keeps the rest when one source cannot be read', () => {
    const series = collect({
      ...COUNTERS,
      podTotals: () => {
        throw new Error('EPERM')
      },
    })
    expect(only(series, /forward_count/)).not.toHaveProperty('networkobservability_forward_count{direction="ingress"}')
    expect(series['cilium_drop_count_total{reason="Policy denied",direction="EGRESS"}']).toBe(7)
    // Sockets that cannot be read are not told, rather than told as none.
    expect(only(series, /_(tcp|udp|ip|interface)_/)).toEqual({})
    expect(only(series, /^cilium_version/)).toEqual({
      [`cilium_version{version="0.1.0",revision="",arch="${process.arch}"}`]: 1,
    })
  })

  test('reads this node’s sockets', async () => {
    const families = new NodeFamilies({ counters: COUNTERS, logger: silentLogger, version: '1' })
    await families.refresh()
    const collector = new SampleCollector()
    families.collect(collector)
    const series = samples([...collector.text('text')].join(''))
    expect(series).toHaveProperty('networkobservability_tcp_state{state="LISTEN"}')
    expect(series).toHaveProperty('networkobservability_tcp_connection_stats{statistic_name="TCPTimeouts"}')
    expect(series).toHaveProperty('networkobservability_ip_connection_stats{statistic_name="InOctets"}')
    expect(series).toHaveProperty('networkobservability_udp_connection_stats{statistic_name="ACTIVE"}')
    expect(series).toHaveProperty('networkobservability_tcp_connection_remote{address="AllIPs"}')
    expect(
      series['networkobservability_interface_stats{interface_name="all_interfaces",statistic_name="rx_bytes"}'],
    ).toBeGreaterThanOrEqual(0)
  })
})
