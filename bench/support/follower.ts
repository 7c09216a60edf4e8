/**
 * A client in a process of its own: `node --import tsx follower.ts SERVER REQUEST`, the request as JSON. Prints a line when
 * the call is under way, one with what was read when it has ended; closing standard input ends it.
 */
import { type RequestFields, readFlows } from './flow-reader.ts'

const QUIET_MS = 300

const [server, request] = process.argv.slice(2)
const fields = JSON.parse(request!) as RequestFields
const started = performance.now()
const reader = readFlows(server!, fields)
process.stdin.resume().once('end', () => void closeWhenQuiet())
process.stdout.write('reading\n')

/** What the server had for this client when it was told to end still counts: a client may be a little behind. */
async function closeWhenQuiet(): Promise<void> {
  for (let last = -1; last !== reader.counts.flows; ) {
    last = reader.counts.flows
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS))
  }
  reader.close()
}

const counts = await reader.ended
process.stdout.write(`${JSON.stringify({ ...counts, ms: performance.now() - started })}\n`)
process.exit(0)
