import { silentLogger } from '../base/logger.ts'
import { PrometheusExporter } from '../exporters/prometheus/index.ts'
import { type FlowSpec, TestFlowStore } from '../test/helpers/flow-store.ts'
import { type Figure, figure, median } from './figure.ts'
import { LoopWatch } from './support/loop-watch.ts'

const FLOWS = 8192
const PODS = 200
const SERIES = 100_000
const ROUNDS = 4
const SCRAPES = 6
const NS_PER_MS = 1e6

/** Context options of ACNS, on every family. */
const CONTEXT = 'sourceEgressContext=pod;destinationIngressContext=pod'
const FAMILIES = [
  `flow:${CONTEXT}`,
  `tcp:${CONTEXT}`,
  `drop:${CONTEXT}`,
  `dns:query;${CONTEXT}`,
  `icmp:${CONTEXT}`,
  `port-distribution:${CONTEXT}`,
  `flows-to-world:port;${CONTEXT}`,
  `httpV2:${CONTEXT}`,
]

/** Traffic of a node as the store holds it: two ends of pods, some drops, DNS and HTTP. */
function traffic(): TestFlowStore {
  const store = new TestFlowStore(FLOWS)
  const pods = Array.from({ length: PODS }, (_, i) =>
    store.addEndpoint({ namespace: `team-${i % 20}`, podName: `web-${i}-7d4b9c-x${i}`, labels: ['k8s:app=web'] }),
  )
  const specs: FlowSpec[] = []
  for (let i = 0; i < FLOWS; i++) {
    const kind = i % 20
    const spec: FlowSpec = {
      source: pods[i % PODS]!,
      destination: pods[(i * 7 + 3) % PODS]!,
      direction: i % 2 === 0 ? 'egress' : 'ingress',
      isReply: i % 4 > 1,
      srcPort: 30_000 + i,
      dstPort: 80 + (i % 8),
      l4Info: [2, 18, 16, 17][i % 4]!,
    }
    if (kind === 0) Object.assign(spec, { verdict: 2, dropReason: 3 })
    if (kind === 1) Object.assign(spec, { l7: dns(i) })
    if (kind === 2) Object.assign(spec, { l7: http(i) })
    specs.push(spec)
  }
  store.push(...specs)
  return store
}

function dns(i: number): NonNullable<FlowSpec['l7']> {
  const query = `svc-${i % 50}.team-1.svc.cluster.local.`
  const base = { ttl: 30, cnames: [], observationSource: 'kernel', rcode: 0, qtypes: ['A'] }
  return { type: 2, latencyNs: 1e6, traceId: '', dns: { ...base, query, ips: ['10.0.0.1'], rrtypes: ['A'] } }
}

function http(i: number): NonNullable<FlowSpec['l7']> {
  const record = { code: i % 3 === 0 ? 500 : 200, method: 'GET', url: '/', protocol: 'HTTP/1.1', headers: [] }
  return { type: 2, latencyNs: 1e6 + i, traceId: '', http: record }
}

/** Nanoseconds per flow of accept(), the quietest of nine rounds after a warm-up. */
function countingCost(metrics: string, store: TestFlowStore): number {
  const exporter = new PrometheusExporter({ metrics }, { logger: silentLogger })
  const round = () => {
    const started = process.hrtime.bigint()
    for (let i = 0; i < 8; i++) exporter.accept(store, 0, store.end)
    return Number(process.hrtime.bigint() - started) / (8 * store.end)
  }
  for (let i = 0; i < 5; i++) round()
  const cost = Math.min(...Array.from({ length: 9 }, round))
  if (exporter.ledger.difference !== 0) throw new Error(`Ledger does not close: ${JSON.stringify(exporter.ledger)}`)
  exporter.registry.clear()
  return cost
}

