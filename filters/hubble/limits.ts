import { filterError } from '../errors.ts'
import { MAX_REGEX_LENGTH, regexSize } from '../regex.ts'
import type { FlowFilterMessage } from './message.ts'

/** Filters of one list; `hubble observe` makes two for each flag. */
export const MAX_FILTERS = 1000
/** Values of one list of filters, all fields together. */
export const MAX_VALUES = 20_000
/** Characters of those values: what takes about 30 ms to read. */
export const MAX_TEXT = 250_000
/** Size of all expressions of a list, in atoms and characters: what takes about 50 ms to compile. */
export const MAX_EXPRESSIONS = 10_000

/**
 * Refuses lists that would hold the event loop while they are built. A request may carry megabytes; no filter that a
 * person or a tool writes comes near these bounds.
 *
 * @param name of the list, for the message
 * @throws SluiceError SLUICE_FILTER_INVALID
 */
export function checkSize(name: string, filters: readonly FlowFilterMessage[]): void {
  want(name, 'filters', filters.length, MAX_FILTERS)
  let values = 0
  let text = 0
  let expressions = 0
  for (const filter of filters) {
    for (const list of Object.values(filter)) {
      if (!Array.isArray(list)) continue
      values += list.length
      for (const value of list as readonly unknown[]) if (typeof value === 'string') text += value.length
    }
    expressions += expressionSize(filter)
    if (values > MAX_VALUES || text > MAX_TEXT || expressions > MAX_EXPRESSIONS) break
  }
  want(name, 'values', values, MAX_VALUES)
  want(name, 'characters', text, MAX_TEXT)
  want(name, 'atoms of expressions', expressions, MAX_EXPRESSIONS)
}

function want(name: string, what: string, count: number, most: number): void {
  if (count > most) {
    throw filterError(name, `${count} ${what} or more, want at most ${most}`, {
      remedy: 'Ask for less in one request: a CIDR, a namespace or a label selector stands for many values',
    })
  }
}

function expressionSize(filter: FlowFilterMessage): number {
  let size = 0
  for (const regexes of [filter.dns_query, filter.http_path, filter.http_url]) {
    for (const regex of regexes ?? []) size += regex.length > MAX_REGEX_LENGTH ? regex.length : regexSize(regex)
  }
  for (const globs of [filter.source_fqdn, filter.destination_fqdn, filter.node_name]) {
    for (const glob of globs ?? []) size += glob.length
  }
  for (const cel of filter.experimental?.cel_expression ?? []) size += cel.length
  return size
}
