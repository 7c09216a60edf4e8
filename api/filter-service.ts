import { status, type UntypedServiceImplementation } from '@grpc/grpc-js'
import { errorText, SluiceError } from '../base/errors.ts'
import { disposable } from '../base/lifetime.ts'
import type { Calls, StreamCall } from './calls.ts'
import {
  type ExplainFiltersRequest,
  type ExplainFiltersResponse,
  ExplainSource,
  type ListFiltersRequest,
  type ListFiltersResponse,
} from './gen/sluice/v1/filters.ts'
import { type RpcError, rpcError } from './rpc-error.ts'

/** What sluice.v1.Filters answers from; filled by the wiring, which knows every part. */
export interface FilterInfo {
  list(): ListFiltersResponse | Promise<ListFiltersResponse>
  /**
   * Yields news of the progress and, last, one result.
   *
   * @param request within EXPLAIN_LIMITS, zeros replaced by their defaults
   * @param signal fires when nobody waits for the answer any more
   * @throws SluiceError SLUICE_FILTER_INVALID, SLUICE_USAGE: what the client sent cannot be explained
   */
  explain(request: ExplainFiltersRequest, signal: AbortSignal): AsyncIterable<ExplainFiltersResponse>
}

/** What one ExplainFilters may ask for. */
export const EXPLAIN_LIMITS = {
  /** At once, all clients together: each takes up to a slice of every turn of the event loop, and some 30 MB. */
  calls: 2,
  files: 100,
  /** All files together, characters; a message of the server's has at most 1 MiB. */
  fileChars: 900_000,
  defaultFlows: 200_000,
  maxFlows: 1_000_000,
  defaultLiveSeconds: 30,
  maxLiveSeconds: 600,
} as const

const SERVICE = 'sluice.v1.Filters'

/** sluice.v1.Filters */
export function filterService(calls: Calls, info: FilterInfo | undefined): UntypedServiceImplementation {
  const known = (): FilterInfo => {
    if (info === undefined)
      throw rpcError(status.UNIMPLEMENTED, 'this server serves flows only, there is no agent behind it')
    return info
  }
  let running = 0
  const explain = (call: StreamCall<ExplainFiltersRequest, ExplainFiltersResponse>): Disposable => {
    const source = known()
    const request = checkedRequest(call.request)
    if (running >= EXPLAIN_LIMITS.calls) {
      throw rpcError(
        status.RESOURCE_EXHAUSTED,
        `${running} explanations are under way, which is the limit: try again when one has ended`,
      )
    }
    running++
    const abort = new AbortController()
    void pump(call, source.explain(request, abort.signal), abort.signal).finally(() => running--)
    return disposable(() => abort.abort())
  }
  return {
    listFilters: calls.unary<ListFiltersRequest, ListFiltersResponse>(SERVICE, 'ListFilters', () => known().list()),
    explainFilters: calls.stream<ExplainFiltersRequest, ExplainFiltersResponse>(SERVICE, 'ExplainFilters', explain),
  }
}

/** @throws RpcError INVALID_ARGUMENT naming field, value and what is accepted */
function checkedRequest(request: ExplainFiltersRequest): ExplainFiltersRequest {
  const { files, seconds } = request
  const refuse = (text: string) => rpcError(status.INVALID_ARGUMENT, text)
  if (files.length > EXPLAIN_LIMITS.files) {
    throw refuse(`files: ${files.length} files, at most ${EXPLAIN_LIMITS.files} are accepted`)
  }
  const chars = files.reduce((sum, file) => sum + file.content.length, 0)
  if (chars > EXPLAIN_LIMITS.fileChars) {
    throw refuse(`files: ${chars} characters in all, at most ${EXPLAIN_LIMITS.fileChars} are accepted`)
  }
  if (!(seconds >= 0 && seconds < Number.MAX_SAFE_INTEGER)) throw refuse(`seconds: ${seconds}, want a number from 0`)
  const isLive = request.source === ExplainSource.EXPLAIN_SOURCE_LIVE
  if (isLive && seconds > EXPLAIN_LIMITS.maxLiveSeconds) {
    throw refuse(`seconds: ${seconds}, at most ${EXPLAIN_LIMITS.maxLiveSeconds} of live traffic are measured`)
  }
  if (request.max_flows > EXPLAIN_LIMITS.maxFlows) {
    throw refuse(`max_flows: ${request.max_flows}, at most ${EXPLAIN_LIMITS.maxFlows} are measured`)
  }
  return {
    ...request,
    seconds: seconds === 0 && isLive ? EXPLAIN_LIMITS.defaultLiveSeconds : seconds,
    max_flows: request.max_flows === 0 ? EXPLAIN_LIMITS.defaultFlows : request.max_flows,
  }
}

/** News that a slow client has no room for is left out; the result is written whatever comes. */
async function pump(
  call: StreamCall<ExplainFiltersRequest, ExplainFiltersResponse>,
  answers: AsyncIterable<ExplainFiltersResponse>,
  signal: AbortSignal,
): Promise<void> {
  let isBehind = false
  call.onDrain(() => {
    isBehind = false
  })
  try {
    for await (const answer of answers) {
      if (signal.aborted) return
      if (isBehind && answer.result === undefined) continue
      isBehind = !call.write(answer)
      call.sent(1)
    }
    call.end()
  } catch (error) {
    if (!signal.aborted) call.fail(explained(error))
  }
}

const CLIENTS_MISTAKES: ReadonlySet<string> = new Set(['SLUICE_FILTER_INVALID', 'SLUICE_USAGE'])

function explained(error: unknown): RpcError {
  if (error instanceof Error && 'details' in error && 'code' in error) return error as RpcError
  const isClients = SluiceError.is(error) && CLIENTS_MISTAKES.has(error.code)
  return rpcError(isClients ? status.INVALID_ARGUMENT : status.INTERNAL, errorText(error))
}
