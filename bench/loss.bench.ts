/**
 * The highest rate without loss. TCP connections are made of bare packets between two pods of a lab, each packet with a
 * flag that its flow has not shown before: the tc programs of both pods' links make a record of every one. A real agent
 * with default settings writes the log, counts metrics and answers a follower in another process.
 *
 * SLUICE_BENCH_SECONDS sets how long 50,000 records a second are held (default 60).
 */
import type { Lab } from '../lab/index.ts'
import type { TestAgent } from '../test/helpers/agent.ts'
import { type Figure, figure } from './figure.ts'
import {
  agentOn,
  benchPod,
  emptyLab,
  endOf,
  type LedgerSummary,
  settledLedger,
  swallow,
} from './support/agent-on-lab.ts'
import { cpuNsOf, Follower, load, sleep } from './support/processes.ts'
import { runTraffic } from './support/traffic.ts'

const GOAL_RATE = 50_000
/** Four packets a connection, each told by the opener's link and the other's. */
const RECORDS_PER_CONNECTION = 8
const STEP = 1.2
const LONGEST_STEP_S = 10
const HIGHEST = 200_000

interface Run {
  /** Records a second that the kernel made. */
  readonly rate: number
  readonly lost: Readonly<Record<string, number>>
  readonly text: string
}

class Rig {
  readonly #lab: Lab
  readonly #agent: TestAgent
  #connections = 0

  constructor(lab: Lab, agent: TestAgent) {
    this.#lab = lab
    this.#agent = agent
  }

  async run(rate: number, seconds: number): Promise<Run> {
    const before = await settledLedger(this.#agent)
    const follower = await Follower.start(this.#agent.grpc, { follow: true, number: 0n })
    await sleep(500)
    const cpu = { agent: cpuNsOf(this.#agent.pid), follower: cpuNsOf(follower.pid) }
    const perSecond = Math.ceil(rate / RECORDS_PER_CONNECTION)
    const [a, b] = [endOf(benchPod(this.#lab, 1)), endOf(benchPod(this.#lab, 2))]
    const made = await runTraffic(this.#lab.node(), 'connections', perSecond, seconds * 1000, a, b, this.#connections)
    this.#connections += made.count
    const used = { agent: cpuNsOf(this.#agent.pid) - cpu.agent, follower: cpuNsOf(follower.pid) - cpu.follower }
    const after = await settledLedger(this.#agent)
    // Records of the sweep's close may still come; the follower gets what came while it was there.
    await sleep(200)
    const read = await follower.stop()
    const events = wanted(after) - wanted(before)
    const lost = { ...difference(before.lost, after.lost) }
    if (read.lostEvents > 0) lost['follower.lost_events'] = read.lostEvents
    const missing = delivered(after) - delivered(before) - read.flows
    // It reads on for a moment after the ledger was read, so it may have more.
    if (missing > 0) lost['follower.missing'] = missing
    const share = (ns: number) => `${Math.round((ns / made.ns) * 100)} %`
    return {
      rate: events / (made.ns / 1e9),
      lost,
      text: `${events.toLocaleString('en-GB')} records in ${(made.ns / 1e9).toFixed(1)} s, follower read ${read.flows.toLocaleString('en-GB')}; CPU of one core: agent ${share(used.agent)}, follower ${share(used.follower)}, traffic ${share(made.cpu_ns)}`,
    }
  }
}

function wanted(ledger: LedgerSummary): number {
  return ledger.kernel['events_wanted']!
}

function delivered(ledger: LedgerSummary): number {
  return ledger.delivered['history']!
}

function difference(before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>) {
  const grown: Record<string, number> = {}
  for (const [name, count] of Object.entries(after)) {
    if (count > (before[name] ?? 0)) grown[name] = count - (before[name] ?? 0)
  }
  return grown
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0)
}

const HOW =
  'records made by the tc programs on real packets (TCP connections of bare headers between two pods, 8 records each); default settings, log and metrics on, a gRPC follower of all flows in another process; ledger closes'

async function climb(rig: Rig, seconds: number): Promise<{ highest: number; text: string }> {
  let best = { highest: 0, text: 'no rate without loss' }
  for (let rate = GOAL_RATE; rate <= HIGHEST; rate *= STEP) {
    const run = await rig.run(rate, seconds)
    if (sum(run.lost) > 0)
      return { ...best, text: `${best.text}; next step ${Math.round(run.rate)}/s lost ${JSON.stringify(run.lost)}` }
    // The traffic itself may be what cannot go faster.
    if (run.rate < rate * 0.95) return { highest: run.rate, text: `${run.text}; no more than this could be made` }
    best = { highest: run.rate, text: run.text }
  }
  return best
}

export async function run(): Promise<Figure[]> {
  const seconds = Number(process.env['SLUICE_BENCH_SECONDS'] ?? 60)
  await using lab = await emptyLab('loss', 2)
  await swallow(benchPod(lab, 1), benchPod(lab, 2))
  await using agent = await agentOn(lab, 'loss')
  const rig = new Rig(lab, agent)
  const held = await rig.run(GOAL_RATE, seconds)
  const conditions = `${held.text}; ${HOW}; ${load()}`
  const lost = sum(held.lost) > 0 ? `lost ${JSON.stringify(held.lost)}; ` : ''
  const stepSeconds = Math.min(LONGEST_STEP_S, seconds)
  const top = await climb(rig, stepSeconds)
  return [
    figure('loss.lost_at_50k', sum(held.lost), 'records', '= 0', `${lost}${conditions}`),
    figure('loss.rate_held', held.rate, 'records/s', `≥ ${GOAL_RATE * 0.98}`, conditions),
    figure(
      'loss.highest_rate',
      top.highest,
      'records/s',
      '',
      `each a fifth higher, ${stepSeconds} s long; ${top.text}; ${load()}`,
    ),
  ]
}
