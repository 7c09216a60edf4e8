import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { type GetFlowsRequest, GetFlowsResponse } from '../../api/gen/observer/observer.ts'
import { errorText, SluiceError } from '../../base/errors.ts'
import type { Io } from '../io.ts'
import { jsonExtensions } from '../output/flow-extensions.ts'
import type { TimePoint } from './time.ts'

/** Longest line that is read: a flow with full L7 headers and 256 labels on both ends stays well below. */
const MAX_LINE = 1 << 20
/** Flows that --last keeps. */
const MAX_LAST = 1_000_000n
/** Unreadable lines that are told one by one; the rest is counted. */
const MAX_WARNINGS = 10

/**
 * Flows of a file of JSON lines: the agent's log, Hubble's export, `observe -o json`. Filters, --first, --last, --since
 * and --until mean what they mean on a server.
 *
 * @param path `-` is standard input
 * @param warn told of lines that cannot be read; they are left out
 * @throws SluiceError SLUICE_REPLAY_INVALID when the file cannot be read, SLUICE_FILTER_INVALID for a bad filter
 */
export async function* readFlowFile(
  io: Io,
  path: string,
  request: GetFlowsRequest,
  warn: (text: string) => unknown,
): AsyncGenerator<GetFlowsResponse> {
  if (!request.first && request.number > MAX_LAST) {
    throw new SluiceError('SLUICE_USAGE', `Cannot use --last ${request.number} with --input-file: at most ${MAX_LAST}`)
  }
  const { compileFlowTest } = await import('./flow-test.ts')
  const isWanted = compileFlowTest(request.whitelist, request.blacklist)
  const last: GetFlowsResponse[] = []
  const limit = Number(request.number)
  let sent = 0
  for await (const response of parseLines(io, path, warn)) {
    if (response.flow) {
      const time = response.time ?? response.flow.time
      if (request.since && time && isBefore(time, request.since)) continue
      if (request.until && time && isBefore(request.until, time)) continue
      if (!isWanted(response.flow)) continue
    }
    if (limit === 0 || request.first || request.since) {
      yield response
      if (response.flow && limit > 0 && ++sent === limit) return
      continue
    }
    last.push(response)
    if (last.length > limit) last.shift()
  }
  yield* last
}

async function* parseLines(io: Io, path: string, warn: (text: string) => unknown): AsyncGenerator<GetFlowsResponse> {
  const input = path === '-' ? io.stdin : createReadStream(path)
  const failure = new Promise<never>((_, reject) => input.once('error', reject))
  failure.catch(() => {})
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
  const stop = () => lines.close()
  io.signal.addEventListener('abort', stop, { once: true })
  let number = 0
  let unreadable = 0
  try {
    for await (const line of lines) {
      number++
      const response = parseLine(line)
      if (typeof response === 'string') {
        if (++unreadable <= MAX_WARNINGS) await warn(`${path}:${number}: left out: ${response}`)
      } else if (response) yield response
    }
    // A file that cannot be read ends the lines without an error of theirs.
    await Promise.race([failure, Promise.resolve()])
  } catch (cause) {
    throw new SluiceError('SLUICE_REPLAY_INVALID', `Cannot read "${path}": ${errorText(cause)}`, { cause })
  } finally {
    io.signal.removeEventListener('abort', stop)
    if (unreadable > MAX_WARNINGS) await warn(`${path}: ${unreadable} lines left out in all`)
    lines.close()
  }
}

/** @returns the response, undefined for an empty line or another kind of event, or why the line cannot be read */
export function parseLine(line: string): GetFlowsResponse | string | undefined {
  if (line.trim() === '') return undefined
  if (line.length > MAX_LINE) return `${line.length} characters, at most ${MAX_LINE}`
  try {
    const value: unknown = JSON.parse(line)
    if (!isObject(value)) return 'not a JSON object'
    // Hubble's old form is the flow alone.
    const bare = !('flow' in value) && 'verdict' in value
    const flow = bare ? value : value['flow']
    // Over the wire an Any is bytes, in JSON it is an object of its type: it is kept as it is.
    const { extensions, ...fields } = isObject(flow) ? flow : {}
    const response = GetFlowsResponse.fromJSON({
      ...(bare ? pick(value) : value),
      ...(flow === undefined ? {} : { flow: fields }),
    })
    if (response.flow && isObject(extensions)) response.flow.extensions = jsonExtensions(extensions)
    return response.flow || response.lost_events || response.node_status ? response : undefined
  } catch (error) {
    return errorText(error)
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function pick(flow: object): object {
  const { time, node_name } = flow as { time?: unknown; node_name?: unknown }
  return { ...(time === undefined ? {} : { time }), ...(node_name === undefined ? {} : { node_name }) }
}

function isBefore(a: TimePoint, b: TimePoint): boolean {
  return a.seconds < b.seconds || (a.seconds === b.seconds && a.nanos < b.nanos)
}
