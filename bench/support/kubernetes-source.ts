/**
 * A process that holds nothing but the names from a Kubernetes API and their tables, and tells what that costs it:
 *
 *     node --expose-gc --import tsx bench/support/kubernetes-source.ts URL
 *
 * Prints `ready`, then answers each line on standard input with a JSON line: `measure` what was since the last answer.
 */
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { KubernetesMetadata } from '../../collector/metadata/kubernetes.ts'
import { CollectorState } from '../../collector/state.ts'
import { ApiClient } from '../../kubernetes/index.ts'

export interface SourceReport {
  /** Resident memory beyond that of the process with its code loaded and its tables empty, bytes. */
  readonly addedBytes: number
  readonly seconds: number
  /** CPU time of all threads, seconds. */
  readonly cpuSeconds: number
  /** The longest turn of the event loop, by the CPU time of its thread, milliseconds. */
  readonly worstTurnMs: number
  readonly pods: number
  readonly events: number
  readonly lists: number
  readonly synced: boolean
}

/** CPU time of this thread, nanoseconds; it is the process's first. */
function threadNs(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0])
}

function rss(): number {
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024
}

async function main(url: string): Promise<void> {
  const state = new CollectorState({
    nodeName: 'node-1',
    clusterName: 'default',
    uuidSeed: new Uint32Array([1, 2, 3, 4]),
    history: { capacity: 1024, l7Bytes: 65_536 },
  })
  const credentials = { headers: { authorization: 'Bearer token' }, tls: {} }
  const client = new ApiClient({ server: new URL(url), namespace: 'default', credentials: async () => credentials })
  const metadata = new KubernetesMetadata({ client, deadlineMs: 120_000 })
  globalThis.gc?.()
  const empty = rss()
  let worstTurn = 0
  let lastNs = threadNs()
  // By CPU time: on a machine that others use too, the wall clock counts the time that the scheduler gave to them.
  setInterval(() => {
    const now = threadNs()
    worstTurn = Math.max(worstTurn, now - lastNs)
    lastNs = now
  }, 1)
  let cpu = process.cpuUsage()
  let at = performance.now()
  const states = () => metadata.states()
  const isSynced = () => states().length > 0 && states().every(({ synced, watching }) => synced && watching)
  const report = (): SourceReport => {
    const { user, system } = process.cpuUsage(cpu)
    const sum = (field: 'events' | 'lists') => states().reduce((total, each) => total + each[field], 0)
    const answer = {
      addedBytes: rss() - empty,
      seconds: (performance.now() - at) / 1000,
      cpuSeconds: (user + system) / 1e6,
      worstTurnMs: worstTurn / 1e6,
      pods: state.endpoints.podCount,
      events: sum('events'),
      lists: sum('lists'),
      synced: isSynced(),
    }
    cpu = process.cpuUsage()
    at = performance.now()
    worstTurn = 0
    return answer
  }
  await metadata.start(state, new AbortController().signal)
  // What is listed is not watched yet: the last watch opens some milliseconds later.
  while (!isSynced()) await new Promise((resolve) => setTimeout(resolve, 10))
  console.log('ready')
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'measure') console.log(JSON.stringify(report()))
  }
  process.exit(0)
}

if (process.argv[1]?.endsWith('kubernetes-source.ts')) await main(process.argv[2]!)
