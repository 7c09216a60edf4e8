import { filterError, quoted } from '../../errors.ts'
import { compileRegex } from '../../regex.ts'
import { isSet, listField, parsed } from '../field.ts'
import type { FlowFilterMessage } from '../message.ts'

/** event_type.type of L7 flows. */
const L7_EVENT = 129

/** HTTP fields beside event types that leave out L7 could never match: said instead of answering with silence. */
function wantHttpEvents(filter: FlowFilterMessage, field: string): void {
  if (!isSet(filter.event_type) || filter.event_type.some((entry) => entry.type === L7_EVENT)) return
  throw filterError(
    field,
    `filtering by ${field.replaceAll('_', ' ')} requires the event type filter to match l7 events; ` +
      `add {"type": ${L7_EVENT}} to event_type or leave event_type out`,
  )
}

/** `404` exact, `4+` and `50+` by prefix. Requests have no code and match nothing. */
export const httpStatusCode = listField('http_status_code', (values, field, filter) => {
  wantHttpEvents(filter, field)
  const full: number[] = []
  const prefixes: string[] = []
  for (const value of values) {
    if (/^[1-5][0-9]{2}$/.test(value)) full.push(Number(value))
    else if (/^[1-5][0-9]?\+$/.test(value)) prefixes.push(value.slice(0, -1))
    else
      throw filterError(field, `invalid status code prefix: ${quoted(value)}; want a code (404) or a prefix (4+, 50+)`)
  }
  return { op: 'http-status', full, prefixes }
})

/** Methods in any case. */
export const httpMethod = listField('http_method', (methods, field, filter) => {
  wantHttpEvents(filter, field)
  return { op: 'http-method', methods }
})

/** RE2 expressions over the decoded path of the URL. */
export const httpPath = listField('http_path', (values, field, filter) => {
  wantHttpEvents(filter, field)
  return { op: 'http-path', patterns: values.map((value) => parsed(field, value, compileRegex)) }
})

/** RE2 expressions over the URL as it was sent. */
export const httpUrl = listField('http_url', (values, field, filter) => {
  wantHttpEvents(filter, field)
  return { op: 'http-url', patterns: values.map((value) => parsed(field, value, compileRegex)) }
})

/** Key and value exact, case included. */
export const httpHeader = listField('http_header', (values, field, filter) => {
  wantHttpEvents(filter, field)
  return { op: 'http-header', headers: values.map(({ key = '', value = '' }) => ({ key, value })) }
})
