import { errorText } from '../../base/errors.ts'
import { filterError, quoted } from '../errors.ts'
import type { NamespacedName, Predicate, Side } from '../predicate.ts'
import type { FlowFilterField, FlowFilterMessage } from './message.ts'

/** How one field of FlowFilter, or a pair for both ends, becomes a test. */
export interface FilterField {
  readonly names: readonly FlowFilterField[]
  /**
   * Called when one of the fields is set.
   *
   * @returns tests that must all hold
   * @throws SluiceError SLUICE_FILTER_INVALID naming the field, the value and what is wanted
   */
  build(filter: FlowFilterMessage): Predicate[]
}

/** Fields of FlowFilter that are lists of one type. */
type ListField<T> = {
  [K in FlowFilterField]: NonNullable<FlowFilterMessage[K]> extends readonly T[] ? K : never
}[FlowFilterField]

/** A field whose whole list is one test. */
export function listField<K extends FlowFilterField>(
  name: K,
  build: (values: NonNullable<FlowFilterMessage[K]>, name: K, filter: FlowFilterMessage) => Predicate,
): FilterField {
  return {
    names: [name],
    build: (filter) => [build(filter[name]!, name, filter)],
  }
}

/** A field that exists for both ends: `source_x` and `destination_x`. */
export function sidesField<T>(
  source: ListField<T>,
  destination: ListField<T>,
  build: (values: readonly T[], side: Side, name: string) => Predicate,
): FilterField {
  const part = (filter: FlowFilterMessage, side: Side, name: ListField<T>): Predicate[] => {
    // ListField holds names of fields of this type only.
    const values = filter[name] as readonly T[] | undefined
    return isSet(values) ? [build(values, side, name)] : []
  }
  return {
    names: [source, destination],
    build: (filter) => [...part(filter, 'source', source), ...part(filter, 'destination', destination)],
  }
}

export function isSet<T>(values: readonly T[] | undefined): values is readonly T[] {
  return values !== undefined && values !== null && values.length > 0
}

/** Runs a parser on one value and names field and value when it throws. */
export function parsed<T>(field: string, value: string, parse: (value: string) => T): T {
  try {
    return parse(value)
  } catch (error) {
    throw filterError(field, `${quoted(value)}: ${errorText(error)}`, { cause: error })
  }
}

/** `name` (namespace default), `ns/name`, `ns/`, `/name`; the name is a prefix. What follows a second slash is ignored. */
export function namespacedName(field: string, text: string): NamespacedName {
  if (text === '') throw filterError(field, 'name must not be empty; want "name", "namespace/name" or "namespace/"')
  const [first, second] = text.split('/') as [string, string | undefined]
  return second === undefined ? { namespace: 'default', prefix: first } : { namespace: first, prefix: second }
}
