import { describe, expect, test } from 'vitest'
import type { FlowSpec } from '../../../test/helpers/flow-store.ts'
import { CountedFlows } from '../../../test/helpers/metric-lines.ts'

const NAME = 'hubble_port_distribution_total'

/** Labels of the one series that the flow makes, without the handler's own. */
async function labelsOf(options: string, flow: FlowSpec): Promise<string> {
  const series = await new CountedFlows(`port-distribution:${options}`).push(flow).series()
  const [only, ...rest] = Object.keys(series)
  expect(rest).toEqual([])
  return only!.slice(NAME.length + 1, -1).replace('protocol="TCP",port="80",', '')
}

const WEB = {
  namespace: 'shop',
  podName: 'web-7d4b9c-x1',
  labels: ['k8s:app=web', 'k8s:k8s-app=other', 'k8s:team='],
  workloads: [{ name: 'web', kind: 'Deployment' }],
}
const DB = { namespace: 'data', podName: 'db-0', labels: ['k8s:app.kubernetes.io/name=db'] }
const WORLD = { labels: ['cidr:192.0.2.0/24', 'reserved:world'] }
const SERVER = { labels: ['reserved:host', 'reserved:kube-apiserver'] }

describe('ContextLabeler', () => {
  test.each<[string, FlowSpec, string]>([
    ['sourceContext=identity', { source: WEB }, 'source="k8s:app=web,k8s:k8s-app=other,k8s:team="'],
    ['sourceContext=namespace', { source: WEB }, 'source="shop"'],
    ['sourceContext=pod', { source: WEB }, 'source="shop/web-7d4b9c-x1"'],
    ['sourceContext=pod', { source: { podName: 'static' } }, 'source="static"'],
    ['sourceContext=pod', { source: { namespace: 'shop' } }, 'source=""'],
    ['sourceContext=pod-name', { source: WEB }, 'source="web-7d4b9c-x1"'],
    ['sourceContext=dns', { sourceNames: ['a.org', 'b.org'] }, 'source="a.org,b.org"'],
    ['sourceContext=ip', { srcIp: '10.1.2.3' }, 'source="10.1.2.3"'],
    ['sourceContext=ip', { srcIp: 'fd00::7', dstIp: 'fd00::8' }, 'source="fd00::7"'],
    ['sourceContext=ip', { ipVersion: 0 }, 'source=""'],
    ['sourceContext=reserved-identity', { source: WORLD }, 'source="reserved:world"'],
    ['sourceContext=reserved-identity', { source: SERVER }, 'source="reserved:kube-apiserver"'],
    ['sourceContext=reserved-identity', { source: WEB }, 'source=""'],
    ['sourceContext=workload', { source: WEB }, 'source="shop/web"'],
    ['sourceContext=workload-name', { source: WEB }, 'source="web"'],
    ['sourceContext=app', { source: WEB }, 'source="other"'],
    ['sourceContext=app', { source: DB }, 'source="db"'],
    ['destinationContext=pod', { source: WEB, destination: DB }, 'destination="data/db-0"'],
    // The first that has a value.
    ['sourceContext=dns|pod|ip', { source: WEB }, 'source="shop/web-7d4b9c-x1"'],
    ['sourceContext=pod|dns|ip', { sourceNames: ['a.org'] }, 'source="a.org"'],
    ['sourceContext=pod|dns|ip', { srcIp: '10.1.2.3' }, 'source="10.1.2.3"'],
    ['sourceContext=workload|reserved-identity', { source: WORLD }, 'source="reserved:world"'],
    ['sourceContext=pod|dns', {}, 'source=""'],
    // Lists for one direction stand in for the plain one in that direction alone.
    ['sourceContext=ip;sourceEgressContext=pod', { source: WEB, direction: 'egress' }, 'source="shop/web-7d4b9c-x1"'],
    ['sourceContext=ip;sourceEgressContext=pod', { source: WEB, direction: 'ingress' }, 'source="10.0.0.1"'],
    ['sourceContext=ip;sourceEgressContext=pod', { source: WEB, direction: 'unknown' }, 'source="10.0.0.1"'],
    // A label is there when any of its three options is.
    [
      'sourceEgressContext=pod;destinationIngressContext=pod',
      { source: WEB, destination: DB, direction: 'egress' },
      'source="shop/web-7d4b9c-x1",destination=""',
    ],
    [
      'sourceEgressContext=pod;destinationIngressContext=pod',
      { source: WEB, destination: DB, direction: 'ingress' },
      'source="",destination="data/db-0"',
    ],
    ['labelsContext=traffic_direction', { direction: 'unknown' }, 'traffic_direction="unknown"'],
    [
      'labelsContext=source_ip,source_pod,source_namespace,source_workload,source_workload_kind,source_app,traffic_direction',
      { source: WEB, direction: 'ingress' },
      'source_ip="10.0.0.1",source_pod="web-7d4b9c-x1",source_namespace="shop",source_workload="web",' +
        'source_workload_kind="Deployment",source_app="other",traffic_direction="ingress"',
    ],
    [
      'destinationContext=pod;labelsContext=destination_app,destination_workload_kind,destination_ip',
      { destination: DB },
      'destination_ip="10.0.0.2",destination_workload_kind="",destination_app="db",destination="data/db-0"',
    ],
  ])('%s', async (options, flow, wanted) => {
    expect(await labelsOf(options, flow)).toBe(wanted)
  })

  test('escapes what a label value may not hold', async () => {
    expect(await labelsOf('sourceContext=dns', { sourceNames: ['a"b\\c\nd'] })).toBe('source="a\\"b\\\\c\\nd"')
  })

  test('puts two versions of a pod in one series', async () => {
    const counted = new CountedFlows('port-distribution:sourceContext=pod')
    const one = counted.store.addEndpoint(WEB)
    const two = counted.store.addEndpoint({ ...WEB, labels: ['k8s:app=web', 'k8s:version=2'] })
    expect(one.ref).not.toBe(two.ref)
    const series = await counted.push({ source: one }, { source: two }, { source: one }).series()
    expect(Object.values(series)).toEqual([3])
  })

  test('tells endpoints apart that meet in one place of the cache', async () => {
    const counted = new CountedFlows('port-distribution:sourceContext=pod')
    // Caches have 32,768 places: these two share one.
    for (const [ref, podName] of [
      [5, 'a'],
      [5 + 32_768, 'b'],
    ] as const) {
      counted.store.endpoints[ref] = { ...counted.store.endpoints[0]!, ref, podName }
    }
    const a = counted.store.endpoints[5]!
    const b = counted.store.endpoints[5 + 32_768]!
    const series = await counted.push({ source: a }, { source: b }, { source: a }).series()
    expect(series).toEqual({
      [`${NAME}{protocol="TCP",port="80",source="a"}`]: 2,
      [`${NAME}{protocol="TCP",port="80",source="b"}`]: 1,
    })
  })

  test('takes source and destination of the same flow from their own ends', async () => {
    const counted = new CountedFlows('port-distribution:sourceContext=ip;destinationContext=ip')
    const series = await counted
      .push({ srcIp: '10.0.0.1', dstIp: '10.0.0.2' }, { srcIp: '10.0.0.2', dstIp: '10.0.0.1' })
      .series()
    expect(series).toEqual({
      [`${NAME}{protocol="TCP",port="80",source="10.0.0.1",destination="10.0.0.2"}`]: 1,
      [`${NAME}{protocol="TCP",port="80",source="10.0.0.2",destination="10.0.0.1"}`]: 1,
    })
  })
})
