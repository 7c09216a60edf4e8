import { afterAll, beforeAll, expect, test } from 'vitest'
import { ComponentState } from '../../api/gen/sluice/v1/agent.ts'
import { Lab } from '../../lab/index.ts'
import { TestAgent } from '../helpers/agent.ts'
import { namespace } from '../helpers/api-double-objects.ts'
import { eventually } from '../helpers/eventually.ts'
import { type LoggedFlow, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { LabCluster } from '../helpers/lab-cluster.ts'
import { describeKernel } from '../helpers/privileged.ts'

const PORT = 8080
const SERVICE_IP = '10.96.0.10'
/** Within this time flows carry what the API server says. */
const NAMED_MS = 1000

/** shop/client-0 calls shop/web-0 by the address of its service, shop/other-0 by its own; ten times a second each. */
function laboratory(): Promise<Lab> {
  const deployment = (name: string) => ({ labels: { app: name }, workload: { kind: 'Deployment', name } })
  const calls = (to: string) => [{ kind: 'tcp-connect' as const, to, port: PORT, everyMs: 100 }]
  return Lab.up({
    cluster: 'test',
    namespaces: { shop: { labels: { team: 'blue' } } },
    pods: [
      { namespace: 'shop', name: 'web-0', ...deployment('web'), run: [{ kind: 'http-server', port: PORT }] },
      { namespace: 'shop', name: 'client-0', ...deployment('client'), run: calls(SERVICE_IP) },
      { namespace: 'shop', name: 'other-0', run: calls('10.244.1.10') },
    ],
    services: [{ namespace: 'shop', name: 'web', pods: ['shop/web-0'], ip: SERVICE_IP, ports: [{ port: PORT }] }],
  })
}

/** A flow is named when its record is taken from the ring: after 10 ms, and later on a busy machine. */
const DRAIN_MS = 500

describeKernel('names from the Kubernetes API', () => {
  let lab: Lab
  let cluster: LabCluster
  let agent: TestAgent

  /** First packets of the calls of a lab's pod, as that pod's device saw them. */
  const calls = (ref: string): LoggedFlow[] => {
    const { ips } = lab.pod(ref)
    const isCall = (flow: LoggedFlow) => flow.IP?.source === ips[0] && portsOf(flow)[1] === PORT && !flow.is_reply
    return readFlowLog(agent.logPath).flows.filter(
      (flow) => isCall(flow) && flow.interface?.index === lab.pod(ref).ifindex,
    )
  }
  /** Waits for calls that began so long after the time that they must carry what was said then. */
  const callsAfter = async (ref: string, time: number): Promise<LoggedFlow[]> => {
    const later = () => calls(ref).filter((flow) => Date.parse(flow.time) > time + NAMED_MS)
    await eventually(`calls of ${ref} a second later`, () => later().length > 3)
    return later()
  }
  const labels = (flow: LoggedFlow | undefined) => flow?.source?.labels ?? []
  const part = async () => (await agent.parts())['metadata/kubernetes']!

  beforeAll(async () => {
    lab = await laboratory()
    cluster = await LabCluster.start(lab)
    agent = await TestAgent.start({
      name: 'knames',
      settings: {
        ...cluster.settings(),
        'log.enabled': true,
        'kernel.aggregationInterval': '500ms',
        'metrics.handlers':
          'flow:sourceContext=pod;destinationContext=pod,' + 'tcp:sourceContext=workload;destinationContext=workload',
      },
    })
  })

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await cluster?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  test('pods, workloads, labels of namespaces and services are in the log and in the metrics from the first flow on', async () => {
    await eventually('calls of both', () => calls('shop/client-0').length > 3 && calls('shop/other-0').length > 3)
    for (const flow of calls('shop/client-0')) {
      expect(flow.source).toMatchObject({
        namespace: 'shop',
        pod_name: 'client-0',
        workloads: [{ name: 'client', kind: 'Deployment' }],
        labels: expect.arrayContaining(['k8s:app=client', 'k8s:io.cilium.k8s.namespace.labels.team=blue']),
      })
      expect(flow).toMatchObject({ destination_service: { namespace: 'shop', name: 'web' } })
    }
    for (const flow of calls('shop/other-0')) {
      expect(flow.destination).toMatchObject({ pod_name: 'web-0', workloads: [{ name: 'web', kind: 'Deployment' }] })
      expect(flow.source?.workloads ?? []).toEqual([])
    }
    const series = Object.keys(await agent.metrics())
    const has = (...parts: string[]) => series.some((text) => parts.every((one) => text.includes(one)))
    expect(has('hubble_flows_processed_total{', 'source="shop/other-0"', 'destination="shop/web-0"')).toBe(true)
    expect(has('hubble_tcp_flags_total{', 'source="shop/client"')).toBe(true)
    expect(has('hubble_tcp_flags_total{', 'destination="shop/web"')).toBe(true)
    expect(await part()).toEqual({ state: ComponentState.COMPONENT_STATE_OK, message: '' })
  })

  test('labels of a pod and of its namespace that change are in the flows a second later, none before', async () => {
    const isOld = (flow: LoggedFlow) => Date.parse(flow.time) < Date.now() - DRAIN_MS
    await eventually('calls that were drained before', () => calls('shop/client-0').some(isOld))
    const before = Date.now()
    cluster.putPod('shop/client-0', { labels: { app: 'client', track: 'canary' } })
    cluster.api.apply('namespaces', namespace('shop', { team: 'green' }))
    const after = await callsAfter('shop/client-0', Date.now())
    for (const flow of after) {
      expect(labels(flow)).toEqual(
        expect.arrayContaining(['k8s:track=canary', 'k8s:io.cilium.k8s.namespace.labels.team=green']),
      )
    }
    const early = calls('shop/client-0').filter((flow) => Date.parse(flow.time) < before - DRAIN_MS)
    expect(early.length).toBeGreaterThan(0)
    for (const flow of early) expect(labels(flow)).not.toContain('k8s:track=canary')
  })

  test('a pod that comes at the address of one that went gives its name to what follows, and to nothing before', async () => {
    cluster.api.remove('pods', 'shop', 'client-0')
    // Its last records come after it is gone: as long as nobody else has the address they are its own.
    for (const flow of await callsAfter('shop/client-0', Date.now())) expect(flow.source?.pod_name).toBe('client-0')
    const before = Date.now()
    cluster.putPod('shop/client-0', { name: 'client-1', labels: { app: 'heir' } })
    const named = Date.now()
    for (const flow of await callsAfter('shop/client-0', named)) {
      expect(flow.source).toMatchObject({ pod_name: 'client-1', labels: expect.arrayContaining(['k8s:app=heir']) })
    }
    const heirs = calls('shop/client-0').filter((flow) => flow.source?.pod_name === 'client-1')
    for (const flow of heirs) expect(Date.parse(flow.time)).toBeGreaterThanOrEqual(before - DRAIN_MS)
  })

  test('while the API server is down flows keep the names that are known, and what changed is caught up after it', async () => {
    await cluster.api.suspend()
    await eventually('it is told', async () => (await part()).state === ComponentState.COMPONENT_STATE_DEGRADED)
    expect((await part()).message).toMatch(/ECONNREFUSED|reset|closed|Cannot/)
    expect(await agent.ready()).toMatchObject({ ok: true })
    const down = Date.now()
    cluster.putPod('shop/client-0', { name: 'client-1', labels: { app: 'meanwhile' } })
    cluster.api.remove('pods', 'shop', 'other-0')
    cluster.putPod('shop/other-0', { name: 'other-1', labels: { app: 'new' } })
    for (const ref of ['shop/client-0', 'shop/other-0']) {
      const names = (await callsAfter(ref, down)).map(({ source }) => source?.pod_name)
      expect([...new Set(names)]).toEqual([ref === 'shop/client-0' ? 'client-1' : 'other-0'])
    }
    await cluster.api.resume()
    await eventually('it is over', async () => (await part()).state === ComponentState.COMPONENT_STATE_OK, 30_000)
    await eventually('what changed meanwhile is in the flows', () => {
      const [client, other] = [calls('shop/client-0').at(-1), calls('shop/other-0').at(-1)]
      return labels(client).includes('k8s:app=meanwhile') && other?.source?.pod_name === 'other-1'
    })
    // And what changes now is followed as ever.
    cluster.putPod('shop/client-0', { name: 'client-1', labels: { app: 'again' } })
    for (const flow of await callsAfter('shop/client-0', Date.now())) expect(labels(flow)).toContain('k8s:app=again')
    expect(await agent.ledger()).toMatchObject({ closes: true })
    expect(agent.noise).toBe('')
  })
})
