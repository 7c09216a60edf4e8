/**
 * The API double as a process of its own, so that a measurement sees its client alone:
 *
 *     node --import tsx test/helpers/api-double-process.ts '{"pods": 10000, "changesPerSecond": 500}'
 *
 * Prints its URL as the first line. Namespaces, nodes, 400 applications with their services and pods are there from the
 * start; changes begin with a line `start` on standard input and stop with `stop`; `relist` makes every watch begin anew
 * with a list. Each tenth change deletes a pod and creates another one, and the slice of its service follows both; of
 * the others every second one changes a label and every second one the status alone.
 */
import { createInterface } from 'node:readline'
import { ApiDouble } from './api-double.ts'
import { endpointSlice, namespace, node, owner, pod, service } from './api-double-objects.ts'

export interface DoubleProcessSpec {
  readonly pods: number
  readonly changesPerSecond: number
  readonly namespaces?: number
  readonly nodes?: number
}

const TICK_MS = 20
const APPS = 400

function podOf(number: number, generation: number) {
  const app = number % APPS
  const kind = `app-${app}-6d5f9c7b8`
  return pod({
    namespace: `team-${app % 40}`,
    name: `${kind}-${number.toString(36).padStart(5, '0')}`,
    uid: `00000000-0000-4000-8000-${String(number).padStart(8, '0')}${String(generation % 10_000).padStart(4, '0')}`,
    ip: ipOf(number),
    labels: {
      app: `app-${app}`,
      'app.kubernetes.io/name': `app-${app}`,
      'app.kubernetes.io/instance': `app-${app}-production`,
      'app.kubernetes.io/version': `v1.24.${generation % 100}`,
      'pod-template-hash': '6d5f9c7b8',
      team: `team-${app % 40}`,
      tier: app % 2 === 0 ? 'frontend' : 'backend',
    },
    nodeName: `node-${number % 200}`,
    generateName: `${kind}-`,
    owner: { kind: 'ReplicaSet', name: kind },
    serviceAccount: `app-${app}`,
    isFull: true,
  })
}

/** The slice of an application's service: all of its pods. @param without a pod that is not there just now */
function sliceOf(app: number, podCount: number, without = -1) {
  const numbers: number[] = []
  for (let i = app; i < podCount; i += APPS) if (i !== without) numbers.push(i)
  const pods = numbers.map((number) => podOf(number, 0).metadata.name!)
  return endpointSlice({
    namespace: `team-${app % 40}`,
    name: `app-${app}-x2k8p`,
    service: `app-${app}`,
    addresses: numbers.map(ipOf),
    pods,
    ports: [{ port: 8080 }],
  })
}

function ipOf(number: number): string {
  return `10.${128 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`
}

async function main(spec: DoubleProcessSpec): Promise<void> {
  const api = await ApiDouble.start()
  for (let i = 0; i < (spec.namespaces ?? 40); i++) api.apply('namespaces', namespace(`team-${i}`))
  for (let i = 0; i < (spec.nodes ?? 200); i++) api.apply('nodes', node(`node-${i}`, `192.168.${i >> 8}.${i & 255}`))
  for (let app = 0; app < APPS; app++) {
    const deployment = { kind: 'Deployment', name: `app-${app}` }
    api.apply('replicasets', owner(`team-${app % 40}`, `app-${app}-6d5f9c7b8`, deployment))
    const place = { namespace: `team-${app % 40}`, name: `app-${app}` }
    const ip = `10.96.${app >> 8}.${app & 255}`
    api.apply('services', service({ ...place, ip, ports: [{ port: 80 }], selector: { app: place.name } }))
    api.apply('endpointslices', sliceOf(app, spec.pods))
  }
  for (let i = 0; i < spec.pods; i++) api.apply('pods', podOf(i, 0))
  console.log(api.url)
  let done = 0
  let timer: NodeJS.Timeout | undefined
  const change = (): void => {
    const number = (done * 7919) % spec.pods
    const next = podOf(number, done)
    const { namespace: ns, name } = next.metadata
    const isReplaced = done % 10 === 0
    if (isReplaced) {
      api.remove('pods', ns, name!)
      api.apply('endpointslices', sliceOf(number % APPS, spec.pods, number))
    }
    const { labels, ...rest } = next.metadata
    const statusOnly = { ...next, metadata: rest, status: { ...(next['status'] as object), observedAt: done } }
    api.apply('pods', done % 2 === 0 ? { ...next, metadata: { ...rest, labels: labels! } } : statusOnly)
    if (isReplaced) api.apply('endpointslices', sliceOf(number % APPS, spec.pods))
    done++
  }
  const start = (): void => {
    const begun = performance.now()
    const before = done
    timer ??= setInterval(() => {
      const due = before + ((performance.now() - begun) * spec.changesPerSecond) / 1000
      while (done < due) change()
    }, TICK_MS)
  }
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'start') start()
    if (line === 'stop') {
      clearInterval(timer)
      timer = undefined
      console.log(`changes ${done}`)
    }
    if (line === 'relist') {
      api.compact()
      api.closeWatches('error')
    }
  }
  process.exit(0)
}

if (process.argv[1]?.endsWith('api-double-process.ts')) await main(JSON.parse(process.argv[2]!) as DoubleProcessSpec)
