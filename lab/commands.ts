import { type ChildProcess, spawn } from 'node:child_process'
import { SluiceError } from '../base/errors.ts'

/** How a command of the lab ended. */
export interface CommandResult {
  /** Exit code; 128 + signal number is not used: a killed command has code -1. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** What a command may print before it is stopped: the lab's own commands print little, those of tests may not. */
const OUTPUT_LIMIT = 16 * 1024 * 1024

/** Arguments that run a command inside a network namespace: nsenter keeps the mounts, `ip netns exec` hides bpffs. */
export function inNetns(netnsPath: string, command: string, args: readonly string[]): [string, string[]] {
  return ['nsenter', [`--net=${netnsPath}`, '--', command, ...args]]
}

/**
 * Runs a command to its end.
 *
 * @throws SluiceError SLUICE_LAB when it cannot be started, when it prints more than 16 MiB, or when `signal` fires
 */
export function runCommand(
  command: string,
  args: readonly string[],
  options: { input?: string; signal?: AbortSignal; onStart?: (child: ChildProcess) => void } = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], signal: options.signal })
    options.onStart?.(child)
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    let size = 0
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      size += chunk.length
      if (size > OUTPUT_LIMIT) {
        child.kill('SIGKILL')
        reject(new SluiceError('SLUICE_LAB', `Stopped "${command}": it printed more than ${OUTPUT_LIMIT} bytes`))
      } else into.push(chunk)
    }
    child.stdout.on('data', collect(stdout))
    child.stderr.on('data', collect(stderr))
    child.on('error', (cause: NodeJS.ErrnoException) => reject(startError(command, cause)))
    child.on('close', (code) =>
      resolve({
        code: code ?? -1,
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      }),
    )
    // A command that ends before it reads its input is not an error of its own: its exit code says more.
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
  })
}

function startError(command: string, cause: NodeJS.ErrnoException): SluiceError {
  const text = cause.code === 'ENOENT' ? `"${command}" is not installed` : `cannot run "${command}": ${cause.message}`
  return new SluiceError('SLUICE_LAB', `The lab stopped: ${text}`, {
    cause,
    remedy: 'The lab needs root, and `ip` and `tc` (Debian: iproute2), `nsenter` (util-linux), `ping` (iputils-ping)',
  })
}

/** Runs `ip -batch` in the root namespace. @throws SluiceError SLUICE_LAB with the line that failed */
export function ipBatch(lines: readonly string[]): Promise<void> {
  return batch('ip', ['-batch', '-'], lines)
}

/**
 * Inside a namespace: writes kernel settings, then runs `ip -batch`. One process for each half.
 *
 * @param settings `net/ipv4/ip_forward` to `1`
 */
export async function configureNetns(
  netnsPath: string,
  settings: Readonly<Record<string, string>>,
  lines: readonly string[],
): Promise<void> {
  if (lines.length > 0) await batch(...inNetns(netnsPath, 'ip', ['-batch', '-']), lines)
  const writes = Object.entries(settings).map(([name, value]) => `echo ${value} > /proc/sys/${name}`)
  if (writes.length > 0) await batch(...inNetns(netnsPath, 'sh', ['-e']), writes)
}

async function batch(command: string, args: readonly string[], lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return
  const { code, stderr } = await runCommand(command, args, { input: `${lines.join('\n')}\n` })
  if (code === 0) return
  const line = /Command failed -:(\d+)/.exec(stderr)?.[1]
  const failed = line ? ` at "${lines[Number(line) - 1]}"` : ''
  throw new SluiceError('SLUICE_LAB', `Cannot set up the lab${failed}: ${stderr.trim().replaceAll('\n', '; ')}`)
}
