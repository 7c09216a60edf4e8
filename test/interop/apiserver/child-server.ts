import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

export interface ServerCommand {
  readonly path: string
  readonly args: readonly string[]
  /** Relative names of sockets and files are found here. */
  readonly cwd: string
  /** Output is appended. */
  readonly logFile: string
}

/**
 * A server of another program. The kernel ends it when the process that started it dies, however that happens
 * (PR_SET_PDEATHSIG), so that a killed test run leaves no server behind.
 */
export class ChildServer {
  readonly #command: ServerCommand
  readonly #child: ChildProcess
  readonly #exited: Promise<void>

  constructor(command: ServerCommand) {
    this.#command = command
    const log = openSync(command.logFile, 'a')
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', command.path, ...command.args], {
      cwd: command.cwd,
      env: { PATH: process.env['PATH'] ?? '', HOME: command.cwd, TZ: 'UTC' },
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    this.#exited = new Promise((resolve) => {
      this.#child.once('exit', () => resolve())
      this.#child.once('error', () => resolve())
    })
  }

  get isRunning(): boolean {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** @throws Error with the end of its log when it ends or is not ready in time */
  async ready(isReady: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs
    while (!(await isReady())) {
      if (!this.isRunning) throw new Error(`${this.#command.path} ended at its start:\n${await this.logTail()}`)
      if (performance.now() > deadline) {
        throw new Error(`${this.#command.path} is not ready after ${timeoutMs} ms:\n${await this.logTail()}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** Ends it, by force after 10 s. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (!this.isRunning) return
    this.#child.kill(signal)
    const force = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    await this.#exited
    clearTimeout(force)
  }

  async logTail(): Promise<string> {
    const text = await readFile(this.#command.logFile, 'utf8').catch(() => '')
    return text.slice(-4000)
  }
}
