import { z } from 'zod'
import { SluiceError } from '../../base/errors.ts'
import type { Steps } from '../../base/steps.ts'
import { parseYaml } from '../../base/yaml-document.ts'
import { yamlText } from '../../base/yaml-text.ts'
import { describePredicate } from '../describe.ts'
import { flowFilterPredicate } from '../hubble/index.ts'
import { readFlowFilter } from '../hubble/json.ts'
import { checkSize } from '../hubble/limits.ts'
import type { FlowFilterField, FlowFilterMessage } from '../hubble/message.ts'
import { FLOW_FILTER_FIELDS } from '../hubble/schema.ts'
import type { RuleEffect } from '../rules.ts'
import type { CompiledFilter, CompiledResource, FilterGroup } from './compile.ts'
import type { FilterSettings, MetricFilters } from './rule-set.ts'

/** A metric handler as Hubble's dynamic metrics file has it. */
export interface HubbleMetric {
  readonly name: string
  readonly contextOptions?: readonly { readonly name: string; readonly values?: readonly string[] }[] | undefined
}

/** What the texts below are made of: the filters in force. */
export interface FiltersInForce {
  readonly settings: FilterSettings
  readonly resources: readonly CompiledResource[]
  readonly dynamic: ReadonlyMap<string, MetricFilters>
}

const MERGED = 'Several resources filter this: each excludes from what it includes itself, which this file cannot say.'

/**
 * The filters of metrics in force as Hubble's dynamic metrics file, as ACNS shows them in a ConfigMap. Metrics that are off
 * are left out.
 *
 * @param metrics handlers that are enabled, with their options
 */
export function* dynamicMetricsText(metrics: readonly HubbleMetric[], inForce: FiltersInForce): Steps<string> {
  const documents = inForce.resources.filter(({ kind }) => kind === 'ContainerNetworkMetric')
  const keeps = documents.map(({ unlisted }) => unlisted ?? inForce.settings.unlisted)
  const keepsUnlisted = documents.length === 0 || keeps.includes('keep')
  let isMerged = false
  const entries = metrics.flatMap(({ name, contextOptions }) => {
    const groups = groupsOf(`metric/${name}`, documents)
    if (groups.length === 0 && !keepsUnlisted) return []
    isMerged ||= isFolded(groups)
    const own = inForce.dynamic.get(name)
    const filters = groups.length > 0 ? groups : own === undefined ? [] : [own]
    return [{ name, ...options(contextOptions), ...lists(filters) }]
  })
  return (isMerged ? `# ${MERGED}\n` : '') + (yield* yamlText({ metrics: entries }))
}

/** The filters of the log in force as Hubble's flow log file; `{}` when no log is written. */
export function* flowLogsText(filePath: string, inForce: FiltersInForce): Steps<string> {
  const { mode, allow, deny } = inForce.settings.log
  const groups = mode === 'resources' ? groupsOf('log', inForce.resources) : []
  if (mode === 'off' || (mode === 'resources' && groups.length === 0)) return '{}\n'
  const { includeFilters = [], excludeFilters = [] } = lists(groups)
  // Allow lists beside resources are an AND, which lists of filters cannot say: they are shown where they stand alone.
  const include = groups.length === 0 ? allow.map(flowFilterJson) : includeFilters
  const exclude = [...excludeFilters, ...deny.map(flowFilterJson)]
  const entry = { name: 'all', filePath, fieldMask: [], includeFilters: include, excludeFilters: exclude }
  return (isFolded(groups) ? `# ${MERGED}\n` : '') + (yield* yamlText({ flowLogs: [entry] }))
}

function groupsOf(consumer: string, resources: readonly CompiledResource[]): FilterGroup[] {
  return resources.flatMap(({ groups }) => groups.filter((group) => group.consumer === consumer))
}

function isFolded(groups: readonly FilterGroup[]): boolean {
  return groups.length > 1 && groups.some(({ exclude }) => exclude.length > 0)
}

function options(contextOptions: HubbleMetric['contextOptions']): Pick<HubbleMetric, 'contextOptions'> {
  return contextOptions === undefined || contextOptions.length === 0 ? {} : { contextOptions }
}

