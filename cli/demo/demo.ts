import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ObserverClient } from '../../api/client.ts'
import { DEMO_LAB, DEMO_RECORDING, Lab, packagePath } from '../../lab/index.ts'
import { aborted } from '../commands/lab.ts'
import { ledgerText } from '../commands/ledger.ts'
import { examine, obstacles } from '../doctor/index.ts'
import { EXIT_FAILED } from '../exit-codes.ts'
import { type Io, writeText } from '../io.ts'
import { type Paint, paintFor } from '../paint.ts'
import { followFlows, sumUp } from './follow.ts'
import { temporaryPins } from './pins.ts'
import { type LocalPlaces, localPlaces, placeSettings } from './places.ts'
import { startAgent } from './run-agent.ts'
import { FlowSummary } from './summary.ts'

/*
 *   1. Look whether eBPF can be had; where it cannot, say what is missing and what there is instead.
 *   2. Build the lab, start the agent on its node, in this process, then the pods' processes.
 *   3. Say where log, metrics and gRPC are; show flows through gRPC, as any user would.
 *   4. At the end: stop the traffic, show what was seen and the ledger, stop the agent, remove everything but the log.
 *
 * Filters are files of a directory of the demo's own, which has one to begin with: log everything. The screen's own
 * query wants every flow; with --quiet there is none, so that what filters leave out stays in the kernel.
 */

/** Time for the last packets to pass through the agent before the ledger is read: many drains of 10 ms. */
const SETTLE_MS = 500

/** What the log holds until a reader changes it. */
const FIRST_FILTER = 'examples/filters/log-everything.yaml'

export interface DemoOptions {
  readonly labFile: string | undefined
  /** The log's path; default in a new directory below the system's for temporary files. */
  readonly logPath: string | undefined
  /** Ends by itself after so long; undefined = at Ctrl-C. */
  readonly forMs: number | undefined
  /** Prints nothing but the ends: for scripts. */
  readonly quiet: boolean
}

/** Where the parts of a demo are. */
interface DemoPlaces extends LocalPlaces {
  readonly instance: string
  readonly logPath: string
  /** Of filter resources. */
  readonly filters: string
}

/** @returns exit code */
export async function runDemo(io: Io, options: DemoOptions): Promise<number> {
  const paint = paintFor(io)
  const lacks = obstacles(await examine({ pinPath: '/', logPath: options.logPath, ports: [] })).filter(
    // The demo mounts a bpffs of its own where there is none.
    (finding) => finding.name !== 'bpffs',
  )
  if (lacks.length > 0 || process.getuid?.() !== 0) {
    await writeText(io.stderr, cannotText(lacks, paint))
    return EXIT_FAILED
  }
  const directory = mkdtempSync(join(tmpdir(), 'sluice-demo-'))
  const places: DemoPlaces = {
    ...(await localPlaces()),
    instance: `demo-${process.pid}`,
    logPath: options.logPath ?? join(directory, 'events.log'),
    filters: join(directory, 'filters'),
  }
  const stop = new AbortController()
  const onSignal = () => stop.abort()
  io.signal.addEventListener('abort', onSignal, { once: true })
  if (io.signal.aborted) stop.abort()
  try {
    return await show(io, options, places, stop)
  } finally {
    io.signal.removeEventListener('abort', onSignal)
    rmSync(options.logPath === undefined ? places.filters : directory, { recursive: true, force: true })
  }
}

