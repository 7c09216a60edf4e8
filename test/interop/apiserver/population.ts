import type { Cluster } from './cluster.ts'

/** Requests under way at once. */
const CONCURRENCY = 16

export const NODES = 10
export const NAMESPACES = ['shop', 'data', 'ops']

/** A pod of a Deployment, as a scheduler and a kubelet would have left it. */
export interface PodPlan {
  readonly namespace: string
  readonly name: string
  readonly app: string
  readonly ip: string
  readonly node: string
}

/** @param from number of the first; numbers make names and addresses */
export function plan(count: number, from = 0): PodPlan[] {
  return Array.from({ length: count }, (_, i) => {
    const n = from + i
    const app = `app-${n % 20}`
    return {
      namespace: NAMESPACES[n % NAMESPACES.length]!,
      name: `${app}-5d8f7c9b6d-${n.toString(36).padStart(5, 'x')}`,
      app,
      ip: `10.${64 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`,
      node: `node-${n % NODES}`,
    }
  })
}

export const podPath = ({ namespace, name }: PodPlan): string => `/api/v1/namespaces/${namespace}/pods/${name}`
const MERGE = 'application/merge-patch+json'

/** Namespaces, nodes, and the ReplicaSets of plan()'s pods with their Deployments as owners. */
export async function populate(cluster: Cluster): Promise<void> {
  for (const name of NAMESPACES) {
    await cluster.ok('POST', '/api/v1/namespaces', { body: { metadata: { name, labels: { team: `team-${name}` } } } })
  }
  await inParallel(
    Array.from({ length: NODES }, (_, i) => i),
    async (i) => {
      const body = {
        metadata: { name: `node-${i}`, labels: { zone: `z${i % 3}` } },
        spec: { podCIDR: `10.64.${i}.0/24` },
      }
      await cluster.ok('POST', '/api/v1/nodes', { body })
      const status = { addresses: [{ type: 'InternalIP', address: `192.168.0.${i + 1}` }] }
      await cluster.ok('PATCH', `/api/v1/nodes/node-${i}/status`, { body: { status }, contentType: MERGE })
    },
  )
  const sets = NAMESPACES.flatMap((namespace) => Array.from({ length: 20 }, (_, i) => ({ namespace, app: `app-${i}` })))
  await inParallel(sets, async ({ namespace, app }) => {
    const body = replicaSet(app)
    await cluster.ok('POST', `/apis/apps/v1/namespaces/${namespace}/replicasets`, { body })
  })
}

function replicaSet(app: string): object {
  const labels = { app, 'pod-template-hash': '5d8f7c9b6d' }
  const owner = { apiVersion: 'apps/v1', kind: 'Deployment', name: app, uid: `uid-${app}`, controller: true }
  return {
    metadata: { name: `${app}-5d8f7c9b6d`, labels, ownerReferences: [owner] },
    spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: podSpec() } },
  }
}

function podSpec(nodeName?: string): object {
  return {
    serviceAccountName: 'web',
    containers: [{ name: 'main', image: 'none', ports: [{ containerPort: 8080 }] }],
    ...(nodeName === undefined ? {} : { nodeName }),
  }
}

/** Creates pods, gives them addresses and lets them run. */
export async function createPods(cluster: Cluster, pods: readonly PodPlan[]): Promise<void> {
  await inParallel(pods, async (pod) => {
    await createPod(cluster, pod)
    await runPod(cluster, pod)
  })
}

/** A pod without an address. */
export async function createPod(cluster: Cluster, pod: PodPlan): Promise<void> {
  const { namespace, name, app, node } = pod
  const set = `${app}-5d8f7c9b6d`
  const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: set, uid: `uid-${set}`, controller: true }
  const labels = { app, 'pod-template-hash': '5d8f7c9b6d' }
  const metadata = { name, generateName: `${set}-`, labels, ownerReferences: [owner] }
  const body = { metadata, spec: podSpec(node) }
  await cluster.ok('POST', `/api/v1/namespaces/${namespace}/pods`, { body })
}

/** What kubelet writes when a pod runs, or another phase. */
export async function runPod(cluster: Cluster, pod: PodPlan, phase = 'Running'): Promise<void> {
  const status = { phase, podIP: pod.ip, podIPs: [{ ip: pod.ip }] }
  await cluster.ok('PATCH', `${podPath(pod)}/status`, { body: { status }, contentType: MERGE })
}

/** At once, as there is no kubelet that would let it end. */
export async function deletePod(cluster: Cluster, pod: PodPlan): Promise<void> {
  await cluster.ok('DELETE', podPath(pod), { body: { kind: 'DeleteOptions', apiVersion: 'v1', gracePeriodSeconds: 0 } })
}

export async function inParallel<T>(values: readonly T[], run: (value: T) => Promise<void>): Promise<void> {
  const rest = values[Symbol.iterator]()
  const worker = async (): Promise<void> => {
    for (let next = rest.next(); next.done !== true; next = rest.next()) await run(next.value)
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, worker))
}
