import { SluiceError } from '../../../base/errors.ts'
import { CONTEXT_OPTIONS, contextOptions, type MetricSpec } from '../context/options.ts'
import type { HandlerDefinition } from './handler.ts'
import { HANDLERS } from './index.ts'

/**
 * The handlers that specs name, one for each.
 *
 * @throws SluiceError SLUICE_CONFIG_INVALID for an unknown handler, option or context value, a handler named twice, and
 * handlers that exclude each other
 */
export function definitionsOf(specs: readonly MetricSpec[]): HandlerDefinition[] {
  const found: HandlerDefinition[] = []
  for (const spec of specs) {
    const definition = HANDLERS.find((handler) => handler.name === spec.name)
    if (definition === undefined) {
      const known = HANDLERS.map((handler) => handler.name).join(', ')
      throw invalid(`Metric "${spec.name}" is not known, want one of ${known}`)
    }
    const known = [...Object.keys(definition.options ?? {}), ...CONTEXT_OPTIONS]
    for (const key of spec.options.keys()) {
      if (known.some((name) => name.toLowerCase() === key)) continue
      throw invalid(`Metric "${spec.name}" has no option "${key}", want one of ${known.join(', ')}`)
    }
    contextOptions(spec)
    for (const other of found) {
      if (other.name === spec.name) throw invalid(`Metric "${spec.name}" is enabled twice, want it once`)
      if (definition.conflictsWith?.includes(other.name)) {
        throw invalid(`Metrics "${other.name}" and "${spec.name}" write the same families, want only one of them`)
      }
    }
    found.push(definition)
  }
  return found
}

function invalid(message: string): SluiceError {
  return new SluiceError('SLUICE_CONFIG_INVALID', message)
}
