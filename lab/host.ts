import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type CommandResult, inNetns, runCommand } from './commands.ts'
import { NETNS_DIR } from './state.ts'

/** How long processes have to end by themselves before they are killed. */
const STOP_MS = 1000

/** Command and arguments that run a command in a namespace of this name. */
export function enterArguments(netns: string, command: string, args: readonly string[]): [string, string[]] {
  return inNetns(join(NETNS_DIR, netns), command, args)
}

/** A network namespace of the lab and the processes that run in it. */
export class LabHost {
  readonly netns: string
  readonly netnsPath: string
  readonly #children = new Set<ChildProcess>()

  constructor(netns: string) {
    this.netns = netns
    this.netnsPath = join(NETNS_DIR, netns)
  }

  /** Runs a command in the namespace to its end; a code other than 0 is the caller's to judge. */
  exec(
    command: string,
    args: readonly string[] = [],
    options: { input?: string; signal?: AbortSignal } = {},
  ): Promise<CommandResult> {
    return runCommand(...inNetns(this.netnsPath, command, args), {
      ...options,
      onStart: (child) => this.#track(child),
    })
  }

  /** Starts a command in the namespace; it ends with the lab at the latest. */
  run(
    command: string,
    args: readonly string[] = [],
    options: { stdio?: StdioOptions; env?: NodeJS.ProcessEnv } = {},
  ): ChildProcess {
    const child = spawn(...inNetns(this.netnsPath, command, args), {
      stdio: options.stdio ?? 'ignore',
      env: options.env ?? process.env,
    })
    // Without a listener a command that cannot be started would end the process; `exitCode` tells the caller.
    child.on('error', () => {})
    this.#track(child)
    return child
  }

  /** Ends what `run` and `exec` started: asks, then kills after a second. */
  async stop(): Promise<void> {
    const children = [...this.#children]
    if (children.length === 0) return
    const ended = Promise.all(children.map((child) => once(child, 'close').catch(() => {})))
    for (const child of children) child.kill('SIGTERM')
    const forced = new AbortController()
    await Promise.race([ended, sleep(STOP_MS, undefined, { signal: forced.signal }).catch(() => {})])
    forced.abort()
    for (const child of this.#children) child.kill('SIGKILL')
    if (this.#children.size > 0) await ended
  }

  #track(child: ChildProcess): void {
    this.#children.add(child)
    child.once('close', () => this.#children.delete(child))
    child.once('error', () => this.#children.delete(child))
  }
}
