import { SluiceError } from '../../../base/errors.ts'

/** What a context option may take a label's value from. */
export const CONTEXT_IDENTIFIERS = [
  'identity',
  'namespace',
  'pod',
  'pod-name',
  'dns',
  'ip',
  'reserved-identity',
  'workload',
  'workload-name',
  'app',
] as const
export type ContextIdentifier = (typeof CONTEXT_IDENTIFIERS)[number]

/** Names that labelsContext knows, in the order in which they are written whatever the user's order. */
export const CONTEXT_LABELS = [
  'source_ip',
  'source_pod',
  'source_namespace',
  'source_workload',
  'source_workload_kind',
  'source_app',
  'destination_ip',
  'destination_pod',
  'destination_namespace',
  'destination_workload',
  'destination_workload_kind',
  'destination_app',
  'traffic_direction',
] as const
export type ContextLabelName = (typeof CONTEXT_LABELS)[number]

/** Options that every handler has. */
export const CONTEXT_OPTIONS = [
  'sourceContext',
  'sourceEgressContext',
  'sourceIngressContext',
  'destinationContext',
  'destinationEgressContext',
  'destinationIngressContext',
  'labelsContext',
] as const

/** Identifiers for one end: the plain list, and those for one traffic direction. Empty = not set. */
export interface EndContext {
  readonly any: readonly ContextIdentifier[]
  readonly egress: readonly ContextIdentifier[]
  readonly ingress: readonly ContextIdentifier[]
}

/** The seven context options of a handler. */
export interface ContextOptions {
  readonly source: EndContext
  readonly destination: EndContext
  readonly labels: readonly ContextLabelName[]
}

/** One metric as configured: handler name, and options by lower-case key. A bare key has no values. */
export interface MetricSpec {
  readonly name: string
  readonly options: ReadonlyMap<string, readonly string[]>
}

/** As MetricSpec in a configuration file, Hubble's dynamic form. */
export interface MetricConfig {
  readonly name: string
  readonly contextOptions?: readonly { readonly name: string; readonly values?: readonly string[] }[] | undefined
}

/**
 * Reads Hubble's static string: `name[:option[;option]…]` by white space, option = `key` or `key=value[|value]…`;
 * labelsContext takes commas. Knows no handler names: whoever makes the handlers does.
 */
export function parseMetrics(text: string): MetricSpec[] {
  return text
    .split(/\s+/)
    .filter((part) => part !== '')
    .map((part) => {
      const colon = part.indexOf(':')
      if (colon < 0) return { name: part, options: new Map() }
      return { name: part.slice(0, colon), options: parseOptions(part.slice(colon + 1)) }
    })
}

function parseOptions(text: string): Map<string, string[]> {
  const options = new Map<string, string[]>()
  for (const option of text.split(';')) {
    if (option === '') continue
    const equals = option.indexOf('=')
    const key = (equals < 0 ? option : option.slice(0, equals)).toLowerCase()
    const separator = key === 'labelscontext' ? ',' : '|'
    const values = equals < 0 ? [] : option.slice(equals + 1).split(separator)
    options.set(
      key,
      values.filter((value) => value !== ''),
    )
  }
  return options
}

/** The structured form. @throws SluiceError SLUICE_CONFIG_INVALID for an empty or repeated name */
export function metricSpecs(configs: readonly MetricConfig[]): MetricSpec[] {
  const seen = new Set<string>()
  return configs.map((config, index) => {
    if (config.name === '') throw invalid(`metrics[${index}].name is "", want the name of a handler`)
    if (seen.has(config.name)) throw invalid(`metrics[${index}].name "${config.name}" is there twice, want it once`)
    seen.add(config.name)
    const options = new Map<string, readonly string[]>()
    for (const option of config.contextOptions ?? []) options.set(option.name.toLowerCase(), option.values ?? [])
    return { name: config.name, options }
  })
}

/**
 * Takes the context options out of a handler's options.
 *
 * @throws SluiceError SLUICE_CONFIG_INVALID naming metric, option, value and the values there are
 */
export function contextOptions(spec: MetricSpec): ContextOptions {
  const list = (key: string) => identifiers(spec, key)
  return {
    source: {
      any: list('sourceContext'),
      egress: list('sourceEgressContext'),
      ingress: list('sourceIngressContext'),
    },
    destination: {
      any: list('destinationContext'),
      egress: list('destinationEgressContext'),
      ingress: list('destinationIngressContext'),
    },
    labels: labelNames(spec),
  }
}

function identifiers(spec: MetricSpec, key: string): ContextIdentifier[] {
  const values = spec.options.get(key.toLowerCase()) ?? []
  return values.map((value) => {
    const found = CONTEXT_IDENTIFIERS.find((identifier) => identifier === value)
    if (found === undefined) throw unknownValue(spec, key, value, CONTEXT_IDENTIFIERS)
    return found
  })
}

function labelNames(spec: MetricSpec): ContextLabelName[] {
  const values = spec.options.get('labelscontext') ?? []
  for (const value of values) {
    if (!CONTEXT_LABELS.some((name) => name === value)) throw unknownValue(spec, 'labelsContext', value, CONTEXT_LABELS)
  }
  return CONTEXT_LABELS.filter((name) => values.includes(name))
}

function unknownValue(spec: MetricSpec, key: string, value: string, known: readonly string[]): SluiceError {
  return invalid(
    `Metric "${spec.name}" option ${key} has the unknown value "${value}", want one of ${known.join(', ')}`,
  )
}

function invalid(message: string): SluiceError {
  return new SluiceError('SLUICE_CONFIG_INVALID', message)
}
