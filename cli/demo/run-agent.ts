import type { RunOptions } from '../../agent/main.ts'

/** An agent in this process. */
export interface RunningAgent {
  /** False when it could not start; its log says why. */
  readonly isRunning: boolean
  /** Its exit code, when it has stopped. */
  readonly ended: Promise<number>
}

/** Starts an agent and waits until all of it runs or it has given up. */
export async function startAgent(options: Omit<RunOptions, 'dryRun'>): Promise<RunningAgent> {
  const { runAgent } = await import('../../agent/main.ts')
  const { onRunning } = options
  let started: () => void = () => {}
  const running = new Promise<boolean>((resolve) => {
    started = () => resolve(true)
  })
  const ended = runAgent({
    ...options,
    dryRun: false,
    onRunning: (agent) => {
      onRunning?.(agent)
      started()
    },
  })
  const isRunning = await Promise.race([running, ended.then(() => false)])
  return { isRunning, ended }
}
