import { compile } from '../compile.ts'
import { filterError } from '../errors.ts'
import { allOf, anyOf, EVERYTHING, type FlowPredicate, not, type Predicate } from '../predicate.ts'
import type { FlowFilterField, FlowFilterMessage } from './message.ts'
import { FILTER_FIELDS } from './registry.ts'

export type { FlowPredicate } from '../predicate.ts'
export type { FlowFilterField, FlowFilterMessage } from './message.ts'

/** Filters of one list; `hubble observe` makes two for each flag group. */
export const MAX_FILTERS = 1000
/** Values of one field of one filter. */
export const MAX_VALUES = 10_000

/**
 * Hubble's rule for a request: a flow passes when it matches any filter of the whitelist, or the whitelist is empty,
 * and none of the blacklist. Within a filter all fields must match, within a field any value.
 *
 * @returns a function to be used by one reader
 * @throws SluiceError SLUICE_FILTER_INVALID naming the field, the value and what is wanted
 */
export function compileFlowFilters(
  whitelist: readonly FlowFilterMessage[] | undefined,
  blacklist: readonly FlowFilterMessage[] | undefined,
): FlowPredicate {
  return compile(flowFiltersPredicate(whitelist, blacklist))
}

/** The same as a tree, for explaining it or for deciding in the kernel. */
export function flowFiltersPredicate(
  whitelist: readonly FlowFilterMessage[] | undefined,
  blacklist: readonly FlowFilterMessage[] | undefined,
): Predicate {
  const allowed = whitelist?.length ? anyOf(...filterList('whitelist', whitelist)) : EVERYTHING
  const denied = blacklist?.length ? not(anyOf(...filterList('blacklist', blacklist))) : EVERYTHING
  return allOf(allowed, denied)
}

/** One FlowFilter as a tree; a filter without fields matches everything. */
export function flowFilterPredicate(filter: FlowFilterMessage): Predicate {
  return allOf(
    ...FILTER_FIELDS.flatMap((field) =>
      field.names.some((name) => isPresent(filter, name)) ? field.build(filter) : [],
    ),
  )
}

function filterList(name: string, filters: readonly FlowFilterMessage[]): Predicate[] {
  if (filters.length > MAX_FILTERS) throw filterError(name, `${filters.length} filters, want at most ${MAX_FILTERS}`)
  return filters.map(flowFilterPredicate)
}

function isPresent(filter: FlowFilterMessage, name: FlowFilterField): boolean {
  const value: unknown = filter[name]
  if (value === undefined || value === null) return false
  if (!Array.isArray(value)) return true
  if (value.length > MAX_VALUES) throw filterError(name, `${value.length} values, want at most ${MAX_VALUES}`)
  return value.length > 0
}
