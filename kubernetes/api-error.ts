import { errorText, SluiceError } from '../base/errors.ts'

/**
 * Why a request failed, for code that has to choose what to do next; a closed set, used as a label of metrics.
 *
 *   unauthorized  401: the token is not taken
 *   forbidden     403
 *   not_found     404: no such object, or no such resource
 *   conflict      409: exists already, or was changed meanwhile
 *   gone          410, or an ERROR event of that code: the revision or the continue token is too old
 *   too_new       the server has not seen the wanted revision yet
 *   throttled     429
 *   invalid       another 4xx: the server does not understand or refuses the object
 *   server        5xx
 *   network       no connection, or it broke
 *   timeout       no answer, or silence, for too long
 *   malformed     an answer that is no JSON, or is cut off
 *   too_large     an object longer than is taken
 *   short         a watch that ended at once
 *   stopped       the caller's signal
 */
export type ApiFailure =
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'gone'
  | 'too_new'
  | 'throttled'
  | 'invalid'
  | 'server'
  | 'network'
  | 'timeout'
  | 'malformed'
  | 'too_large'
  | 'short'
  | 'stopped'

interface ApiErrorOptions {
  /** HTTP status, or the code of an ERROR event; 0 when there was none. */
  readonly status?: number
  /** `reason` of the v1.Status. */
  readonly reason?: string
  /** What the server asks to wait. */
  readonly retryAfterMs?: number
  readonly cause?: unknown
}

/** A request to the API server that failed. */
export class ApiError extends SluiceError {
  readonly failure: ApiFailure
  readonly status: number
  readonly reason: string
  readonly retryAfterMs: number

  constructor(failure: ApiFailure, message: string, options: ApiErrorOptions = {}) {
    super('SLUICE_KUBERNETES_API', message, options.cause === undefined ? {} : { cause: options.cause })
    this.failure = failure
    this.status = options.status ?? 0
    this.reason = options.reason ?? ''
    this.retryAfterMs = options.retryAfterMs ?? 0
  }
}

/** The parts of a v1.Status that are looked at. */
interface Status {
  readonly kind?: unknown
  readonly message?: unknown
  readonly reason?: unknown
  readonly code?: unknown
  readonly details?: { readonly retryAfterSeconds?: unknown; readonly causes?: unknown }
}

const MAX_MESSAGE = 500

/** An answer that is no success. @param action `list pods` @param body its text, possibly a v1.Status */
export function statusError(action: string, code: number, body: string, retryAfter: string | undefined): ApiError {
  let status: Status = {}
  try {
    const parsed: unknown = JSON.parse(body)
    if (typeof parsed === 'object' && parsed !== null) status = parsed as Status
  } catch {
    // Proxies answer in HTML, and the server itself in plain text for paths that it does not know.
  }
  return fromStatus(action, code, status, body, retryAfterMs(retryAfter))
}

/** An ERROR event of a watch, whose answer was 200. */
export function eventError(action: string, object: unknown): ApiError {
  const status = (typeof object === 'object' && object !== null ? object : {}) as Status
  return fromStatus(action, typeof status.code === 'number' ? status.code : 0, status, '', 0)
}

function fromStatus(action: string, code: number, status: Status, body: string, afterMs: number): ApiError {
  const reason = typeof status.reason === 'string' ? status.reason : ''
  const told = typeof status.message === 'string' && status.message !== '' ? status.message : body.trim()
  const text = told.length > MAX_MESSAGE ? `${told.slice(0, MAX_MESSAGE)}...` : told
  const secs = status.details?.retryAfterSeconds
  const askedMs = typeof secs === 'number' && secs > 0 ? secs * 1000 : 0
  return new ApiError(failureOf(code, reason, status), `Cannot ${action}: ${code} ${reason} ${text}`.trimEnd(), {
    status: code,
    reason,
    retryAfterMs: Math.max(afterMs, askedMs),
  })
}

const BY_CODE: Readonly<Record<number, ApiFailure>> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  408: 'timeout',
  409: 'conflict',
  410: 'gone',
  429: 'throttled',
}

function failureOf(code: number, reason: string, status: Status): ApiFailure {
  if (reason === 'Expired' || reason === 'Gone') return 'gone'
  const causes = Array.isArray(status.details?.causes) ? (status.details.causes as { reason?: unknown }[]) : []
  if (causes.some((cause) => cause?.reason === 'ResourceVersionTooLarge')) return 'too_new'
  return BY_CODE[code] ?? (code >= 400 && code < 500 ? 'invalid' : 'server')
}

/** Seconds or a date. */
function retryAfterMs(header: string | undefined): number {
  if (header === undefined) return 0
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) && ms > 0 ? ms : 0
}

/** Whatever else was thrown on the way of a request. */
export function transportError(action: string, error: unknown): ApiError {
  if (error instanceof ApiError) return error
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? ''
  const failure = code === 'ABORT_ERR' ? 'stopped' : 'network'
  // A connection to several addresses fails with one error for each and no text of its own.
  const text = errorText(error) || code || 'no connection'
  return new ApiError(failure, `Cannot ${action}: ${text}`, { cause: error })
}
