import { compile } from '../compile.ts'
import { allOf, anyOf, EVERYTHING, type FlowPredicate, not, type Predicate } from '../predicate.ts'
import { checkSize } from './limits.ts'
import type { FlowFilterField, FlowFilterMessage } from './message.ts'
import { FILTER_FIELDS } from './registry.ts'

export type { FlowPredicate } from '../predicate.ts'
export type { FlowFilterField, FlowFilterMessage } from './message.ts'

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
  checkSize('whitelist', whitelist ?? [])
  checkSize('blacklist', blacklist ?? [])
  const allowed = whitelist?.length ? anyOf(...whitelist.map(flowFilterPredicate)) : EVERYTHING
  const denied = blacklist?.length ? not(anyOf(...blacklist.map(flowFilterPredicate))) : EVERYTHING
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

function isPresent(filter: FlowFilterMessage, name: FlowFilterField): boolean {
  const value: unknown = filter[name]
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== null
}
