import { SluiceError } from '../base/errors.ts'

/** Text of a value for a message: quoted, cut at 80 characters. */
export function quoted(value: unknown): string {
  const text =
    typeof value === 'string' ? JSON.stringify(value) : (JSON.stringify(value, bigintAsText) ?? String(value))
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}

/**
 * A filter that cannot be built.
 *
 * @param field proto name of the FlowFilter field, `source_pod`
 * @param what what is wrong with which value, and what is wanted
 */
export function filterError(field: string, what: string, options?: { cause?: unknown; remedy?: string }): SluiceError {
  return new SluiceError('SLUICE_FILTER_INVALID', `invalid ${field} filter: ${what}`, options)
}