async function scrapes(): Promise<Figure[]> {
  const store = new TestFlowStore(SERIES)
  const specs: FlowSpec[] = []
  const pods = Array.from({ length: SERIES / 100 }, (_, i) =>
    store.addEndpoint({ namespace: `team-${i % 20}`, podName: `checkout-${i}-7d4b9c6f5d-x${i}` }),
  )
  for (let i = 0; i < SERIES; i++) {
    specs.push({ source: pods[i % pods.length]!, destination: pods[Math.floor(i / pods.length)]! })
  }
  store.push(...specs)
  const exporter = new PrometheusExporter(
    {
      metrics: 'flow:sourceContext=pod;destinationContext=pod',
      maxSeries: SERIES,
      maxSeriesPerFamily: SERIES,
      address: '127.0.0.1:0',
    },
    { logger: silentLogger },
  )
  // Other processes can only lengthen what is measured: the quietest of some rounds is nearest to the truth.
  const rounds: Round[] = []
  for (let i = 0; i < ROUNDS; i++) rounds.push(await scrapeRound(exporter, store))
  await exporter[Symbol.asyncDispose]()
  const [first] = rounds[0]!.total
  const total = rounds.flatMap((round) => round.total).slice(1)
  // The very first scrape makes all the text; it is told apart, as scrape_first.
  const worst = (of: (round: Round) => number[]) => median(rounds.slice(1).map((round) => Math.max(...of(round))))
  const what = `${SERIES.toLocaleString('en-GB')} series, ${(rounds[0]!.bytes / 1e6).toFixed(1)} MB, all changed`
  return [
    figure('prometheus.scrape_first', first!, 'ms', '', `${what}, nothing rendered yet`),
    figure('prometheus.scrape', median(total), 'ms', '≤ 40', `${what}, median of ${total.length}`),
    figure('prometheus.scrape_worst', Math.max(...total), 'ms', '', what),
    figure(
      'prometheus.scrape_loop_held',
      worst((round) => round.heldCpu),
      'ms',
      '≤ 10',
      `CPU time between two ticks of a timer, median of the worst of ${ROUNDS - 1} rounds of ${SCRAPES}; ${what}`,
    ),
    figure(
      'prometheus.scrape_loop_held_wall',
      worst((round) => round.heldWall),
      'ms',
      '',
      `the same by the wall clock; ${what}`,
    ),
  ]
}

interface Round {
  readonly total: number[]
  readonly heldCpu: number[]
  readonly heldWall: number[]
  bytes: number
}

/** Every series changes between two scrapes, and many need another digit. */
async function scrapeRound(exporter: PrometheusExporter, store: TestFlowStore): Promise<Round> {
  const round: Round = { total: [], heldCpu: [], heldWall: [], bytes: 0 }
  for (let i = 0; i < SCRAPES; i++) {
    exporter.accept(store, 0, store.end)
    if (i % 3 === 0) for (let j = 0; j < 4; j++) exporter.accept(store, 0, store.end)
    await new Promise((resolve) => setTimeout(resolve, 20))
    using watch = new LoopWatch()
    const started = process.hrtime.bigint()
    const text = await exporter.render(i % 2 === 0 ? 'text' : 'openmetrics')
    round.total.push(Number(process.hrtime.bigint() - started) / NS_PER_MS)
    // The loop turns once more, so that a hold up to the very end of the render is seen too.
    await new Promise((resolve) => setTimeout(resolve, 2))
    round.heldCpu.push(watch.worstCpuMs)
    round.heldWall.push(watch.worstWallMs)
    round.bytes = text.length
    text.release()
  }
  return round
}

export async function run(): Promise<Figure[]> {
  const store = traffic()
  const conditions = `${FLOWS} flows of ${PODS} pods, a twentieth each dropped, DNS, HTTP; ledger closes`
  const base = countingCost('', store)
  const all = countingCost(FAMILIES.join(' '), store)
  const acns = countingCost(FAMILIES.slice(0, 4).join(' '), store)
  return [
    figure('prometheus.cursor', base, 'ns/flow', '', 'no metric enabled'),
    figure('prometheus.count_acns', acns, 'ns/flow', '≤ 300', `flow, tcp, drop, dns; ${conditions}`),
    figure('prometheus.count_all', all, 'ns/flow', '', `${FAMILIES.length} handlers; ${conditions}`),
    figure('prometheus.count_family', (all - base) / FAMILIES.length, 'ns/flow', '≤ 150', conditions),
    ...(await scrapes()),
  ]
}
