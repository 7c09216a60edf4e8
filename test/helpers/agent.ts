import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ObserverClient } from '../../api/client.ts'
import type { GetLedgerResponse } from '../../api/gen/sluice/v1/agent.ts'
import { packageRoot } from '../../lab/index.ts'
import { samples } from './metric-lines.ts'

/** Where the agents of tests pin; each below a name of its own. */
export const TEST_PIN_ROOT = '/sys/fs/bpf/sluice-e2e'
const START_MS = 20_000
const STOP_MS = 15_000
/** Own log lines that are kept; an agent under test says some dozen. */
const KEPT_LINES = 10_000

/** A line of the agent's own log. */
export interface OwnLogLine {
  readonly level: string
  readonly msg: string
  readonly [field: string]: unknown
}

export interface TestAgentOptions {
  /** Short, of lower-case letters: names pins and files. */
  readonly name: string
  /** Keys of the configuration to values; what is not given listens on free ports and writes to a new directory. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>
  /** Command and arguments that run the agent, for other namespaces or rights: [`setpriv`, `--reuid`, `1000`, `--`]. */
  readonly wrapper?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  /** Runs another build than this one. */
  readonly command?: readonly string[]
  /** Parent of the instance's pins. Default: TEST_PIN_ROOT */
  readonly pinRoot?: string
}

/** Builds what is older than its source, once in a process, and returns the command that runs Sluice. */
export function sluiceCommand(): string[] {
  const given = process.env['SLUICE_TEST_BIN']
  if (given !== undefined) return [process.execPath, given]
  if (!isBuilt)
    execFileSync('bash', [join(packageRoot(), 'scripts', 'build.sh')], { stdio: ['ignore', 'ignore', 'pipe'] })
  isBuilt = true
  return [process.execPath, join(packageRoot(), 'bin', 'sluice.js')]
}
let isBuilt = false

/** Result of a command of the `sluice` command line. */
export interface CliResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs `sluice` to its end, or interrupts it after a time: what follows flows has no end of its own. */
export async function runSluice(
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; timeoutMs?: number } = {},
): Promise<CliResult> {
  const [command, ...before] = sluiceCommand()
  const child = spawn(command!, [...before, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
    ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs, killSignal: 'SIGINT' as const }),
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const [code] = await once(child, 'close')
  return { code: code ?? -1, stdout, stderr }
}

/**
 * An agent as a user has it: a process of `bin/sluice.js agent`. start(), stop() and kill() may follow each other; pins
 * and files stay between them and go with dispose. The agent is killed when the test's process is, and what that
 * leaves is removed by the next one.
 */
export class TestAgent implements AsyncDisposable {
  readonly instance: string
  readonly directory: string
  readonly pinRoot: string
  /** All lines of the own log since the first start, newest last. */
  readonly ownLog: OwnLogLine[] = []
  /** What was on standard error and is no line of the log: a crash of the process. */
  noise = ''
  grpc = ''
  metricsUrl = ''
  health = ''
  readonly #options: TestAgentOptions
  #child: ChildProcess | undefined
  #closed: Promise<number> = Promise.resolve(0)
  #rest = ''

  constructor(options: TestAgentOptions) {
    removeStale()
    this.#options = options
    this.instance = `e2e-${options.name}-${process.pid}`
    this.pinRoot = options.pinRoot ?? TEST_PIN_ROOT
    this.directory = mkdtempSync(join(tmpdir(), `sluice-e2e-${options.name}-`))
  }

  static async start(options: TestAgentOptions): Promise<TestAgent> {
    const agent = new TestAgent(options)
    try {
      await agent.start()
    } catch (error) {
      await agent[Symbol.asyncDispose]()
      throw error
    }
    return agent
  }

