import type { MessageField, MessageType } from './flow-types.ts'

/** An unsigned integer; signed ones are plain bigints, so that the two stay apart when they run. */
export class Uint {
  readonly value: bigint
  constructor(value: bigint) {
    this.value = value
  }
}

export class Timestamp {
  /** Nanoseconds since 1970. */
  readonly ns: bigint
  constructor(ns: bigint) {
    this.ns = ns
  }
}

export class Duration {
  readonly ns: bigint
  constructor(ns: bigint) {
    this.ns = ns
  }
}

/** The value of type(x) and of type names. */
export class TypeName {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

/** A message; `raw` is what its fields are read from, undefined for a message that is not set. */
export class Message {
  readonly type: MessageType
  readonly raw: unknown
  constructor(type: MessageType, raw: unknown) {
    this.type = type
    this.raw = raw
  }
}

/** Keys are compared by value; `entries` by the text of the key. */
export class CelMap {
  readonly entries = new Map<string, { readonly key: Value; readonly value: Value }>()

  get(key: Value): Value | undefined {
    return this.entries.get(keyText(key))?.value
  }

  has(key: Value): boolean {
    return this.entries.has(keyText(key))
  }

  set(key: Value, value: Value): void {
    this.entries.set(keyText(key), { key, value })
  }
}

export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Uint8Array
  | Uint
  | Timestamp
  | Duration
  | TypeName
  | Message
  | CelMap
  | readonly Value[]

/** Why an evaluation failed. Made once each: failing is ordinary and must be cheap, so it carries no stack. */
export class CelFault {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

export const FAULT = {
  noSuchKey: new CelFault('no such key'),
  noSuchField: new CelFault('no such field'),
  noOverload: new CelFault('no such overload'),
  outOfRange: new CelFault('index out of range'),
  overflow: new CelFault('integer overflow'),
  divideByZero: new CelFault('division by zero'),
  conversion: new CelFault('conversion failed'),
  regex: new CelFault('invalid regular expression'),
  duplicateKey: new CelFault('duplicate key'),
  steps: new CelFault('too many steps'),
} as const

/** Kind of a value as overloads name it. */
export function kindOf(value: Value): string {
  switch (typeof value) {
    case 'bigint':
      return 'int'
    case 'number':
      return 'double'
    case 'boolean':
      return 'bool'
    case 'string':
      return 'string'
    default:
      break
  }
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'list'
  if (value instanceof Uint) return 'uint'
  if (value instanceof Message) return 'message'
  if (value instanceof CelMap) return 'map'
  if (value instanceof Uint8Array) return 'bytes'
  if (value instanceof Timestamp) return 'timestamp'
  if (value instanceof Duration) return 'duration'
  return 'type'
}

/** CEL's name of a value's type. */
export function typeNameOf(value: Value): string {
  const kind = kindOf(value)
  switch (kind) {
    case 'null':
      return 'null_type'
    case 'timestamp':
      return 'google.protobuf.Timestamp'
    case 'duration':
      return 'google.protobuf.Duration'
    case 'message':
      return `flow.${(value as Message).type.name}`
    default:
      return kind
  }
}

function keyText(key: Value): string {
  // Integers of both kinds and whole doubles are the same key.
  const number = numeric(key)
  if (number !== undefined) return `n${number}`
  return typeof key === 'string' ? `s${key}` : `b${String(key)}`
}

function numeric(value: Value): bigint | number | undefined {
  if (typeof value === 'bigint' || typeof value === 'number') return value
  return value instanceof Uint ? value.value : undefined
}

/** Equality of CEL: numbers by value whatever their type, other types never equal another type. */
export function isEqual(a: Value, b: Value): boolean {
  const left = numeric(a)
  const right = numeric(b)
  // Loose: a bigint and a number of the same value are equal.
  // biome-ignore lint/suspicious/noDoubleEquals: mixed comparison of bigint and number is meant
  if (left !== undefined && right !== undefined) return left == right
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((one, i) => isEqual(one, b[i]!))
  if (a instanceof Message) return b instanceof Message && isSameMessage(a.type, a.raw, b.type, b.raw)
  if (a instanceof CelMap) return b instanceof CelMap && isSameMap(a, b)
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0
  if (a instanceof Timestamp) return b instanceof Timestamp && a.ns === b.ns
  if (a instanceof Duration) return b instanceof Duration && a.ns === b.ns
  return a instanceof TypeName && b instanceof TypeName && a.name === b.name
}

function isSameMap(a: CelMap, b: CelMap): boolean {
  if (a.entries.size !== b.entries.size) return false
  for (const { key, value } of a.entries.values()) {
    const other = b.get(key)
    if (other === undefined || !isEqual(value, other)) return false
  }
  return true
}

function isSameMessage(aType: MessageType, a: unknown, bType: MessageType, b: unknown): boolean {
  if (aType !== bType) return false
  for (const field of aType.fields.values()) {
    if (isSet(field, a) !== isSet(field, b) || !isEqual(readField(field, a), readField(field, b))) return false
  }
  return true
}

/** has(): a scalar that is not its default, a list that is not empty, a message that is there. */
export function isSet(field: MessageField, raw: unknown): boolean {
  const value = raw === undefined ? undefined : field.get(raw)
  if (value === undefined) return false
  if (field.isList) return (value as readonly unknown[]).length > 0
  if (field.kind === 'message' || field.kind === 'timestamp' || field.kind === 'nullable-bool') return true
  return value !== '' && value !== 0 && value !== false && value !== 0n
}

/** A field's value; the default of its type when it, or the message, is not set. */
export function readField(field: MessageField, raw: unknown): Value {
  const value = raw === undefined ? undefined : field.get(raw)
  if (!field.isList) return fieldValue(field, value)
  return value === undefined ? [] : (value as readonly unknown[]).map((one) => fieldValue(field, one))
}

function fieldValue(field: MessageField, value: unknown): Value {
  switch (field.kind) {
    case 'string':
      return (value ?? '') as string
    case 'bool':
      return (value ?? false) as boolean
    case 'nullable-bool':
      return (value ?? null) as boolean | null
    case 'int':
      return BigInt((value ?? 0) as number)
    case 'uint':
      return new Uint(BigInt((value ?? 0) as number | bigint))
    case 'timestamp':
      return new Timestamp((value ?? 0n) as bigint)
    case 'message':
      return new Message(field.message!, value)
    case 'any':
      return null
  }
}