async function show(io: Io, options: DemoOptions, places: DemoPlaces, stop: AbortController): Promise<number> {
  const paint = paintFor(io)
  mkdirSync(dirname(places.logPath), { recursive: true })
  mkdirSync(places.filters)
  copyFileSync(packagePath(FIRST_FILTER), join(places.filters, basename(FIRST_FILTER)))
  await writeText(io.stdout, 'Building the lab ...\n')
  // Pods get their processes when the agent watches: it sees every flow from its first packet.
  await using lab = await Lab.up(options.labFile ?? packagePath(DEMO_LAB), { id: places.instance, workloads: false })
  using pins = temporaryPins(places.instance, lab.directory)
  const agentStop = new AbortController()
  const agent = await startAgent({
    overrides: agentSettings(lab, places, pins.path),
    signal: agentStop.signal,
  })
  const summary = new FlowSummary()
  try {
    if (agent.isRunning) {
      await writeText(io.stdout, bannerText(lab, places, options, paint))
      await lab.startWorkloads()
      const timer = options.forMs === undefined ? undefined : setTimeout(() => stop.abort(), options.forMs)
      using client = await ObserverClient.create({ server: places.grpc, withExtensions: true })
      if (options.quiet) await aborted(stop.signal)
      else await followFlows(io, client, summary, { signal: stop.signal, quiet: false })
      clearTimeout(timer)
      await writeText(io.stdout, '\nStopping ...\n')
      await lab.stopWorkloads()
      await sleep(SETTLE_MS)
      if (options.quiet) await sumUp(client, summary)
      await writeText(io.stdout, `\n${summary.text()}\n${ledgerText(await client.ledger(), paint, false)}\n`)
    }
  } finally {
    agentStop.abort()
    await agent.ended
  }
  if (!agent.isRunning) return EXIT_FAILED
  await writeText(io.stdout, `The log stays: ${places.logPath}\n`)
  return agent.ended
}

/** Settings of an agent that watches the lab's first node. */
function agentSettings(lab: Lab, places: DemoPlaces, pinPath: string): Record<string, unknown> {
  const node = lab.node()
  return {
    'node.name': node.name,
    'node.clusterName': lab.spec.cluster,
    'node.netns': node.netnsPath,
    'kernel.instance': places.instance,
    'kernel.pinPath': pinPath,
    'metadata.file': lab.metadataPath,
    'log.path': places.logPath,
    'filters.directory': places.filters,
    ...placeSettings(places),
  }
}

function bannerText(lab: Lab, places: DemoPlaces, options: DemoOptions, paint: Paint): string {
  const end = options.forMs === undefined ? 'Ctrl-C ends it' : `It ends by itself in ${options.forMs / 1000} s`
  const row = (name: string, value: string, hint: string) =>
    `  ${name.padEnd(8)} ${paint.cyan(value)}  ${paint.dim(hint)}\n`
  return [
    paint.bold(
      `${lab.pods.length} pods in ${new Set(lab.pods.map((pod) => pod.namespace)).size} namespaces are up, the agent watches them. `,
    ),
    `${end}, and leaves nothing but the log.\n\n`,
    row('log', places.logPath, 'flows as JSON lines'),
    row('filters', places.filters, `copy examples/filters/*.yaml there; sluice filters list --server ${places.grpc}`),
    row('metrics', `http://${places.metrics}/metrics`, 'for Prometheus, or curl'),
    row('gRPC', places.grpc, `sluice observe --server ${places.grpc} -f, hubble observe --server ${places.grpc}`),
    row('health', `http://${places.health}/readyz`, ''),
    row('lab', lab.node().netnsPath, `sluice lab exec ${lab.id} ops/prober-0 -- ping -c1 ${lab.pods[0]?.ips[0] ?? ''}`),
    ...places.moved.map((text) => `  ${paint.yellow(text)}\n`),
    ...lab.warnings.map((text) => `  ${paint.yellow(`left out: ${text}`)}\n`),
    '\n',
  ].join('')
}

function cannotText(lacks: readonly { name: string; detail: string; fix: string }[], paint: Paint): string {
  const lines = [paint.red('The demo cannot run here.')]
  for (const { name, detail, fix } of lacks) lines.push(`  missing: ${name}: ${detail}`, `      fix: ${fix}`)
  if (process.getuid?.() !== 0)
    lines.push('  missing: root: the lab makes network namespaces', '      fix: sudo npm run demo')
  lines.push(
    '',
    'Recorded flows of it can be shown instead, without eBPF and without root:',
    `  ${paint.cyan(`sluice replay ${packagePath(DEMO_RECORDING)}`)}`,
    '',
  )
  return lines.join('\n')
}
