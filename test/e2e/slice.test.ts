import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Flow } from '../../api/gen/flow/flow.ts'
import { Lab } from '../../lab/index.ts'
import { runSluice, TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { extra, type LoggedFlow, packetsOf, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { Traffic } from '../helpers/traffic.ts'

const ECHO = 7000
const CLOSED = 7009

describeKernel('a packet from a pod to another one', () => {
  let lab: Lab
  let agent: TestAgent
  let flows: readonly LoggedFlow[]

  beforeAll(async () => {
    lab = await Lab.up({
      cluster: 'test',
      namespaces: { shop: { labels: { team: 'storefront' } } },
      pods: [
        {
          namespace: 'shop',
          name: 'web-0',
          labels: { app: 'web' },
          workload: { name: 'web', kind: 'StatefulSet' },
          run: [{ kind: 'udp-echo', port: ECHO }],
        },
        { namespace: 'shop', name: 'client-0', labels: { app: 'client' } },
      ],
    })
    agent = await TestAgent.start({
      name: 'slice',
      settings: {
        'node.netns': lab.node().netnsPath,
        'node.clusterName': 'test',
        'metadata.file': lab.metadataPath,
        'kernel.otherIdleTimeout': '1s',
      },
    })
    const [to] = lab.pod('shop/web-0').ips
    for (const port of [ECHO, CLOSED]) {
      const config = { to, port, perSecond: 100, bytes: 100, sockets: 1, count: 1 }
      expect(await (await Traffic.start(lab.pod('shop/client-0'), config)).ended()).toBe(1)
    }
    await eventually('both packets, the answer and the drop are in the log', () => {
      const ports = readFlowLog(agent.logPath)
        .flows.filter((flow) => flow.l4?.['UDP'])
        .map(portsOf)
      return (
        ports.filter((each) => each.includes(ECHO)).length >= 4 &&
        ports.filter((each) => each.includes(CLOSED)).length >= 3
      )
    })
    flows = readFlowLog(agent.logPath).flows
  })

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  const of = (port: number) => flows.filter((flow) => flow.IP?.ipVersion === 'IPv4' && portsOf(flow).includes(port))
  /** The end, direction and answer of each line. */
  const shape = (flow: LoggedFlow) =>
    [flow.source?.pod_name, flow.destination?.pod_name, flow.traffic_direction, flow.is_reply, flow.verdict].join(' ')

  test('is in the log once for each pod that sees it, and its answer too', () => {
    expect(of(ECHO).map(shape).sort()).toEqual([
      'client-0 web-0 EGRESS false FORWARDED',
      'client-0 web-0 INGRESS false FORWARDED',
      'web-0 client-0 EGRESS true FORWARDED',
      'web-0 client-0 INGRESS true FORWARDED',
    ])
    expect(packetsOf(of(ECHO))).toBe(4)
  })

  test('has the names, labels, device and summary of both ends', () => {
    const flow = of(ECHO).find((each) => each.traffic_direction === 'EGRESS' && !each.is_reply)!
    const [client, web] = [lab.pod('shop/client-0'), lab.pod('shop/web-0')]
    expect(flow).toMatchObject({
      IP: { source: client.ips[0], destination: web.ips[0], ipVersion: 'IPv4' },
      Type: 'L3_L4',
      Summary: 'UDP',
      node_name: 'test/node-1',
      source: { namespace: 'shop', pod_name: 'client-0', cluster_name: 'test' },
      destination: { namespace: 'shop', pod_name: 'web-0', workloads: [{ name: 'web', kind: 'StatefulSet' }] },
      interface: { index: client.ifindex, name: client.device },
    })
    expect(flow.destination?.labels).toEqual(
      expect.arrayContaining(['k8s:app=web', 'k8s:io.cilium.k8s.namespace.labels.team=storefront']),
    )
    expect([extra(flow, 'packets'), extra(flow, 'bytes')]).toEqual([1, 100 + 8 + 20 + 14])
  })

  test('is told as dropped, with the kernel’s reason and place, when nobody listens', () => {
    const drops = of(CLOSED).filter((flow) => flow.verdict === 'DROPPED')
    expect(drops.map(({ extensions }) => extensions?.value)).toEqual([
      expect.objectContaining({
        kernel_drop_reason: 'NO_SOCKET',
        drops: 1,
        drop_location: expect.stringMatching(/^\w+\+0x[0-9a-f]+$/),
      }),
    ])
    expect(drops[0]).toMatchObject({ source: { pod_name: 'client-0' }, destination: { pod_name: 'web-0' } })
  })

  test('is the same flow in GetFlows: uuid, time to the nanosecond, ends, direction, device, summary', async () => {
    using client = await agent.client()
    const answered = new Map<string, Flow>()
    for await (const { flow } of client.getFlows({ number: 1000n })) if (flow) answered.set(flow.uuid, flow)
    for (const logged of flows) {
      const flow = answered.get(logged.uuid)
      expect(flow, `uuid ${logged.uuid}`).toBeDefined()
      const { seconds, nanos } = flow!.time!
      const iso = new Date(Number(seconds) * 1000).toISOString().slice(0, 19)
      expect(`${iso}.${String(nanos).padStart(9, '0')}`.replace(/\.?0+$/, '')).toBe(
        logged.time.slice(0, -1).replace(/\.?0+$/, ''),
      )
      expect([flow!.source?.pod_name, flow!.destination?.pod_name, flow!.Summary, flow!.interface?.index]).toEqual([
        logged.source?.pod_name ?? '',
        logged.destination?.pod_name ?? '',
        logged.Summary ?? '',
        logged.interface?.index,
      ])
      expect(flow!.is_reply).toBe(logged.is_reply)
    }
  })

  test('is printed by `sluice observe -o json` as the log has it, but for what the log documents', async () => {
    const { code, stdout } = await runSluice(['observe', '--server', agent.grpc, '-o', 'jsonpb', '--last', '1000'])
    expect(code).toBe(0)
    const printed = new Map(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).flow as LoggedFlow)
        .map((flow) => [flow.uuid, flow]),
    )
    // docs/log-format.md: extensions have another form there, and pod_uid is left out for the sake of older readers.
    const common = (flow: LoggedFlow) =>
      JSON.parse(JSON.stringify(flow, (key, value) => (key === 'extensions' || key === 'pod_uid' ? undefined : value)))
    for (const flow of of(ECHO)) expect(common(printed.get(flow.uuid) as LoggedFlow)).toEqual(common(flow))
  })

  test('is counted in /metrics, and so is the drop', async () => {
    const metrics = Object.entries(await agent.metrics())
    const value = (family: string, ...labels: string[]) =>
      metrics
        .filter(([key]) => key.startsWith(`${family}{`) && labels.every((label) => key.includes(label)))
        .reduce((sum, [, n]) => sum + n, 0)
    expect(
      value('hubble_flows_processed_total', 'source="shop/client-0"', 'protocol="UDP"', 'verdict="FORWARDED"'),
    ).toBe(
      flows.filter(
        (flow) =>
          flow.l4?.['UDP'] !== undefined &&
          flow.verdict === 'FORWARDED' &&
          flow.source?.pod_name === 'client-0' &&
          flow.traffic_direction === 'EGRESS',
      ).length,
    )
    expect(value('hubble_drop_total', 'protocol="UDP"')).toBe(1)
    expect(value('sluice_kernel_ledger_total', 'counter="packets_dropped"')).toBe(1)
  })

  test('is in the sums of `sluice ledger`, which closes', async () => {
    const { code, stdout } = await runSluice(['ledger', '--server', agent.grpc, '-o', 'json'])
    expect(JSON.parse(stdout)).toMatchObject({ closes: true })
    expect(code).toBe(0)
  })
})