  /** Resolves when all of it runs. @throws Error with what the agent said when it ends before */
  async start(settings: Readonly<Record<string, string | number | boolean>> = {}): Promise<void> {
    const from = this.ownLog.length
    this.#spawn(settings)
    const deadline = performance.now() + START_MS
    for (;;) {
      const line = this.ownLog.slice(from).find(({ msg }) => msg === 'agent is running')
      if (line) return this.#place(line as unknown as Running)
      if (!this.isRunning || performance.now() > deadline) break
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const code = this.isRunning ? 'none yet' : await this.#closed
    throw new Error(`The agent does not run, exit code ${code}: ${this.said(from)}`)
  }

  /** Asks it to end. @returns exit code */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    this.#child?.kill(signal)
    const timer = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_MS)
    const code = await this.#closed
    clearTimeout(timer)
    return code
  }

  /** kill -9; it has ended when this resolves. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#closed
  }

  get isRunning(): boolean {
    return this.#child !== undefined
  }

  /** @throws Error when it does not run */
  get pid(): number {
    const pid = this.#child?.pid
    if (pid === undefined) throw new Error('The agent does not run')
    return pid
  }

  get logPath(): string {
    return String(this.#options.settings?.['log.path'] ?? join(this.directory, 'events.log'))
  }

  /** A client over TCP; the caller disposes of it. */
  client(): Promise<ObserverClient> {
    return ObserverClient.create({ server: this.grpc, withExtensions: true })
  }

  async ledger(): Promise<GetLedgerResponse> {
    using client = await this.client()
    return await client.ledger()
  }

  /** A counter of the kernel's half of the ledger. */
  async kernelCounter(name: string): Promise<number> {
    return Number((await this.ledger()).kernel.find((each) => each.name === name)?.value)
  }

  /**
   * Waits until every packet is in the log: idle flows have left the kernel's table, and no flow waits for the disk.
   * With the default time-out of idle flows that takes a minute.
   */
  async settled(timeoutMs = 20_000): Promise<void> {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      const open = (await this.metrics())['sluice_flow_table_flows']
      const waiting = (await this.ledger()).stages.find(({ stage }) => stage === 'json-log')?.waiting
      if (open === 0 && (waiting === 0n || waiting === undefined)) return
      if (performance.now() > deadline) throw new Error(`${open} flows are open, ${waiting} wait for the log`)
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }

  /** Samples of /metrics, `name{labels}` to value. */
  async metrics(): Promise<Record<string, number>> {
    return samples(await (await fetch(this.metricsUrl)).text())
  }

  async ready(): Promise<{ readonly ok: boolean; readonly text: string }> {
    const response = await fetch(`http://${this.health}/readyz`)
    return { ok: response.ok, text: await response.text() }
  }

  /** What `sluice status -o wide` is made of: state and message by part. */
  async parts(): Promise<Record<string, { readonly state: number; readonly message: string }>> {
    using client = await this.client()
    const { components } = await client.agentStatus()
    return Object.fromEntries(components.map(({ name, state, message }) => [name, { state, message }]))
  }

  /** Everything it said, for messages of failures. */
  said(from = 0): string {
    const lines = this.ownLog.slice(from).map((line) => JSON.stringify(line))
    return `\n${[...lines.slice(-20), this.noise].join('\n')}`
  }

  get pinDirectory(): string {
    return join(this.pinRoot, this.instance)
  }

  /** Names of the pins below this instance. */
  pins(): string[] {
    return existsSync(this.pinDirectory) ? readdirSync(this.pinDirectory, { recursive: true }).map(String).sort() : []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
    rmSync(this.pinDirectory, { recursive: true, force: true })
    removeEmpty(this.pinRoot)
    rmSync(this.directory, { recursive: true, force: true })
  }

  #spawn(more: Readonly<Record<string, string | number | boolean>>): void {
    const settings = {
      'node.name': 'node-1',
      'kernel.instance': this.instance,
      'kernel.pinPath': this.pinRoot,
      'log.path': join(this.directory, 'events.log'),
      'metrics.listen': '127.0.0.1:0',
      'api.listen': '127.0.0.1:0',
      'health.listen': '127.0.0.1:0',
      ...this.#options.settings,
      ...more,
    }
    const flags = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`])
    const { wrapper = [], env, command: given = sluiceCommand() } = this.#options
    const [command, ...args] = ['setpriv', '--pdeathsig', 'KILL', '--', ...wrapper, ...given, 'agent', ...flags]
    const child = spawn(command!, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } })
    this.#child = child
    this.#closed = once(child, 'close').then(([code, signal]) => {
      this.#child = undefined
      return code ?? (signal === 'SIGKILL' ? 137 : 143)
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#hear(text))
  }

  #hear(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop()!
    for (const line of lines) {
      try {
        this.ownLog.push(JSON.parse(line))
      } catch {
        this.noise += `${line}\n`
      }
    }
    if (this.ownLog.length > KEPT_LINES) this.ownLog.splice(0, this.ownLog.length - KEPT_LINES)
  }

  #place(line: Running): void {
    this.grpc = line.grpc[0] ?? ''
    this.metricsUrl = line.metrics ?? ''
    this.health = line.health
  }
}

interface Running {
  readonly grpc: readonly string[]
  readonly metrics?: string
  readonly health: string
}

/** Pins of agents whose tests were killed. */
function removeStale(): void {
  if (!existsSync(TEST_PIN_ROOT)) return
  for (const name of readdirSync(TEST_PIN_ROOT)) {
    const pid = /^e2e-.*-(\d+)$/.exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(TEST_PIN_ROOT, name), { recursive: true, force: true })
  }
}

function removeEmpty(path: string): void {
  try {
    rmdirSync(path)
  } catch {
    // Another test's agent pins there, or nobody ever did.
  }
}
