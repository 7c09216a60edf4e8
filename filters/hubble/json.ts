import { errorText } from '../../base/errors.ts'
import { filterError, quoted } from '../errors.ts'
import type { FlowFilterMessage } from './message.ts'
import { type FieldType, FLOW_FILTER_FIELDS, type ValueType } from './schema.ts'

/** Longest text of filters accepted, characters. */
export const MAX_JSON_LENGTH = 1_000_000

/**
 * Reads filters written as JSON the way `hubble observe --allowlist` and the exporters' lists take them: objects one
 * behind another, fields by proto name or camelCase, enums by name or number.
 *
 *     {"source_pod":["shop/"],"verdict":["DROPPED"]} {"destinationPort":["53"]}
 *
 * @throws SluiceError SLUICE_FILTER_INVALID naming the field, the value and what is wanted
 */
export function parseFlowFilters(text: string): FlowFilterMessage[] {
  if (text.length > MAX_JSON_LENGTH) {
    throw filterError('JSON', `${text.length} characters, want at most ${MAX_JSON_LENGTH}`)
  }
  return [...splitObjects(text)].map(({ json, at }) => {
    let value: unknown
    try {
      value = JSON.parse(json)
    } catch (error) {
      throw filterError('JSON', `${errorText(error)}, in the object at character ${at}`, { cause: error })
    }
    return readFlowFilter(value)
  })
}

/**
 * One filter that is parsed already, from YAML for example.
 *
 * @throws SluiceError SLUICE_FILTER_INVALID as parseFlowFilters()
 */
export function readFlowFilter(value: unknown): FlowFilterMessage {
  return readMessage('', FLOW_FILTER_FIELDS, value) as FlowFilterMessage
}

/** Objects of a text, by counting braces outside strings. */
function* splitObjects(text: string): Generator<{ json: string; at: number }> {
  let depth = 0
  let start = 0
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!
    if (depth === 0) {
      if (/\s/.test(char)) continue
      if (char !== '{') throw filterError('JSON', `found ${quoted(char)} at character ${i}, want an object`)
      start = i
    }
    if (char === '"') i = endOfString(text, i)
    else if (char === '{') depth++
    else if (char === '}' && --depth === 0) yield { json: text.slice(start, i + 1), at: start }
  }
  if (depth !== 0) throw filterError('JSON', `the object at character ${start} does not end`)
}

/** Index of the closing quote, or the text's last when there is none. */
function endOfString(text: string, open: number): number {
  for (let i = open + 1; i < text.length; i++) {
    if (text[i] === '\\') i++
    else if (text[i] === '"') return i
  }
  return text.length - 1
}

function readMessage(path: string, fields: Readonly<Record<string, FieldType>>, value: unknown): object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw filterError(path || 'FlowFilter', `found ${quoted(value)}, want an object`)
  }
  const message: Record<string, unknown> = {}
  for (const [key, part] of Object.entries(value)) {
    const name = protoName(fields, key)
    const field = path === '' ? key : `${path}.${key}`
    if (name === undefined) {
      throw filterError(field, `unknown field ${quoted(key)}; want one of ${Object.keys(fields).join(', ')}`)
    }
    if (name in message) throw filterError(field, `field is given twice`)
    if (part === null) continue
    message[name] = readField(field, fields[name]!, part)
  }
  return message
}

function protoName(fields: Readonly<Record<string, FieldType>>, key: string): string | undefined {
  if (Object.hasOwn(fields, key)) return key
  return Object.keys(fields).find((name) => camelCase(name) === key)
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

function readField(path: string, { type, isList }: FieldType, value: unknown): unknown {
  if (!isList) return readValue(path, type, value)
  if (!Array.isArray(value)) throw filterError(path, `found ${quoted(value)}, want a list`)
  return value.map((one) => readValue(path, type, one))
}

function readValue(path: string, type: ValueType, value: unknown): unknown {
  if (typeof type === 'object') {
    return 'fields' in type ? readMessage(path, type.fields, value) : readEnum(path, type, value)
  }
  switch (type) {
    case 'string':
      if (typeof value === 'string') return value
      break
    case 'bool':
      if (typeof value === 'boolean') return value
      break
    case 'int32':
      return readInteger(path, value, -(2n ** 31n), 2n ** 31n - 1n, Number)
    case 'uint32':
      return readInteger(path, value, 0n, 2n ** 32n - 1n, Number)
    case 'uint64':
      return readInteger(path, value, 0n, 2n ** 64n - 1n, (number) => number)
  }
  throw filterError(path, `found ${quoted(value)}, want a ${type}`)
}

/** Numbers, or text of numbers, as JSON of protobuf allows both. */
function readInteger<T>(path: string, value: unknown, min: bigint, max: bigint, result: (value: bigint) => T): T {
  const isInteger =
    typeof value === 'number' ? Number.isInteger(value) : typeof value === 'string' && /^-?[0-9]{1,20}$/.test(value)
  const number = isInteger ? BigInt(value as number | string) : undefined
  if (number === undefined || number < min || number > max) {
    throw filterError(path, `found ${quoted(value)}, want an integer from ${min} to ${max}`)
  }
  return result(number)
}

function readEnum(path: string, type: Extract<ValueType, { enumeration: string }>, value: unknown): number {
  if (typeof value === 'number') return readInteger(path, value, -(2n ** 31n), 2n ** 31n - 1n, Number)
  const number = typeof value === 'string' ? type.numbers.get(value) : undefined
  if (number === undefined) {
    throw filterError(path, `found ${quoted(value)}, want one of ${[...type.numbers.keys()].join(', ')}, or a number`)
  }
  return number
}
