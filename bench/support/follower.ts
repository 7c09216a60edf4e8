/**
 * A client in a process of its own: `node --import tsx follower.ts SERVER REQUEST`, the request as JSON. Prints a line when
 * the call is under way, one with what was read when it has ended; closing standard input ends it.
 */
import { type RequestFields, readFlows } from './flow-reader.ts'

const [server, request] = process.argv.slice(2)
const fields = JSON.parse(request!) as RequestFields
const started = performance.now()
const reader = readFlows(server!, fields)
process.stdin.resume().once('end', () => reader.close())
process.stdout.write('reading\n')
const counts = await reader.ended
process.stdout.write(`${JSON.stringify({ ...counts, ms: performance.now() - started })}\n`)
process.exit(0)
