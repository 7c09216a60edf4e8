import { setTimeout as sleep } from 'node:timers/promises'
import { ObserverClient } from '../../api/client.ts'
import type { GetLedgerResponse } from '../../api/gen/sluice/v1/agent.ts'
import { ReplaySource } from '../../collector/replay/source.ts'
import { aborted } from '../commands/lab.ts'
import { ledgerText } from '../commands/ledger.ts'
import { EXIT_FAILED } from '../exit-codes.ts'
import { type Io, writeText } from '../io.ts'
import { type Paint, paintFor } from '../paint.ts'
import { withCommas } from '../table.ts'
import { followFlows } from './follow.ts'
import { type LocalPlaces, localPlaces, placeSettings } from './places.ts'
import { startAgent } from './run-agent.ts'
import { FlowSummary } from './summary.ts'

/** For followers to get the last flows: many turns of the stream's pump. */
const SETTLE_MS = 500

export interface ReplayCommandOptions {
  readonly path: string
  /** Factor; Infinity: as fast as they are taken. */
  readonly speed: number
  readonly loop: boolean
  readonly times: 'original' | 'now' | undefined
  readonly keep: boolean
  readonly quiet: boolean
  /** Keys of the configuration. */
  readonly settings: Readonly<Record<string, string>>
}

/**
 * Runs an agent on a file of flows.
 *
 * @returns exit code
 * @throws SluiceError SLUICE_REPLAY_INVALID when the file has no flow or cannot be read
 */
export async function runReplay(io: Io, options: ReplayCommandOptions): Promise<number> {
  const places = await localPlaces()
  const stop = new AbortController()
  const onSignal = () => stop.abort()
  io.signal.addEventListener('abort', onSignal, { once: true })
  if (io.signal.aborted) stop.abort()
  const agentStop = new AbortController()
  let replay: ReplaySource | undefined
  const agent = await startAgent({
    overrides: { 'log.enabled': false, 'node.name': 'replay', ...placeSettings(places), ...options.settings },
    signal: agentStop.signal,
    source: {
      kind: 'replay',
      make: (state) => {
        const { path, speed, loop, times } = options
        replay = new ReplaySource({ path, speed, loop, ...(times === undefined ? {} : { times }) }, state)
        return replay
      },
    },
  })
  try {
    if (!agent.isRunning || !replay) return EXIT_FAILED
    await play(io, options, places, { replay, stop })
  } finally {
    io.signal.removeEventListener('abort', onSignal)
    await replay?.[Symbol.asyncDispose]()
    agentStop.abort()
    await agent.ended
  }
  return agent.ended
}

async function play(
  io: Io,
  options: ReplayCommandOptions,
  places: LocalPlaces,
  { replay, stop }: { replay: ReplaySource; stop: AbortController },
): Promise<void> {
  const paint = paintFor(io)
  const summary = new FlowSummary()
  await writeText(
    io.stderr,
    `Replaying ${options.path}: metrics http://${places.metrics}/metrics, gRPC ${places.grpc}\n` +
      places.moved.map((text) => `${paint.yellow(text)}\n`).join(''),
  )
  using client = await ObserverClient.create({ server: places.grpc, withExtensions: true })
  const following = followFlows(io, client, summary, { signal: stop.signal, quiet: options.quiet })
  try {
    const replayed = replay.start()
    const isDone = await Promise.race([replayed.then(() => true), aborted(stop.signal).then(() => false)])
    if (isDone) await sleep(SETTLE_MS)
    if (isDone && options.keep) {
      await writeText(io.stderr, 'All flows are replayed; Ctrl-C ends.\n')
      await aborted(stop.signal)
    }
    await writeText(io.stderr, `\n${closingText(replay, summary, await client.ledger(), paint)}`)
  } finally {
    stop.abort()
    await following
  }
}

function closingText(replay: ReplaySource, summary: FlowSummary, ledger: GetLedgerResponse, paint: Paint): string {
  const left = [...replay.failures].map(([reason, count]) => `${withCommas(count)} ${reason}`)
  const lines = `${withCommas(replay.flows)} flows of ${withCommas(replay.lines)} lines`
  const mistakes = left.length === 0 ? '' : `; lines left out: ${left.join(', ')}`
  return `${lines}${mistakes}\n\n${summary.text()}\n${ledgerText(ledger, paint, false)}`
}
