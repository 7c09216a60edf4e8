import type { ChildProcess } from 'node:child_process'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LabHost } from '../../lab/index.ts'

const SOURCES = fileURLToPath(new URL('../traffic/', import.meta.url))

/** A command that hangs (a neighbour that is not found, a full socket) must not hold up a bench for ever. */
const COMMAND_MS = 300_000

let built: string | undefined

/** Compiles bench/traffic once in a process. @returns path of the program; it goes when this process ends */
export function trafficProgram(): string {
  if (built !== undefined) return built
  const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-traffic-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  const program = join(directory, 'traffic')
  const sources = readdirSync(SOURCES).filter((name) => name.endsWith('.c'))
  execFileSync('cc', ['-O2', '-o', program, ...sources.map((name) => join(SOURCES, name))], { stdio: 'inherit' })
  built = program
  return program
}

/** What a command of the traffic program says at its end. */
export interface TrafficReport {
  /** Requests, connections, datagrams. */
  readonly count: number
  readonly bytes: number
  /** Wall time of the work alone. */
  readonly ns: number
  /** CPU time of this program in it. */
  readonly cpu_ns: number
  /** connections: turns that began more than 50 ms behind. */
  readonly late?: number
}

/** Runs a command of bench/traffic/main.c in a namespace to its end. @throws Error with what it said when it fails */
export async function runTraffic(host: LabHost, command: string, ...args: (string | number)[]): Promise<TrafficReport> {
  const { code, stdout, stderr } = await host.exec(trafficProgram(), [command, ...args.map(String)], {
    signal: AbortSignal.timeout(COMMAND_MS),
  })
  if (code !== 0) throw new Error(`traffic ${command} ended with ${code}: ${stderr}`)
  return JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as TrafficReport
}

/** A server that runs until it is ended, or its lab is. */
export interface TrafficServer extends AsyncDisposable {
  readonly pid: number
}

/** @param kind `echo`, `sink`, `answer` for TCP, `datagrams` for UDP */
export async function serveTraffic(host: LabHost, kind: string, port: number): Promise<TrafficServer> {
  const child: ChildProcess = host.run(trafficProgram(), ['serve', kind, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const closed = once(child, 'close')
  await Promise.race([once(child.stdout!, 'data'), closed])
  if (child.exitCode !== null || child.pid === undefined) throw new Error(`traffic serve ${kind} did not start`)
  return {
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await closed
    },
  }
}
