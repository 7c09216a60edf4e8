/**
 * GetFlows over a full history of a million flows: how fast a selective filter is through it, how long the event loop is
 * held by that, and how fast all flows leave. The server is the real one, its client another process.
 */
import { ApiServer } from '../api/server.ts'
import { type Figure, figure, median } from './figure.ts'
import type { ReadFlows, RequestFields } from './support/flow-reader.ts'
import { LoopWatch } from './support/loop-watch.ts'
import { MemoryAgent } from './support/memory-agent.ts'
import { Follower, load } from './support/processes.ts'
import { FLOWS, PODS } from './support/ring-traffic.ts'

const HISTORY = 1_000_000
const ROUNDS = 7
const STREAM_ROUNDS = 3
const NS_PER_MS = 1e6

/** What people ask: a pod's drops, a port of a namespace, an address. */
const FILTERS: readonly { readonly name: string; readonly request: RequestFields; readonly text: string }[] = [
  {
    name: 'pod_and_verdict',
    request: { whitelist: [{ source_pod: ['team-3/web-3-'], verdict: [2] }] },
    text: '--from-pod team-3/web-3- --verdict DROPPED',
  },
  {
    name: 'port',
    request: { whitelist: [{ destination_port: ['4433'] }] },
    text: '--to-port 4433',
  },
  {
    name: 'address_and_namespace',
    request: { whitelist: [{ source_ip: ['10.244.1.250'] }, { destination_pod: ['nowhere/'] }] },
    text: '--from-ip 10.244.1.250, or --to-namespace nowhere',
  },
]

interface Answer extends ReadFlows {
  /** From the request to the end of the answer, at the client. */
  readonly ms: number
  /** Longest time that the server's event loop was held meanwhile: CPU time, and by the wall clock. */
  readonly heldMs: number
  readonly heldWallMs: number
  /** CPU time of the server's process. */
  readonly cpuMs: number
}

async function ask(server: ApiServer, request: RequestFields): Promise<Answer> {
  const scanned = scannedBy(server)
  using watch = new LoopWatch()
  const cpu = process.cpuUsage()
  const client = await Follower.start(server.addresses[0]!, { number: BigInt(HISTORY), first: true, ...request })
  const read = await client.ended()
  const { user, system } = process.cpuUsage(cpu)
  const looked = scannedBy(server) - scanned
  if (looked !== HISTORY) throw new Error(`The answer took ${looked} flows into account, wanted ${HISTORY}`)
  return { ...read, heldMs: watch.worstCpuMs, heldWallMs: watch.worstWallMs, cpuMs: (user + system) / 1000 }
}

/** Flows that the server's filters have looked at since its start. */
function scannedBy(server: ApiServer): number {
  let count = 0
  const counter = (name: string, _help: string, value: number) => {
    if (name === 'sluice_api_flows_scanned_total') count += value
  }
  server.collect({ counter, gauge() {} })
  return count
}

async function scans(server: ApiServer): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const { name, request, text } of FILTERS) {
    const answers: Answer[] = []
    for (let i = 0; i < ROUNDS; i++) answers.push(await ask(server, request))
    const rates = answers.map(({ ms }) => HISTORY / (ms / 1000))
    const held = answers.map(({ heldMs }) => heldMs)
    const heldWall = answers.map(({ heldWallMs }) => heldWallMs)
    const conditions = `${text}: ${answers[0]!.flows} of ${HISTORY.toLocaleString('en-GB')} flows match; client in another process, connecting included; median of ${ROUNDS}; ${load()}`
    figures.push(
      figure(`get_flows.scan_${name}`, median(rates), 'records/s', '≥ 2000000', conditions),
      figure(
        `get_flows.scan_${name}_loop_held`,
        Math.max(...held),
        'ms',
        '≤ 20',
        `CPU time between two ticks of a timer, worst of all rounds; ${conditions}`,
      ),
      figure(
        `get_flows.scan_${name}_loop_held_wall`,
        median(heldWall),
        'ms',
        '',
        `median of rounds' worst; ${conditions}`,
      ),
    )
  }
  return figures
}

async function streams(server: ApiServer): Promise<Figure[]> {
  const answers: Answer[] = []
  for (let i = 0; i < STREAM_ROUNDS; i++) answers.push(await ask(server, {}))
  for (const { flows } of answers) {
    if (flows !== HISTORY) throw new Error(`The stream had ${flows} flows, wanted ${HISTORY}`)
  }
  const bytes = Math.round(answers[0]!.bytes / HISTORY)
  const conditions = `all ${HISTORY.toLocaleString('en-GB')} flows, ${bytes} bytes each, every field, to a client in another process; median of ${STREAM_ROUNDS}; ${load()}`
  const perSecond = answers.map(({ ms }) => HISTORY / (ms / 1000))
  return [
    figure('get_flows.stream', median(perSecond), 'flows/s', '≥ 60000', conditions),
    figure(
      'get_flows.stream_cpu',
      (median(answers.map(({ cpuMs }) => cpuMs)) * NS_PER_MS) / HISTORY,
      'ns/flow',
      '',
      `server's process; ${conditions}`,
    ),
    figure('get_flows.stream_loop_held', median(answers.map(({ heldMs }) => heldMs)), 'ms', '', conditions),
  ]
}

export async function run(): Promise<Figure[]> {
  const agent = new MemoryAgent()
  while (agent.state.history.end < HISTORY + agent.records) await agent.fill()
  agent.checkLedger()
  const server = new ApiServer(
    { store: agent.state.history, version: '0.0.0' },
    { listen: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }] },
  )
  await server.start()
  try {
    // Compilers: as a server that has been asked before.
    for (const { request } of FILTERS) await ask(server, request)
    const figures = [...(await scans(server)), ...(await streams(server))]
    const what = `history of ${FLOWS.toLocaleString('en-GB')} flows between ${PODS} pods, ledger closes`
    return figures.map((one) => ({ ...one, conditions: `${one.conditions}; ${what}` }))
  } finally {
    await server.stop(200)
  }
}
