import type { MessageType } from './flow-types.ts'

/** Static type of an expression. */
export type CelType =
  | {
      readonly kind:
        | 'bool'
        | 'int'
        | 'uint'
        | 'double'
        | 'string'
        | 'bytes'
        | 'null'
        | 'dyn'
        | 'timestamp'
        | 'duration'
        | 'type'
    }
  | { readonly kind: 'list'; readonly of: CelType }
  | { readonly kind: 'map'; readonly key: CelType; readonly value: CelType }
  /** google.protobuf.BoolValue: a bool, or null when it is not set. */
  | { readonly kind: 'wrapper'; readonly of: CelType }
  | { readonly kind: 'message'; readonly message: MessageType }

export const BOOL: CelType = { kind: 'bool' }
export const INT: CelType = { kind: 'int' }
export const UINT: CelType = { kind: 'uint' }
export const DOUBLE: CelType = { kind: 'double' }
export const STRING: CelType = { kind: 'string' }
export const BYTES: CelType = { kind: 'bytes' }
export const DYN: CelType = { kind: 'dyn' }
export const TIMESTAMP: CelType = { kind: 'timestamp' }
export const DURATION: CelType = { kind: 'duration' }
export const TYPE: CelType = { kind: 'type' }
export const NULLABLE_BOOL: CelType = { kind: 'wrapper', of: BOOL }

export function listOf(of: CelType): CelType {
  return { kind: 'list', of }
}

export function mapOf(key: CelType, value: CelType): CelType {
  return { kind: 'map', key, value }
}

/** May a value of type `actual` stand where `wanted` is expected? `dyn` fits everywhere and is checked when it runs. */
export function isAssignable(actual: CelType, wanted: CelType): boolean {
  if (actual.kind === 'dyn' || wanted.kind === 'dyn') return true
  if (actual.kind === 'wrapper')
    return wanted.kind === 'null' || isAssignable(actual.of, wanted.kind === 'wrapper' ? wanted.of : wanted)
  if (wanted.kind === 'wrapper') return actual.kind === 'null' || isAssignable(actual, wanted.of)
  if (actual.kind === 'null') return ['null', 'message', 'timestamp', 'duration'].includes(wanted.kind)
  if (wanted.kind === 'null') return isAssignable(wanted, actual)
  if (actual.kind !== wanted.kind) return false
  if (actual.kind === 'list' && wanted.kind === 'list') return isAssignable(actual.of, wanted.of)
  if (actual.kind === 'map' && wanted.kind === 'map') {
    return isAssignable(actual.key, wanted.key) && isAssignable(actual.value, wanted.value)
  }
  if (actual.kind === 'message' && wanted.kind === 'message') return actual.message === wanted.message
  return true
}

/** The type that both fit, for elements of a literal: `dyn` when there is none. */
export function join(a: CelType | undefined, b: CelType): CelType {
  if (a === undefined) return b
  if (a.kind === 'dyn' || b.kind === 'dyn') return DYN
  if (isAssignable(b, a)) return a.kind === 'null' ? b : a
  return DYN
}

/** As an error message writes it. */
export function typeText(type: CelType): string {
  switch (type.kind) {
    case 'list':
      return `list(${typeText(type.of)})`
    case 'map':
      return `map(${typeText(type.key)}, ${typeText(type.value)})`
    case 'wrapper':
      return `wrapper(${typeText(type.of)})`
    case 'message':
      return `flow.${type.message.name}`
    case 'timestamp':
      return 'google.protobuf.Timestamp'
    case 'duration':
      return 'google.protobuf.Duration'
    default:
      return type.kind
  }
}
