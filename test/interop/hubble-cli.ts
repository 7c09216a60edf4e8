import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Hubble's programs that are built here, each from a module of its own that pins Cilium's version. */
export type Program = 'hubble-1.19' | 'hubble-1.18' | 'hubble-relay-1.19'

const PACKAGES: Readonly<Record<Program, { module: string; package: string }>> = {
  'hubble-1.19': { module: 'hubble-1.19', package: 'github.com/cilium/cilium/hubble' },
  'hubble-1.18': { module: 'hubble-1.18', package: 'github.com/cilium/cilium/hubble' },
  'hubble-relay-1.19': { module: 'hubble-1.19', package: 'github.com/cilium/cilium/hubble-relay' },
}

/** Why these tests cannot run here; undefined: they can. */
export const missing = spawnSync('go', ['version']).status === 0 ? undefined : 'needs Go 1.25 or later'

/** Builds a program, which takes minutes at first and nothing later. @returns its path */
export function build(program: Program): string {
  const { module, package: goPackage } = PACKAGES[program]
  const binary = fileURLToPath(new URL(`./bin/${program}`, import.meta.url))
  const folder = fileURLToPath(new URL(`./${module}/`, import.meta.url))
  execFileSync('go', ['build', '-trimpath', '-ldflags=-s -w', '-o', binary, goPackage], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return binary
}

export interface Output {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

/** An environment in which no setting of the person who runs the tests is found. */
const ENV = { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent', TZ: 'UTC' }

/** One hubble command line, its server given once. */
export class Hubble {
  readonly binary: string
  readonly #flags: readonly string[]

  constructor(binary: string, flags: readonly string[]) {
    this.binary = binary
    this.#flags = flags
  }

  /** Runs to its end, whatever the exit code. */
  async run(...args: string[]): Promise<Output> {
    try {
      const { stdout, stderr } = await run(this.binary, [...args, ...this.#flags], {
        env: ENV,
        timeout: 60_000,
        maxBuffer: 1 << 28,
      })
      return { stdout, stderr, code: 0 }
    } catch (error) {
      const { stdout, stderr, code } = error as { stdout: string; stderr: string; code: number }
      return { stdout, stderr, code }
    }
  }

  /** Lines of a run that must succeed and say nothing on stderr. */
  async lines(...args: string[]): Promise<string[]> {
    const { stdout, stderr, code } = await this.run(...args)
    if (code !== 0 || stderr !== '') throw new Error(`hubble ${args.join(' ')} exited with ${code}: ${stderr}`)
    return stdout.split('\n').filter((line) => line !== '')
  }

  /** Starts a run that does not end by itself. */
  start(...args: string[]): { lines: string[]; stop: () => Promise<number | null> } {
    const child = spawn(this.binary, [...args, ...this.#flags], { env: ENV, stdio: ['ignore', 'pipe', 'pipe'] })
    const lines: string[] = []
    let rest = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (rest + chunk).split('\n')
      rest = parts.pop() ?? ''
      lines.push(...parts)
    })
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
    return {
      lines,
      stop: () => {
        child.kill('SIGINT')
        return exited
      },
    }
  }
}
