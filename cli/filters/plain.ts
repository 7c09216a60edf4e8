import { ExplainSource, FilterEffect, FilterPlace } from '../../api/gen/sluice/v1/filters.ts'
import { jsonTime } from '../observe/time.ts'
import { nameOf } from '../output/flow-text.ts'

/** `include`, `exclude` */
export function effectText(effect: FilterEffect): string {
  return word(nameOf(FilterEffect, effect), 'FILTER_EFFECT_')
}

/** `kernel`, `partly`, `user` */
export function placeText(place: FilterPlace): string {
  return word(nameOf(FilterPlace, place), 'FILTER_PLACE_')
}

/** `history`, `live` */
export function sourceText(source: ExplainSource): string {
  return word(nameOf(ExplainSource, source), 'EXPLAIN_SOURCE_')
}

function word(name: string, prefix: string): string {
  return name.replace(prefix, '').toLowerCase()
}

const ENUMS: Readonly<Record<string, (value: never) => string>> = {
  effect: effectText,
  place: placeText,
  source: sourceText,
}

/**
 * A message of sluice.v1.Filters for JSON and YAML: counts are numbers, times RFC 3339, enums words, and what is not
 * known is left out.
 */
export function plain(message: unknown): unknown {
  if (typeof message === 'bigint') return Number(message)
  if (typeof message === 'number') return Number.isInteger(message) ? message : Number(message.toPrecision(12))
  if (Array.isArray(message)) return message.map(plain)
  if (typeof message !== 'object' || message === null) return message
  if ('seconds' in message && 'nanos' in message) return jsonTime(message as { seconds: bigint; nanos: number })
  const entries = Object.entries(message)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => [
      key,
      typeof value === 'number' && key in ENUMS ? ENUMS[key]!(value as never) : plain(value),
    ])
  return Object.fromEntries(entries)
}

/** Text of a message in a format for programs; one JSON object is one line. */
export async function structured(message: unknown, format: 'json' | 'yaml'): Promise<string> {
  if (format === 'json') return `${JSON.stringify(plain(message))}\n`
  const { stringify } = await import('yaml')
  return stringify(plain(message), { lineWidth: 0 })
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not reach a terminal
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g

/** A message whose texts are safe to print: names and filters are written by others, and a terminal obeys ESC. */
export function printable<T>(message: T): T {
  if (typeof message === 'string') return message.replace(CONTROL, '\ufffd') as T
  if (Array.isArray(message)) return message.map(printable) as T
  if (typeof message !== 'object' || message === null) return message
  return Object.fromEntries(Object.entries(message).map(([key, value]) => [key, printable(value)])) as T
}
