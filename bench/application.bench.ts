/**
 * What an application feels: requests and answers, and bytes, between two pods of a lab, with the agent running and
 * without it, in turn. The agent is started and stopped each time and its programs go with it, so that both sides see
 * the same machine a few seconds apart.
 */
import { existsSync, rmSync } from 'node:fs'
import type { Lab } from '../lab/index.ts'
import { TestAgent } from '../test/helpers/agent.ts'
import { type Figure, figure, median, percentile } from './figure.ts'
import { benchPod, closedLedger, emptyLab } from './support/agent-on-lab.ts'
import { load } from './support/processes.ts'
import { runTraffic, serveTraffic } from './support/traffic.ts'

/** Pairs of a round with the agent and a round without; SLUICE_BENCH_ROUNDS sets it. */
const ROUNDS = Number(process.env['SLUICE_BENCH_ROUNDS'] ?? 8)
/**
 * Many short bursts a round, and the upper quartile of them: those that other processes of the machine disturbed do not
 * count. Each is longer than the 10 ms after which the agent comes to read its ring, so its own work is in all.
 */
const BURSTS = 16
const REQUESTS = 2000
const REQUEST_BYTES = 100
const STREAM_MS = 50
const ECHO_PORT = 7001
const SINK_PORT = 7002

/** Requests a second and bytes a second. */
interface Round {
  readonly requests: number
  readonly bytes: number
}

async function round(lab: Lab): Promise<Round> {
  const [client, server] = [benchPod(lab, 1), benchPod(lab, 2)]
  const requests: number[] = []
  const bytes: number[] = []
  for (let i = 0; i < BURSTS; i++) {
    const asked = await runTraffic(client, 'rr', server.ips[0], ECHO_PORT, REQUESTS, REQUEST_BYTES)
    requests.push(asked.count / (asked.ns / 1e9))
    const sent = await runTraffic(client, 'stream', server.ips[0], SINK_PORT, STREAM_MS)
    bytes.push(sent.bytes / (sent.ns / 1e9))
  }
  return { requests: percentile(requests, 75), bytes: percentile(bytes, 75) }
}

interface WithAgent {
  readonly agent: Round
  /** Its programs alone: pinned, they stay attached when it has stopped. Tells the kernel's share from user space's. */
  readonly programs: Round
}

/** A round with the agent. @throws Error when its ledger does not close, or it has not seen the traffic */
async function roundWithAgent(lab: Lab, agent: TestAgent): Promise<WithAgent> {
  await agent.start()
  const running = await round(lab)
  const { kernel, lost } = await closedLedger(agent)
  await agent.stop()
  if (Object.keys(lost).length > 0) throw new Error(`Records were lost: ${JSON.stringify(lost)}`)
  if (kernel['packets_flow']! < BURSTS * REQUESTS * 4) throw new Error('The agent did not see the traffic')
  const programs = await round(lab)
  rmSync(agent.pinDirectory, { recursive: true, force: true })
  if (existsSync(agent.pinDirectory)) throw new Error(`${agent.pinDirectory} is still there`)
  return { agent: running, programs }
}

export async function run(): Promise<Figure[]> {
  await using lab = await emptyLab('application', 2)
  await using _echo = await serveTraffic(benchPod(lab, 2), 'echo', ECHO_PORT)
  await using _sink = await serveTraffic(benchPod(lab, 2), 'sink', SINK_PORT)
  const settings = { 'node.netns': lab.node().netnsPath, 'metadata.file': lab.metadataPath }
  await using agent = new TestAgent({ name: 'bench-application', settings })
  await round(lab)
  const pairs: { with: WithAgent; without: Round }[] = []
  for (let i = 0; i < ROUNDS; i++) {
    // Which one comes first takes turns too: a machine that gets busier or warmer is unfair to neither.
    if (i % 2 === 0) pairs.push({ with: await roundWithAgent(lab, agent), without: await round(lab) })
    else {
      const without = await round(lab)
      pairs.push({ with: await roundWithAgent(lab, agent), without })
    }
  }
  const requests = pairs.map((pair) => pair.with.agent.requests / pair.without.requests)
  const bytes = pairs.map((pair) => pair.with.agent.bytes / pair.without.bytes)
  const programs = pairs.map((pair) => pair.with.programs.requests / pair.without.requests)
  const rate = Math.round(median(pairs.map(({ without }) => without.requests))).toLocaleString('en-GB')
  const gigabits = ((median(pairs.map(({ without }) => without.bytes)) * 8) / 1e9).toFixed(1)
  const how = `median of ${ROUNDS} pairs of rounds with the agent and without, each the upper quartile of ${BURSTS} bursts; TCP between two pods through the node; default settings; ledger closes; ${load()}`
  const spread = (values: readonly number[]) =>
    `pairs from ${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}`
  return [
    figure(
      'application.request_rate',
      median(requests),
      'ratio',
      '≥ 0.97',
      `${REQUEST_BYTES} bytes there and back one after another, ${rate}/s without, ${spread(requests)}; ${how}`,
    ),
    figure(
      'application.request_rate_programs',
      median(programs),
      'ratio',
      '',
      `the same with the agent's programs attached and no agent, ${spread(programs)}; ${how}`,
    ),
    figure(
      'application.throughput',
      median(bytes),
      'ratio',
      '≥ 0.95',
      `one stream, ${gigabits} Gbit/s without, ${spread(bytes)}; ${how}`,
    ),
  ]
}
