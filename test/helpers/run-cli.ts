import { Readable } from 'node:stream'
import type { Io } from '../../cli/io.ts'
import { runCli } from '../../cli/program.ts'

export interface CliResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** One run of the command line, in this process. */
export async function run(
  args: readonly string[],
  options: { stdin?: string; env?: NodeJS.ProcessEnv; isTTY?: boolean; nowMs?: number; signal?: AbortSignal } = {},
): Promise<CliResult> {
  const texts = { stdout: '', stderr: '' }
  const output = (name: keyof typeof texts) => ({
    write: (text: string) => {
      texts[name] += text
      return true
    },
    once: () => undefined,
    removeListener: () => undefined,
    ...(options.isTTY === undefined ? {} : { isTTY: options.isTTY }),
  })
  const io: Io = {
    stdout: output('stdout'),
    stderr: output('stderr'),
    stdin: Readable.from([Buffer.from(options.stdin ?? '')]),
    env: options.env ?? {},
    now: () => options.nowMs ?? Date.now(),
    signal: options.signal ?? new AbortController().signal,
  }
  const code = await runCli(args, io)
  return { code, ...texts }
}
