/**
 * CPU time per packet and per new flow of the whole agent beside softflowd and pmacctd, on the same traffic in the same
 * run. A meter's cost has two halves: its own processes, and what it adds to the processes that send and receive, in
 * whose time tc programs and packet taps run. Rounds without any meter, between the others, tell the second.
 */
import type { Lab } from '../lab/index.ts'
import { type Figure, figure, median } from './figure.ts'
import { benchPod, emptyLab, endOf } from './support/agent-on-lab.ts'
import { COLLECTOR_PORT, installPeers, type Meter, type MeterName, startMeter } from './support/meters.ts'
import { cpuNsOf, load, sleep } from './support/processes.ts'
import { runTraffic, serveTraffic, type TrafficServer } from './support/traffic.ts'

const ROUNDS = Number(process.env['SLUICE_BENCH_ROUNDS'] ?? 3)
const PODS = 200
/** A meter gets this long after the last packet to do what it does of itself. */
const SETTLE_MS = 1200
/** Meters do some work without any packet: told apart, as its share in a short run says nothing of a packet's cost. */
const IDLE_MS = 2000
const METERS: readonly MeterName[] = ['sluice', 'softflowd', 'pmacctd']
const PORTS = { echo: 7001, answer: 7003, datagrams: 7004 } as const

/** One kind of traffic: runs it, and says what one unit of it is. */
interface Kind {
  readonly name: string
  readonly unit: 'ns/packet' | 'ns/flow'
  readonly text: string
  /** Units that one run makes: packets as the two ends' links see them, or new connections. */
  readonly units: number
  run(lab: Lab): Promise<number>
}

const REQUESTS = 20_000
const CONNECTIONS = 4000
const DATAGRAMS = 150_000
const MESH_DATAGRAMS = 100_000
/** The opener's link and the other's. */
const VIEWS = 2

const KINDS: readonly Kind[] = [
  {
    name: 'request_response',
    unit: 'ns/packet',
    text: `${REQUESTS} requests and answers of 100 bytes on one TCP connection`,
    units: REQUESTS * 2 * VIEWS,
    run: async (lab) => (await runTraffic(benchPod(lab, 1), 'rr', ip(lab, 2), PORTS.echo, REQUESTS, 100)).cpu_ns,
  },
  {
    name: 'churn',
    unit: 'ns/flow',
    text: `${CONNECTIONS} TCP connections with one request each, some ten packets`,
    units: CONNECTIONS,
    run: async (lab) => (await runTraffic(benchPod(lab, 1), 'churn', ip(lab, 2), PORTS.answer, CONNECTIONS)).cpu_ns,
  },
  {
    name: 'udp',
    unit: 'ns/packet',
    text: `${DATAGRAMS} datagrams of 200 bytes of one UDP flow`,
    units: DATAGRAMS * VIEWS,
    run: async (lab) => (await runTraffic(benchPod(lab, 1), 'udp', ip(lab, 2), PORTS.datagrams, DATAGRAMS, 200)).cpu_ns,
  },
  {
    name: 'pods_200',
    unit: 'ns/packet',
    text: `${MESH_DATAGRAMS} datagrams between ${PODS} pods, seven flows from each`,
    units: MESH_DATAGRAMS * VIEWS,
    run: async (lab) =>
      (await runTraffic(lab.node(), 'mesh', MESH_DATAGRAMS, ...lab.pods.map((pod) => endOf(pod)))).cpu_ns,
  },
]

function ip(lab: Lab, pod: number): string {
  return benchPod(lab, pod).ips[0]
}

/** Nanoseconds for each unit: of those that send and receive, and of the meter's own processes. */
interface Cost {
  readonly traffic: number
  readonly meter: number
}

