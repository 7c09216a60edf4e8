import type { HttpHeader, HttpRecord } from '../../model/l7.ts'
import type { Redactor } from './redact.ts'

/** Headers kept of one head; what the kernel captures (1 KiB) rarely has more. */
const MAX_HEADERS = 64

/** An HTTP/1 head as far as it was captured. */
export interface HttpMessage {
  readonly isResponse: boolean
  readonly record: HttpRecord
  /** W3C trace id of the `traceparent` header, empty when there is none. */
  readonly traceId: string
}

const decoder = new TextDecoder()
const REQUEST_LINE = /^([A-Z][A-Z0-9_-]{0,31}) ([^ ]+)(?: (HTTP\/1\.[0-9]))?$/
const STATUS_LINE = /^(HTTP\/1\.[0-9]) ([1-9][0-9]{2})(?: |$)/

/**
 * Reads the head of an HTTP/1 request or response. A head that was cut gives what is whole: a cut header line is left
 * out, a cut request line keeps the part of its URL and has no protocol.
 *
 * The URL is absolute as Hubble's: `http://` and the Host header before the path.
 *
 * @param bytes the head lies at [at, at + length), perhaps with the beginning of a body
 * @returns undefined when it is no HTTP/1 head
 */
export function parseHttp(bytes: Uint8Array, at: number, length: number, redactor: Redactor): HttpMessage | undefined {
  const text = decoder.decode(bytes.subarray(at, at + length))
  const lineEnd = text.indexOf('\n')
  const isCut = lineEnd < 0
  const first = withoutReturn(isCut ? text : text.slice(0, lineEnd))
  const status = STATUS_LINE.exec(first)
  const request = status === null ? REQUEST_LINE.exec(first) : null
  if (status === null && request === null) return undefined
  // A whole request line names its protocol: HTTP/0.9 is not spoken by anything that this should tell of.
  if (request !== null && request[3] === undefined && !isCut) return undefined
  const headers = isCut ? [] : parseHeaders(text, lineEnd + 1)
  const traceId = traceIdOf(headers)
  if (status !== null) {
    const record = makeRecord(Number(status[2]), '', '', status[1]!, headers, redactor)
    return { isResponse: true, record, traceId }
  }
  const [, method, target, protocol] = request as unknown as [string, string, string, string | undefined]
  const record = makeRecord(0, method, absoluteUrl(target, headers), protocol ?? '', headers, redactor)
  return { isResponse: false, record, traceId }
}

function makeRecord(
  code: number,
  method: string,
  url: string,
  protocol: string,
  headers: readonly HttpHeader[],
  redactor: Redactor,
): HttpRecord {
  return { code, method, url: redactor.url(url), protocol, headers: redactor.headers(headers).sort(byKey) }
}

function parseHeaders(text: string, from: number): HttpHeader[] {
  const headers: { key: string; value: string }[] = []
  for (let at = from; headers.length < MAX_HEADERS; ) {
    const end = text.indexOf('\n', at)
    if (end < 0) break
    const line = withoutReturn(text.slice(at, end))
    at = end + 1
    if (line === '') break
    const last = headers.at(-1)
    if ((line[0] === ' ' || line[0] === '\t') && last !== undefined) {
      last.value = `${last.value} ${line.trim()}`
      continue
    }
    const colon = line.indexOf(':')
    if (colon <= 0) continue
    headers.push({ key: canonicalKey(line.slice(0, colon)), value: line.slice(colon + 1).trim() })
  }
  return headers
}

/** Keys as they came to keys as they are shown; cleared when somebody sends ever new ones. */
const canonicalKeys = new Map<string, string>()
const MAX_KEYS = 1024

/** `x-request-id` becomes `X-Request-Id`, the form in which Hubble shows keys. */
function canonicalKey(key: string): string {
  const known = canonicalKeys.get(key)
  if (known !== undefined) return known
  let text = ''
  let upper = true
  for (const c of key) {
    text += upper ? c.toUpperCase() : c.toLowerCase()
    upper = c === '-'
  }
  if (canonicalKeys.size >= MAX_KEYS) canonicalKeys.clear()
  canonicalKeys.set(key, text)
  return text
}

function absoluteUrl(target: string, headers: readonly HttpHeader[]): string {
  if (!target.startsWith('/')) return target
  const host = headers.find((header) => header.key === 'Host')?.value ?? ''
  return host === '' ? target : `http://${host}${target}`
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/

function traceIdOf(headers: readonly HttpHeader[]): string {
  const value = headers.find((header) => header.key === 'Traceparent')?.value
  const id = value === undefined ? undefined : TRACEPARENT.exec(value.toLowerCase())?.[1]
  return id === undefined || /^0+$/.test(id) ? '' : id
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line
}

function byKey(a: HttpHeader, b: HttpHeader): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0
}
