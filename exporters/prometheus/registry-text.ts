import type { OpenMetricsContentType, PrometheusContentType, Registry } from 'prom-client'
import {
  boundText,
  type FamilyType,
  type Format,
  familyHeader,
  labelText,
  samplePrefix,
  valueText,
} from './series/text.ts'

export type MetricsRegistry = Registry<PrometheusContentType | OpenMetricsContentType>

/** A sample as prom-client gives it; its own types leave out the last two. */
interface RegistryValue {
  readonly value: number
  readonly labels: Readonly<Record<string, string | number>>
  readonly metricName?: string
  readonly exemplar?: {
    readonly labelSet: Readonly<Record<string, string>>
    readonly value: number
    readonly timestamp: number
  } | null
}

/**
 * The text of prom-client's registry in either format. Its own rendering cannot serve both: asked for OpenMetrics
 * once, it renames its counters for good, and the classic text loses their `_total`.
 */
export async function registryText(registry: MetricsRegistry, format: Format): Promise<string> {
  let text = ''
  for (const metric of await registry.getMetricsAsJSON()) {
    // Typed as an enum, it is the word at run time.
    const type = metric.type as unknown as FamilyType
    const lines = (metric.values as readonly RegistryValue[]).map((value) => line(metric.name, value, format))
    if (lines.length > 0) text += familyHeader(metric.name, metric.help, type, format) + lines.join('')
  }
  return text
}

function line(name: string, { value, labels, metricName = name, exemplar }: RegistryValue, format: Format): string {
  const texts = Object.entries(labels).map(([label, text]) =>
    (label === 'le' || label === 'quantile') && typeof text === 'number' ? boundText(text, format) : String(text),
  )
  const prefix = samplePrefix(metricName, labelText(Object.keys(labels), texts))
  return `${prefix}${valueText(value)}${format === 'openmetrics' && exemplar ? exemplarText(exemplar) : ''}\n`
}

function exemplarText({ labelSet, value, timestamp }: NonNullable<RegistryValue['exemplar']>): string {
  return ` # {${labelText(Object.keys(labelSet), Object.values(labelSet))}} ${value} ${timestamp}`
}
