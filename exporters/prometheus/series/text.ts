/** Exposition formats. Sample lines of counters and gauges are the same in both. */
export type Format = 'text' | 'openmetrics'
export type FamilyType = 'counter' | 'gauge' | 'histogram'

/** A label value between its quotes; both formats escape the same three characters. */
export function escapeLabel(value: string): string {
  return /[\\"\n]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"') : value
}

/** `a="x",b="y"`, empty for no labels. */
export function labelText(names: readonly string[], values: readonly string[]): string {
  let text = ''
  for (let i = 0; i < names.length; i++) {
    text += `${i === 0 ? '' : ','}${names[i]}="${escapeLabel(values[i] ?? '')}"`
  }
  return text
}

/** A sample line up to its value, the space included. */
export function samplePrefix(name: string, labels: string): string {
  return labels === '' ? `${name} ` : `${name}{${labels}} `
}

/**
 * HELP and TYPE lines. OpenMetrics names a counter's family without `_total`; a counter whose samples do not end in
 * `_total` is declared unknown there, so that its name is the same in both formats.
 */
export function familyHeader(name: string, help: string, type: FamilyType, format: Format): string {
  if (format === 'text') {
    return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`
  }
  const isTotal = type === 'counter' && name.endsWith('_total')
  const family = isTotal ? name.slice(0, -'_total'.length) : name
  const declared = type === 'counter' && !isTotal ? 'unknown' : type
  const text = help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
  return `# HELP ${family} ${text}\n# TYPE ${family} ${declared}\n`
}

/** A sample value. Integers are plain digits; infinities and NaN as both formats spell them. */
export function valueText(value: number): string {
  if (Number.isFinite(value)) return String(value)
  if (Number.isNaN(value)) return 'NaN'
  return value > 0 ? '+Inf' : '-Inf'
}

/** Bound of a bucket: OpenMetrics wants a float, the classic format has it without a needless `.0`. */
export function boundText(bound: number, format: Format): string {
  if (bound === Number.POSITIVE_INFINITY) return '+Inf'
  return format === 'openmetrics' && Number.isInteger(bound) ? `${bound}.0` : String(bound)
}
