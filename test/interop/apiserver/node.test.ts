import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Lab } from '../../../lab/index.ts'
import { TestAgent } from '../../helpers/agent.ts'
import { eventually } from '../../helpers/eventually.ts'
import { readFlowLog } from '../../helpers/flow-log.ts'
import { describeKernel } from '../../helpers/privileged.ts'
import { trafficLab } from '../../helpers/traffic-lab.ts'
import { Cluster } from './cluster.ts'
import { buildPrograms, missing } from './programs.ts'

const path = (relative: string) => fileURLToPath(new URL(`../../../${relative}`, import.meta.url))
const CHART = path('deploy/helm/sluice')
const ANNOUNCED = path('examples/filters/announcement.yaml')
/** What a change may take until it is seen. */
const APPLIED_MS = 2000
const FLOWS = 'hubble_flows_processed_total'

/** A log of what pods with a label send, in the cluster's own language. */
const LOG_OF_CHOSEN = {
  apiVersion: 'acn.azure.com/v1alpha1',
  kind: 'ContainerNetworkLog',
  metadata: { name: 'chosen' },
  spec: { includefilters: [{ from: { labelSelector: { matchLabels: { chosen: 'yes' } } } }] },
}

describe.skipIf(missing)(`a node${missing ? ` (skipped: ${missing})` : ''}`, () => {
  describeKernel('whose agent has names and filters of a real API server', () => {
    let cluster: Cluster
    let lab: Lab
    let agent: TestAgent

    beforeAll(async () => {
      buildPrograms()
      cluster = await Cluster.start()
      await cluster.helmOk(['install', 'sluice', CHART, '--namespace', 'sluice', '--create-namespace'])
      lab = await trafficLab()
      await describePods(cluster, lab)
      const token = await cluster.accountToken('sluice', 'sluice')
      agent = await TestAgent.start({
        name: 'apiserver',
        settings: {
          'node.netns': lab.node().netnsPath,
          'kubernetes.kubeconfig': await cluster.kubeconfig('sluice', token),
          'kubernetes.namespace': 'sluice',
          'kernel.aggregationInterval': '500ms',
        },
      })
    })
    afterAll(async () => {
      await agent?.[Symbol.asyncDispose]()
      await lab?.down()
      await cluster?.[Symbol.asyncDispose]()
    })

    /** Labels of the series of flows. */
    const series = async () =>
      Object.keys(await agent.metrics())
        .filter((name) => name.startsWith(`${FLOWS}{`))
        .map((name) =>
          Object.fromEntries([...name.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, key, value]) => [key!, value!])),
        )
    const sources = async () => new Set((await series()).map(({ source }) => source))
    const apply = (document: object) =>
      cluster.kubectlOk(['apply', '--server-side', '-f', '-'], JSON.stringify(document))
    const loggedPods = (from: number) =>
      new Set(
        readFlowLog(agent.logPath)
          .flows.slice(from)
          .map((flow) => flow.source?.pod_name ?? ''),
      )
    const logged = () => readFlowLog(agent.logPath).flows.length

    test('names the pods that call, counts all and logs nothing', async () => {
      await eventually('all callers are named', async () => {
        const found = await sources()
        return ['traffic/http-0', 'traffic/fortio-0', 'other/client-0'].every((pod) => found.has(pod))
      })
      expect(logged()).toBe(0)
      // The server answers 429 while it makes room for a kind that was defined just now.
      await eventually('nothing is wrong', async () => (await agent.parts())['filters']?.message === '')
    })

    test('counts what the announced example asks for within two seconds, and says CONFIGURED', async () => {
      await cluster.kubectlOk(['apply', '-f', ANNOUNCED])
      await eventually(
        'only drops are counted',
        async () => {
          const found = await series()
          // A drop inside of the server's pod is its ingress, where the source has no label.
          return found.length > 0 && found.every(({ verdict }) => verdict === 'DROPPED')
        },
        APPLIED_MS,
      )
      await cluster.kubectlOk([
        'wait',
        'cnm/container-network-metric',
        '--for=jsonpath={.status.state}=CONFIGURED',
        '--timeout=20s',
      ])
      const shown = await cluster.ok('GET', '/api/v1/namespaces/sluice/configmaps/sluice-dynamic-metrics-config')
      expect(shown.data['dynamic-metrics.yaml']).toMatch(/name: flow\n.*source_pod:\n +- traffic\/http\n/s)
      await cluster.kubectlOk(['delete', 'cnm', '--all'])
      await eventually('all are counted again', async () => (await sources()).has('other/client-0'), APPLIED_MS)
    })

    test('logs what labels choose, and follows a change of labels within two seconds', async () => {
      await apply(LOG_OF_CHOSEN)
      await cluster.kubectlOk(['wait', 'cnl/chosen', '--for=condition=Applied', '--timeout=20s'])
      expect(logged()).toBe(0)
      await cluster.kubectlOk(['label', 'pod', 'client-0', '-n', 'other', 'chosen=yes'])
      await eventually('the pod is logged', () => loggedPods(0).has('client-0'), APPLIED_MS)
      await cluster.kubectlOk(['label', 'pod', 'client-0', '-n', 'other', 'chosen-'])
      await cluster.kubectlOk(['label', 'pod', 'fortio-0', '-n', 'traffic', 'chosen=yes'])
      await eventually('the other is logged', () => loggedPods(0).has('fortio-0'), APPLIED_MS)
      // What was on its way has arrived.
      await new Promise((resolve) => setTimeout(resolve, 1000))
      const from = logged()
      await eventually('more is logged', () => logged() > from + 5)
      expect([...loggedPods(from)]).toEqual(['fortio-0'])
    })

    test('goes on with names and filters while the API server is away', async () => {
      await cluster.stopApiServer('SIGKILL')
      const from = logged()
      await eventually('flows are logged', () => logged() > from + 10)
      expect([...loggedPods(from)]).toEqual(['fortio-0'])
      await cluster.startApiServer()
      await cluster.kubectlOk(['delete', 'cnl', 'chosen'])
      await eventually('the log has ended', async () => {
        const before = logged()
        await new Promise((resolve) => setTimeout(resolve, 700))
        return logged() === before
      })
    })
  })
})

/** Makes the API server know the lab's pods, running and with their addresses. */
async function describePods(cluster: Cluster, lab: Lab): Promise<void> {
  for (const name of new Set(lab.pods.map(({ namespace }) => namespace))) {
    await cluster.ok('POST', '/api/v1/namespaces', { body: { metadata: { name } } })
  }
  for (const { namespace, name, nodeName, ips } of lab.pods) {
    const pods = `/api/v1/namespaces/${namespace}/pods`
    const spec = { nodeName, containers: [{ name: 'main', image: 'none' }] }
    await cluster.ok('POST', pods, { body: { metadata: { name, labels: { app: name } }, spec } })
    const status = { phase: 'Running', podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) }
    const contentType = 'application/merge-patch+json'
    await cluster.ok('PATCH', `${pods}/${name}/status`, { body: { status }, contentType })
  }
}
