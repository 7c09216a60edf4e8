/**
 * The API double as a process of its own, so that a measurement sees its client alone:
 *
 *     node --import tsx test/helpers/api-double-process.ts '{"pods": 10000, "changesPerSecond": 500}'
 *
 * Prints its URL as the first line. Namespaces, nodes and pods are there from the start; changes begin with a line
 * `start` on standard input and stop with `stop`; `relist` makes every watch begin anew with a list. Each tenth change
 * deletes a pod and creates another one, the others are of all kinds: labels, status alone, addresses.
 */
import { createInterface } from 'node:readline'
import { ApiDouble } from './api-double.ts'
import { namespace, node, owner, pod } from './api-double-objects.ts'

export interface DoubleProcessSpec {
  readonly pods: number
  readonly changesPerSecond: number
  readonly namespaces?: number
  readonly nodes?: number
}

const TICK_MS = 20

function podOf(number: number, generation: number) {
  const app = number % 400
  const kind = `app-${app}-6d5f9c7b8`
  return pod({
    namespace: `team-${app % 40}`,
    name: `${kind}-${number.toString(36).padStart(5, '0')}`,
    uid: `00000000-0000-4000-8000-${String(number).padStart(8, '0')}${String(generation % 10_000).padStart(4, '0')}`,
    ip: `10.${128 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`,
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

async function main(spec: DoubleProcessSpec): Promise<void> {
  const api = await ApiDouble.start()
  for (let i = 0; i < (spec.namespaces ?? 40); i++) api.apply('namespaces', namespace(`team-${i}`))
  for (let i = 0; i < (spec.nodes ?? 200); i++) api.apply('nodes', node(`node-${i}`, `192.168.${i >> 8}.${i & 255}`))
  for (let app = 0; app < 400; app++) {
    const deployment = { kind: 'Deployment', name: `app-${app}` }
    api.apply('replicasets', owner(`team-${app % 40}`, `app-${app}-6d5f9c7b8`, deployment))
  }
  for (let i = 0; i < spec.pods; i++) api.apply('pods', podOf(i, 0))
  console.log(api.url)
  let done = 0
  let timer: NodeJS.Timeout | undefined
  const change = (): void => {
    const number = (done * 7919) % spec.pods
    const next = podOf(number, done)
    const { namespace: ns, name } = next.metadata
    if (done % 10 === 0) api.remove('pods', ns, name!)
    const { labels, ...rest } = next.metadata
    const statusOnly = { ...next, metadata: rest, status: { ...(next['status'] as object), observedAt: done } }
    api.apply('pods', done % 2 === 0 ? { ...next, metadata: { ...rest, labels: labels! } } : statusOnly)
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
