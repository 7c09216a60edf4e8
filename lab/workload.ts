import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { SluiceError } from '../base/errors.ts'
import type { LabHost } from './host.ts'
import type { WorkloadConfig } from './workloads/roles.ts'

/** Small heaps: a lab of a dozen pods is a dozen processes. */
const NODE_FLAGS = ['--max-semi-space-size=1', '--max-old-space-size=64', '--v8-pool-size=1']

/**
 * Starts a pod's process. It gets its work as the first line of its input, and ends when that input does: when the
 * lab stops it, or when the lab's owner is killed.
 *
 * @param labId in its environment as SLUICE_LAB
 * @param logFd where its messages go
 */
export async function startWorkload(
  host: LabHost,
  program: string,
  { labId, logFd }: { readonly labId: string; readonly logFd: number },
  config: WorkloadConfig,
): Promise<void> {
  const child = host.run(process.execPath, [...NODE_FLAGS, program], {
    stdio: ['pipe', 'ignore', logFd],
    // Tells whose process it is to whoever finds it in a list.
    env: { PATH: process.env['PATH'], SLUICE_LAB: labId },
  })
  await once(child, 'spawn').catch((cause) => {
    throw new SluiceError('SLUICE_LAB', `Cannot start the process of "${config.name}": ${cause.message}`, { cause })
  })
  const input = child.stdin as Writable
  // A process that ended early is in the lab's log; writing to it must not end the lab.
  input.on('error', () => {})
  input.write(`${JSON.stringify(config)}\n`)
}
