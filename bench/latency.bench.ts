/**
 * From a packet that leaves a pod to its line in the log and to its answer at a GetFlows follower. Each packet is a flow
 * of its own, known by its source port; the sender tells when it was sent, on the clock that this process reads too.
 */
import { once } from 'node:events'
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { GetFlowsResponse } from '../api/gen/observer/observer.ts'
import type { Lab } from '../lab/index.ts'
import type { TestAgent } from '../test/helpers/agent.ts'
import { type Figure, figure, median, percentile } from './figure.ts'
import { agentOn, benchPod, emptyLab, endOf, settledLedger, swallow } from './support/agent-on-lab.ts'
import { readFlows } from './support/flow-reader.ts'
import { load, sleep } from './support/processes.ts'
import { runTraffic, trafficProgram } from './support/traffic.ts'

const MARKS = 300
const GAP_US = 15_000
/** Destination of marks: bench/traffic/headers.c. */
const MARK_PORT = 20_000
const BACKGROUND_RECORDS = 10_000
const LATEST_MS = 5000
const NS_PER_MS = 1e6

/** First sight of each mark, process.hrtime() in nanoseconds, by port. */
type Sights = Map<number, number>

const nowNs = () => Number(process.hrtime.bigint())

/** Looks every millisecond for new lines in the log's live file; a rotated one is read to its end first. */
class LogWatcher {
  readonly #path: string
  readonly #sights: Sights
  readonly #chunk = Buffer.alloc(1 << 20)
  readonly #pattern = new RegExp(`"source_port":(\\d+),"destination_port":${MARK_PORT}\\b`)
  readonly #timer: NodeJS.Timeout
  #fd: number
  #inode: number
  #rest = ''

  constructor(path: string, sights: Sights) {
    this.#path = path
    this.#sights = sights
    this.#fd = openSync(path, 'r')
    this.#inode = fstatSync(this.#fd).ino
    this.#timer = setInterval(() => this.#look(), 1)
  }

  #look(): void {
    const bytes = readSync(this.#fd, this.#chunk)
    if (bytes === 0) {
      this.#follow()
      return
    }
    const now = nowNs()
    const lines = (this.#rest + this.#chunk.toString('latin1', 0, bytes)).split('\n')
    this.#rest = lines.pop()!
    for (const line of lines) {
      const port = this.#pattern.exec(line)?.[1]
      if (port !== undefined) see(this.#sights, Number(port), now)
    }
  }

  #follow(): void {
    const live = statSync(this.#path, { throwIfNoEntry: false })
    if (live === undefined || live.ino === this.#inode) return
    closeSync(this.#fd)
    this.#fd = openSync(this.#path, 'r')
    this.#inode = live.ino
  }

  stop(): void {
    clearInterval(this.#timer)
    closeSync(this.#fd)
  }
}

function see(sights: Sights, port: number, now: number): void {
  if (!sights.has(port)) sights.set(port, now)
}

function follow(agent: TestAgent, sights: Sights) {
  // The filter leaves the background's flows to the agent: this client is not what is measured.
  const request = { follow: true, number: 0n, whitelist: [{ destination_port: [String(MARK_PORT)] }] }
  return readFlows(agent.grpc, request, (message) => {
    const now = nowNs()
    const port = GetFlowsResponse.decode(message).flow?.l4?.UDP?.source_port
    if (port !== undefined) see(sights, port, now)
  })
}

interface Latencies {
  /** Milliseconds. */
  readonly log: readonly number[]
  readonly follower: readonly number[]
}

async function measure(lab: Lab, agent: TestAgent): Promise<Latencies> {
  const inLog: Sights = new Map()
  const atFollower: Sights = new Map()
  const log = new LogWatcher(agent.logPath, inLog)
  const follower = follow(agent, atFollower)
  await sleep(500)
  const sent = new Map<number, number>()
  const args = ['marks', String(MARKS), String(GAP_US), endOf(benchPod(lab, 1)), endOf(benchPod(lab, 2))]
  const sender = lab.node().run(trafficProgram(), args, { stdio: ['ignore', 'pipe', 'inherit'] })
  createInterface({ input: sender.stdout! }).on('line', (line) => {
    const { port, ns } = JSON.parse(line) as { port: number; ns: string }
    sent.set(port, Number(ns))
  })
  await once(sender, 'close')
  const deadline = performance.now() + LATEST_MS
  while ((inLog.size < MARKS || atFollower.size < MARKS) && performance.now() < deadline) await sleep(20)
  log.stop()
  follower.close()
  if (sent.size !== MARKS) throw new Error(`${sent.size} of ${MARKS} marks were sent`)
  return { log: between(sent, inLog, 'the log'), follower: between(sent, atFollower, 'the follower') }
}

function between(sent: Sights, seen: Sights, where: string): number[] {
  if (seen.size !== sent.size) throw new Error(`Of ${sent.size} marked packets ${seen.size} came to ${where}`)
  return Array.from(sent, ([port, ns]) => (seen.get(port)! - ns) / NS_PER_MS)
}

function figures(name: string, latencies: Latencies, what: string): Figure[] {
  const conditions = `${MARKS} marked packets, one in ${GAP_US / 1000 + 5} ms, ${what}; each found; default settings; ${load()}`
  return Object.entries(latencies).flatMap(([place, values]: [string, readonly number[]]) => [
    figure(`latency.${name}_${place}_p99`, percentile(values, 99), 'ms', '≤ 200', conditions),
    figure(`latency.${name}_${place}_median`, median(values), 'ms', '', conditions),
  ])
}

export async function run(): Promise<Figure[]> {
  await using lab = await emptyLab('latency', 4)
  await swallow(...[1, 2, 3, 4].map((number) => benchPod(lab, number)))
  await using agent = await agentOn(lab, 'latency')
  const quiet = await measure(lab, agent)
  // The sweep takes the marks' flows out after a minute; other ones must be new, so the agent starts afresh.
  await agent.stop()
  await using other = await agentOn(lab, 'latency-busy')
  const seconds = Math.ceil((MARKS * (GAP_US / 1000 + 5)) / 1000) + 4
  const background = runTraffic(
    lab.node(),
    'connections',
    BACKGROUND_RECORDS / 8,
    seconds * 1000,
    endOf(benchPod(lab, 3)),
    endOf(benchPod(lab, 4)),
  )
  const busy = await measure(lab, other)
  await background
  await settledLedger(other)
  return [
    ...figures('idle', quiet, 'nothing else'),
    ...figures('busy', busy, `beside ${BACKGROUND_RECORDS.toLocaleString('en-GB')} other records a second`),
  ]
}
