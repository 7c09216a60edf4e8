import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KubernetesMetadata } from '../../../collector/metadata/kubernetes.ts'
import { ApiClient, clusterAccess } from '../../../kubernetes/index.ts'
import { eventually } from '../../helpers/eventually.ts'
import { Cluster } from './cluster.ts'
import { Gate } from './gate.ts'
import { NamesOfPods } from './names-of-pods.ts'
import {
  createPod,
  createPods,
  deletePod,
  inParallel,
  NODES,
  type PodPlan,
  plan,
  podPath,
  populate,
  runPod,
} from './population.ts'
import { buildPrograms, missing } from './programs.ts'

const PODS = 2000

describe.skipIf(missing)(`KubernetesMetadata at a real API server${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const pods = plan(PODS)
  let cluster: Cluster
  let gate: Gate
  let client: ApiClient
  let metadata: KubernetesMetadata
  const stop = new AbortController()
  const names = new NamesOfPods()

  beforeAll(async () => {
    buildPrograms()
    cluster = await Cluster.start()
    await populate(cluster)
    await createPods(cluster, pods)
    gate = await Gate.open(Number(new URL(cluster.url).port))
    const kubeconfig = await cluster.kubeconfig('agent', cluster.adminToken, gate.port)
    client = new ApiClient(await clusterAccess({ kubeconfig }), { idleMs: 5000 })
    metadata = new KubernetesMetadata({ client, backoff: { minMs: 20, maxMs: 200 } })
  })
  afterAll(async () => {
    await metadata?.[Symbol.asyncDispose]()
    client?.[Symbol.dispose]()
    await gate?.[Symbol.asyncDispose]()
    await cluster?.[Symbol.asyncDispose]()
  })

  const stateOf = (resource: string) => metadata.states().find((state) => state.resource === resource)!
  const named = ({ namespace, name }: PodPlan) => names.pods.get(`${namespace}/${name}`)
  const label = (pod: PodPlan, labels: Record<string, string>) =>
    cluster.ok('PATCH', podPath(pod), { body: { metadata: { labels } }, contentType: 'application/merge-patch+json' })

  test(`names ${PODS} pods in pages, each once`, async () => {
    await metadata.start(names, stop.signal)
    expect(metadata.details()).toMatchObject({ synced: true, pods: PODS, nodes: NODES, refused: 0 })
    expect(names.pods.size).toBe(PODS)
    expect(names.upserts).toBe(PODS)
    expect([...names.pods.values()].every(({ ips }) => ips.length === 1)).toBe(true)
  })

  test('knows of a pod what the cluster knows', () => {
    const pod = pods[41]!
    expect(named(pod)).toEqual({
      namespace: pod.namespace,
      name: pod.name,
      uid: expect.stringMatching(/^[0-9a-f-]{36}$/),
      ips: [pod.ip],
      labels: { app: pod.app, 'pod-template-hash': '5d8f7c9b6d' },
      namespaceLabels: { team: `team-${pod.namespace}`, 'kubernetes.io/metadata.name': pod.namespace },
      serviceAccount: 'web',
      workload: { name: pod.app, kind: 'Deployment' },
      nodeName: pod.node,
      hostNetwork: false,
    })
    expect(names.nodes.get('node-1')).toMatchObject({
      ips: expect.arrayContaining(['192.168.0.2']),
      labels: { zone: 'z1' },
    })
    // The API server's own.
    expect(names.services.get('default/kubernetes')).toMatchObject({
      ips: ['10.96.0.1'],
      ports: [{ port: 443, protocol: 'TCP' }],
    })
  })

  test('follows pods that come, get an address, change, end and go', async () => {
    const [late, changed, over, gone] = [plan(1, PODS)[0]!, pods[1]!, pods[2]!, pods[3]!]
    await createPod(cluster, late)
    await label(changed, { app: 'renamed' })
    await runPod(cluster, over, 'Succeeded')
    await deletePod(cluster, gone)
    await eventually('what ended and went is forgotten', () => !named(over) && !named(gone))
    await eventually('the change is known', () => named(changed)?.labels['app'] === 'renamed')
    expect(named(late)).toBeUndefined()
    await runPod(cluster, late)
    await eventually('the address is known', () => named(late)?.ips[0] === late.ip)
    expect(stateOf('pods').lists).toBe(1)
  })

  test('goes on from where it was when the connection was cut', async () => {
    const { watches } = stateOf('pods')
    gate.shut()
    await eventually('the watch is broken', () => !stateOf('pods').watching)
    const came = plan(1, PODS + 1)
    await createPods(cluster, came)
    await label(pods[4]!, { app: 'while-away' })
    await deletePod(cluster, pods[5]!)
    expect(names.pods.size).toBe(PODS - 1)
    gate.reopen()
    await eventually('what came is known', () => named(came[0]!))
    await eventually('what went is forgotten', () => !named(pods[5]!))
    expect(named(pods[4]!)?.labels['app']).toBe('while-away')
    // Without a new list.
    expect(stateOf('pods').lists).toBe(1)
    expect(stateOf('pods').watches).toBeGreaterThan(watches)
  })

  test('outlives a restart of the API server, during which nothing is forgotten', async () => {
    const { deletes } = names
    await cluster.stopApiServer('SIGKILL')
    await eventually('the watch is broken', () => !stateOf('pods').watching)
    expect(names.pods.size).toBe(PODS - 1)
    await cluster.startApiServer()
    await label(pods[6]!, { app: 'after-restart' })
    await eventually('changes are followed', () => named(pods[6]!)?.labels['app'] === 'after-restart')
    expect([names.pods.size, names.deletes]).toEqual([PODS - 1, deletes])
  })

  test('lists again when the API server has forgotten the revision, and finds what changed', async () => {
    const { lists, failures } = stateOf('pods')
    const gone = failures.get('gone') ?? 0
    const before = names.upserts
    gate.shut()
    await eventually('the watch is broken', () => !stateOf('pods').watching)
    await inParallel(pods.slice(100, 150), (pod) => deletePod(cluster, pod))
    await label(pods[7]!, { app: 'after-compaction' })
    await createPods(cluster, plan(1, PODS + 2))
    await cluster.etcd.compact()
    // Its cache of the last changes goes too.
    await cluster.stopApiServer('SIGKILL')
    await cluster.startApiServer()
    gate.reopen()
    await eventually('the change is known', () => named(pods[7]!)?.labels['app'] === 'after-compaction')
    await eventually('what went is forgotten', () => names.pods.size === PODS - 50)
    expect(stateOf('pods').failures.get('gone')).toBeGreaterThan(gone)
    expect(stateOf('pods').lists).toBe(lists + 1)
    // Pods that are as they were are not told again.
    expect(names.upserts - before).toBe(2)
  })
})