function lists(groups: readonly MetricFilters[]): { includeFilters?: object[]; excludeFilters?: object[] } {
  const include = groups.flatMap((group) => group.include.map(({ message }) => flowFilterJson(message)))
  const exclude = groups.flatMap((group) => group.exclude.map(({ message }) => flowFilterJson(message)))
  return {
    ...(include.length > 0 ? { includeFilters: include } : {}),
    ...(exclude.length > 0 ? { excludeFilters: exclude } : {}),
  }
}

/** A FlowFilter as JSON values by proto name, enums by name; what is empty is left out. */
export function flowFilterJson(message: FlowFilterMessage): object {
  const json: Record<string, unknown> = {}
  for (const [field, value] of Object.entries(message) as [FlowFilterField, unknown][]) {
    if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) continue
    const { type } = FLOW_FILTER_FIELDS[field]
    if (typeof type === 'object' && 'enumeration' in type) {
      const names = new Map([...type.numbers].map(([name, number]) => [number, name]))
      json[field] = (value as number[]).map((number) => names.get(number) ?? number)
    } else json[field] = value
  }
  return json
}

/** Longest dynamic metrics file, bytes. */
const MAX_BYTES = 1 << 18
const MAX_MISTAKES = 20

const text = (want: string) => z.string(want).min(1, want)
const filterList = z.array(z.unknown(), 'want a list of filters').max(256, 'want at most 256 filters').default([])

const dynamicMetricsSchema = z.strictObject({
  metrics: z
    .array(
      z.strictObject({
        name: text('want the name of a metric'),
        contextOptions: z
          .array(
            z.strictObject({
              name: text('want the name of an option'),
              values: z.array(z.string('want text'), 'want a list of values').max(64).default([]),
            }),
            'want a list of options',
          )
          .max(32, 'want at most 32 options')
          .default([]),
        includeFilters: filterList,
        excludeFilters: filterList,
      }),
      'want a list of metrics',
    )
    .max(64, 'want at most 64 metrics')
    .default([]),
})

/** What a dynamic metrics file says. */
export interface DynamicMetrics {
  readonly metrics: readonly HubbleMetric[]
  /** Filters by metric; metrics without any are not in it. */
  readonly filters: ReadonlyMap<string, MetricFilters>
}

/**
 * Reads Hubble's dynamic metrics file. Whether metrics and options exist is for the exporter to say.
 *
 * @param file named in mistakes and origins
 * @throws SluiceError SLUICE_FILTER_INVALID with a line for each mistake
 */
export function parseDynamicMetrics(source: string, file: string): DynamicMetrics {
  const code = 'SLUICE_FILTER_INVALID'
  const { metrics } = parseYaml(source, dynamicMetricsSchema, { file, code, maxBytes: MAX_BYTES })
  const mistakes: string[] = []
  const filters = new Map<string, MetricFilters>()
  for (const [index, { name, includeFilters, excludeFilters }] of metrics.entries()) {
    const at = (field: string) => `metrics[${index}].${field}`
    const include = filterListOf(includeFilters, 'include', at('includeFilters'), file, mistakes)
    const exclude = filterListOf(excludeFilters, 'exclude', at('excludeFilters'), file, mistakes)
    if (metrics.findIndex((metric) => metric.name === name) !== index) {
      mistakes.push(`${at('name')} "${name}": it is there twice, want it once`)
    }
    if (include.length + exclude.length > 0) filters.set(name, { include, exclude })
  }
  if (mistakes.length > 0) {
    const shown = mistakes.slice(0, MAX_MISTAKES).map((mistake) => `\n  ${mistake}`)
    throw new SluiceError(code, `Cannot use "${file}":${shown.join('')}`)
  }
  return { metrics: metrics.map(({ name, contextOptions }) => ({ name, contextOptions })), filters }
}

function filterListOf(
  values: readonly unknown[],
  effect: RuleEffect,
  path: string,
  file: string,
  mistakes: string[],
): CompiledFilter[] {
  return values.flatMap((value, index) => {
    try {
      const message = readFlowFilter(value)
      checkSize(path, [message])
      const predicate = flowFilterPredicate(message)
      const origin = {
        kind: 'dynamic metrics',
        name: file,
        path: `${path}[${index}]`,
        label: '',
        text: describePredicate(predicate),
      }
      return [{ effect, predicate, message, origin, path: [] }]
    } catch (error) {
      if (!SluiceError.is(error)) throw error
      mistakes.push(`${path}[${index}]: ${error.message}`)
      return []
    }
  })
}