/** @param idle of the meter, nanoseconds of CPU time a nanosecond */
async function measure(lab: Lab, servers: readonly TrafficServer[], meter?: Meter, idle = 0): Promise<Cost[]> {
  const costs: Cost[] = []
  for (const kind of KINDS) {
    const served = () => servers.reduce((sum, { pid }) => sum + cpuNsOf(pid), 0)
    const before = { served: served(), meter: meter?.cpuNs() ?? 0, at: performance.now() }
    const client = await kind.run(lab)
    const traffic = client + served() - before.served
    if (meter) await sleep(SETTLE_MS)
    const idleNs = idle * (performance.now() - before.at) * 1e6
    const own = meter ? meter.cpuNs() - before.meter - idleNs : 0
    costs.push({ traffic: traffic / kind.units, meter: own / kind.units })
  }
  return costs
}

async function idleOf(meter: Meter): Promise<number> {
  await sleep(SETTLE_MS)
  const before = meter.cpuNs()
  const started = performance.now()
  await sleep(IDLE_MS)
  return (meter.cpuNs() - before) / ((performance.now() - started) * 1e6)
}

/** By meter (`none` too) and kind, a cost for each round. */
type Results = Map<MeterName | 'none', Cost[][]>

interface Outcome {
  readonly results: Results
  /** Share of a core that a meter takes without traffic, by round. */
  readonly idle: Map<MeterName, number[]>
}

async function rounds(lab: Lab, servers: readonly TrafficServer[]): Promise<Outcome> {
  const idle = new Map(METERS.map((name): [MeterName, number[]] => [name, []]))
  const results: Results = new Map([...METERS, 'none' as const].map((name) => [name, KINDS.map((): Cost[] => [])]))
  const add = (name: MeterName | 'none', costs: readonly Cost[]) => {
    costs.forEach((cost, kind) => {
      results.get(name)![kind]!.push(cost)
    })
  }
  await measure(lab, servers)
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of METERS) {
      add('none', await measure(lab, servers))
      await using meter = await startMeter(name, lab)
      // Once for its caches and compilers: what is told is a meter that runs, not one that starts.
      await measure(lab, servers, meter)
      const share = await idleOf(meter)
      idle.get(name)!.push(share)
      add(name, await measure(lab, servers, meter, share))
      await meter.check()
    }
  }
  return { results, idle }
}

function figuresOf({ results, idle }: Outcome): Figure[] {
  const costs = KINDS.flatMap((kind, index) => {
    // Other processes can only lengthen it (caches, the sibling thread): the quietest round of each is compared.
    const without = Math.min(...results.get('none')![index]!.map(({ traffic }) => traffic))
    return METERS.map((name) => {
      const measured = results.get(name)![index]!
      const own = Math.min(...measured.map(({ meter }) => meter))
      const added = Math.min(...measured.map(({ traffic }) => traffic)) - without
      const conditions = `${kind.text}; own processes ${Math.round(own)}, added to those that send and receive ${Math.round(added)} (they take ${Math.round(without)} without); quietest of ${ROUNDS} rounds in turn; ${load()}`
      return figure(`peers.${kind.name}_${name}`, own + added, kind.unit, '', conditions)
    })
  })
  const idles = METERS.map((name) =>
    figure(
      `peers.idle_${name}`,
      median(idle.get(name)!) * 1000,
      'ms/s',
      '',
      `CPU time without traffic, ${PODS} pods watched; taken off the figures above; ${load()}`,
    ),
  )
  return [...costs, ...idles]
}

export async function run(): Promise<Figure[]> {
  installPeers()
  await using lab = await emptyLab('peers', PODS)
  const server = benchPod(lab, 2)
  await using echo = await serveTraffic(server, 'echo', PORTS.echo)
  await using answer = await serveTraffic(server, 'answer', PORTS.answer)
  await using datagrams = await serveTraffic(server, 'datagrams', PORTS.datagrams)
  await using _collector = await serveTraffic(lab.node(), 'datagrams', COLLECTOR_PORT)
  return figuresOf(await rounds(lab, [echo, answer, datagrams]))
}
