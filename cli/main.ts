import { runCli } from './program.ts'

/** Runs the command line of this process and ends it with its exit code. */
export async function main(): Promise<void> {
  const stop = new AbortController()
  let asked = 0
  const onSignal = () => {
    stop.abort()
    // Whoever asks a third time does not want to wait for the clean-up.
    if (++asked >= 3) process.exit(130)
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  // The reader has gone (`sluice observe | head`): nothing is left to do.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    stop.abort()
  })
  process.exitCode = await runCli(process.argv.slice(2), {
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    env: process.env,
    now: Date.now,
    signal: stop.signal,
  })
  process.removeListener('SIGINT', onSignal)
  process.removeListener('SIGTERM', onSignal)
}
