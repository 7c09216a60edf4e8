import type { Format } from '../series/text.ts'

/** One element of an Accept or Accept-Encoding header. */
interface Preference {
  readonly value: string
  readonly parameters: ReadonlyMap<string, string>
  /** 0 to 1; 0 = refused. */
  readonly quality: number
}

/** Elements of a header that are looked at; Prometheus sends five. */
const PREFERENCES_MAX = 32

/** What to answer in. */
export interface Negotiated {
  readonly format: Format
  readonly contentType: string
}

const TEXT: Negotiated = { format: 'text', contentType: 'text/plain; version=0.0.4; charset=utf-8' }

/**
 * Chooses the exposition format. OpenMetrics only where the client names it, and only when it does not like the
 * classic format better; anything else, and what cannot be read, gets the classic format.
 */
export function negotiateFormat(accept: string | undefined): Negotiated {
  let openMetrics: Negotiated = TEXT
  let openMetricsQuality = 0
  let textQuality = 0
  for (const { value, parameters, quality } of preferences(accept ?? '')) {
    if (value === 'application/openmetrics-text') {
      const version = parameters.get('version') ?? '1.0.0'
      if ((version !== '1.0.0' && version !== '0.0.1') || quality <= openMetricsQuality) continue
      openMetricsQuality = quality
      openMetrics = {
        format: 'openmetrics',
        contentType: `application/openmetrics-text; version=${version}; charset=utf-8`,
      }
    } else if (value === 'text/plain' || value === 'text/*') {
      textQuality = Math.max(textQuality, quality)
    }
  }
  return openMetricsQuality > 0 && openMetricsQuality >= textQuality ? openMetrics : TEXT
}

/** Whether to compress: gzip is accepted, by name or by `*`, and not liked less than plain. */
export function acceptsGzip(acceptEncoding: string | undefined): boolean {
  let gzip: number | undefined
  let any: number | undefined
  let identity: number | undefined
  for (const { value, quality } of preferences(acceptEncoding ?? '')) {
    if (value === 'gzip' || value === 'x-gzip') gzip = quality
    else if (value === '*') any = quality
    else if (value === 'identity') identity = quality
  }
  const quality = gzip ?? any ?? 0
  return quality > 0 && quality >= (identity ?? 0)
}

function preferences(header: string): Preference[] {
  return header.split(',', PREFERENCES_MAX).map((element) => {
    const [value = '', ...rest] = element.split(';')
    const parameters = new Map<string, string>()
    for (const parameter of rest) {
      const equals = parameter.indexOf('=')
      if (equals < 0) continue
      const text = parameter.slice(equals + 1).trim()
      parameters.set(parameter.slice(0, equals).trim().toLowerCase(), text.replace(/^"(.*)"$/, '$1'))
    }
    return { value: value.trim().toLowerCase(), parameters, quality: qualityOf(parameters.get('q')) }
  })
}

/** A weight that cannot be read counts as the least liking, not as the most. */
function qualityOf(text: string | undefined): number {
  if (text === undefined) return 1
  if (!/^(0(\.\d{0,3})?|1(\.0{0,3})?)$/.test(text)) return 0.001
  return Number(text)
}
