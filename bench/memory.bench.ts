/** Resident memory of a whole agent with a full history and 100,000 live flows in the kernel's table. */
import { readFileSync } from 'node:fs'
import { type Figure, figure } from './figure.ts'
import { agentOn, benchPod, emptyLab, endOf, settledLedger, swallow } from './support/agent-on-lab.ts'
import { Follower, load, sleep } from './support/processes.ts'
import { runTraffic } from './support/traffic.ts'

const HISTORY = 1_000_000
const LIVE_FLOWS = 100_000
/** Each of them is told by both pods' links, and both have an entry. */
const VIEWS = 2
const RECORDS_PER_CONNECTION = 8
const RATE = 50_000
/** Beyond the history's length, so that it has wrapped. */
const RECORDS = 1_200_000
const MB = 1e6

/** `VmRSS` and its parts of a process, bytes. */
function memory(pid: number): { rss: number; anonymous: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
  return { rss: bytes('VmRSS'), anonymous: bytes('RssAnon'), peak: bytes('VmHWM') }
}

export async function run(): Promise<Figure[]> {
  await using lab = await emptyLab('memory', 2)
  const [a, b] = [benchPod(lab, 1), benchPod(lab, 2)]
  await swallow(a, b)
  await using agent = await agentOn(lab, 'memory')
  const idle = memory(agent.pid)
  const follower = await Follower.start(agent.grpc, { follow: true, number: 0n })
  const perSecond = Math.ceil(RATE / RECORDS_PER_CONNECTION)
  await runTraffic(lab.node(), 'connections', perSecond, (RECORDS / RATE) * 1000, endOf(a), endOf(b))
  await runTraffic(lab.node(), 'flows', LIVE_FLOWS / VIEWS, endOf(a), endOf(b))
  const ledger = await settledLedger(agent)
  const full = memory(agent.pid)
  await fetch(agent.metricsUrl).then((response) => response.text())
  const read = await follower.stop()
  // A garbage collection later; idle, nothing forces one.
  await sleep(3000)
  const later = memory(agent.pid)
  const lost = Object.keys(ledger.lost)
  if (lost.length > 0) throw new Error(`Records were lost: ${JSON.stringify(ledger.lost)}`)
  if (ledger.liveFlows < LIVE_FLOWS) throw new Error(`The table has ${ledger.liveFlows} flows, wanted ${LIVE_FLOWS}`)
  const flows = ledger.delivered['history']!
  if (flows < HISTORY) throw new Error(`The history has had ${flows} flows, wanted ${HISTORY}`)
  const conditions = `VmRSS of the agent: ${ledger.liveFlows.toLocaleString('en-GB')} flows in the kernel's table, history of ${HISTORY.toLocaleString('en-GB')} full after ${flows.toLocaleString('en-GB')} flows at ${RATE.toLocaleString('en-GB')} a second, log and metrics on, a follower that read ${read.flows.toLocaleString('en-GB')}; the ring's 16 MiB are mapped twice and counted twice; ledger closes, nothing lost; ${load()}`
  return [
    figure('memory.rss_full', full.rss / MB, 'MB', '≤ 350', conditions),
    figure('memory.rss_peak', full.peak / MB, 'MB', '', `highest until then; ${conditions}`),
    figure('memory.rss_later', later.rss / MB, 'MB', '', '3 s after the last flow'),
    figure('memory.anonymous', full.anonymous / MB, 'MB', '', 'of it private to the process: heaps and the history'),
    figure('memory.rss_idle', idle.rss / MB, 'MB', '', 'just started, history and table empty'),
  ]
}
