import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { ReadFlows, RequestFields } from './flow-reader.ts'

/** CPU time of a process with all its threads, nanoseconds: user and system, as the scheduler counts it. */
export function cpuNsOf(pid: number): number {
  let sum = 0
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      sum += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0])
    } catch {
      // The thread has ended meanwhile.
    }
  }
  return sum
}

/** Says so where a figure was measured while others used the machine. */
export function load(): string {
  return `load ${loadavg()[0]!.toFixed(1)}`
}

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** A GetFlows client in another process. */
export class Follower {
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>
  #said = ''

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#closed = once(child, 'close')
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text
    })
  }

  /** Resolves when the call is under way. */
  static async start(server: string, request: RequestFields): Promise<Follower> {
    const script = fileURLToPath(new URL('./follower.ts', import.meta.url))
    const json = JSON.stringify(request, (_key, value) => (typeof value === 'bigint' ? Number(value) : value))
    const child = spawn(process.execPath, ['--import', 'tsx', script, server, json], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const follower = new Follower(child)
    while (!follower.#said.includes('reading')) {
      if (child.exitCode !== null) throw new Error('The follower ended before it began')
      await sleep(5)
    }
    return follower
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Ends the call. */
  stop(): Promise<ReadFlows & { ms: number }> {
    this.#child.stdin!.end()
    return this.ended()
  }

  /** Waits for the server to end the call. */
  async ended(): Promise<ReadFlows & { ms: number }> {
    await this.#closed
    return JSON.parse(this.#said.trimEnd().split('\n').at(-1)!) as ReadFlows & { ms: number }
  }
}
