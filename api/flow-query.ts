import { status } from '@grpc/grpc-js'
import type { FlowView } from '../model/flow-view.ts'
import { type MaskTree, parseMaskTree } from './field-mask.ts'
import type { FlowFilter } from './gen/flow/flow.ts'
import type { GetFlowsRequest } from './gen/observer/observer.ts'
import { rpcError } from './rpc-error.ts'

/** A time of the history. */
export interface FlowTime {
  readonly secs: number
  readonly nanos: number
}

/** What part of a history a request asks for: the same for flows and agent events. */
export interface HistoryRange {
  /** Entries wanted, Infinity for all. */
  readonly number: number
  readonly isFirst: boolean
  readonly isFollow: boolean
  readonly since: FlowTime | undefined
  readonly until: FlowTime | undefined
}

export type FlowPredicate = (view: FlowView) => boolean

/** Builds a predicate of allow and deny filters. @throws Error with a text for the client */
export type FilterCompiler = (
  whitelist: readonly FlowFilter[],
  blacklist: readonly FlowFilter[],
) => (view: FlowView) => boolean

/** A GetFlows request, checked and compiled. */
export interface FlowQuery extends HistoryRange {
  /** undefined: every flow */
  readonly predicate: FlowPredicate | undefined
  readonly mask: MaskTree | undefined
}

/** Filters of one request, both lists together; a UI sends tens. */
export const MAX_FILTERS = 1000

/**
 * Checks a request and compiles its filters and mask, before anything is sent.
 * @throws RpcError: INVALID_ARGUMENT for `first` with `follow`, UNKNOWN (as Hubble) for filters, masks and times
 */
export function parseFlowQuery(request: GetFlowsRequest, compileFilters: FilterCompiler): FlowQuery {
  const range = parseRange(request)
  const filters = request.whitelist.length + request.blacklist.length
  if (filters > MAX_FILTERS) {
    throw rpcError(status.INVALID_ARGUMENT, `${filters} filters in one request, at most ${MAX_FILTERS} are accepted`)
  }
  try {
    const predicate = filters === 0 ? undefined : compileFilters(request.whitelist, request.blacklist)
    // experimental.field_mask is where clients up to 1.18 put the mask.
    const paths = request.field_mask ?? request.experimental?.field_mask ?? []
    return { ...range, predicate, mask: parseMaskTree(paths) }
  } catch (error) {
    throw rpcError(status.UNKNOWN, error instanceof Error ? error.message : String(error))
  }
}

interface RangeRequest {
  readonly number: bigint
  readonly follow: boolean
  readonly first: boolean
  readonly since: { readonly seconds: bigint; readonly nanos: number } | undefined
  readonly until: { readonly seconds: bigint; readonly nanos: number } | undefined
}

/** @throws RpcError as parseFlowQuery */
export function parseRange(request: RangeRequest): HistoryRange {
  if (request.first && request.follow) throw rpcError(status.INVALID_ARGUMENT, 'first cannot be specified with follow')
  return {
    // Above 2^53 there is no history to tell the difference.
    number: request.number === 0n ? Number.POSITIVE_INFINITY : Number(request.number),
    isFirst: request.first,
    isFollow: request.follow,
    since: parseTime('since', request.since),
    until: parseTime('until', request.until),
  }
}

/** google.protobuf.Timestamp reaches from year 1 to 9999. */
const MIN_SECONDS = -62_135_596_800n
const MAX_SECONDS = 253_402_300_799n

function parseTime(name: string, time: RangeRequest['since']): FlowTime | undefined {
  if (time === undefined) return undefined
  const { seconds, nanos } = time
  if (seconds < MIN_SECONDS || seconds > MAX_SECONDS || nanos < 0 || nanos > 999_999_999) {
    throw rpcError(status.UNKNOWN, `invalid ${name}: ${seconds} s and ${nanos} ns is not a time of the years 1 to 9999`)
  }
  return { secs: Number(seconds), nanos }
}

/** Whether the flow's time is later than another. */
export function isAfter(view: FlowView, time: FlowTime): boolean {
  const secs = view.timeSecs
  return secs > time.secs || (secs === time.secs && view.timeNanos > time.nanos)
}

export function isBefore(view: FlowView, time: FlowTime): boolean {
  const secs = view.timeSecs
  return secs < time.secs || (secs === time.secs && view.timeNanos < time.nanos)
}
