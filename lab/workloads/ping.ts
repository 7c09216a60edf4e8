import { spawn } from 'node:child_process'
import type { WorkContext } from './names.ts'
import type { RunOf } from './roles.ts'

/** Runs the system's ping, a few echoes at a time: it ends by itself whatever becomes of this process. */
export function runPing(run: RunOf<'ping'>, { names, report }: WorkContext): void {
  let busy = false
  setInterval(async () => {
    if (busy) return
    busy = true
    const [ip] = await names.resolve(run.to, run.family)
    if (ip === undefined) {
      busy = false
      return
    }
    const args = ['-n', '-q', '-c', String(run.count), '-i', '0.3', '-W', '1', '-s', String(run.bytes), ip]
    const child = spawn('ping', args, { stdio: 'ignore' })
    child.on('error', (error) => report('ping', error))
    child.on('close', () => {
      busy = false
    })
    child.on('error', () => {
      busy = false
    })
  }, run.everyMs)
}
