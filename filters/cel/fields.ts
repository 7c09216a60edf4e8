import { type Code, type Evaluation, withRaw } from './code.ts'
import type { MessageField } from './flow-types.ts'
import { CelSyntaxError } from './lexer.ts'
import { BOOL, type CelType, DYN, listOf, NULLABLE_BOOL, typeText } from './types.ts'
import { CelMap, FAULT, isSet, Message, readField, type Value } from './values.ts'

/** a.b: a field of a message, a key of a map, or whichever it is when it runs. */
export function selectField(operand: Code, { field: name, at }: { field: string; at: number }): Code {
  const size = operand.size + 1
  const { type } = operand
  if (type.kind === 'message') {
    const field = type.message.fields.get(name)
    if (field === undefined) throw new CelSyntaxError(`undefined field '${name}' of ${typeText(type)}`, at)
    const raw = operand.raw!
    if (field.kind === 'message' && !field.isList) {
      const message = field.message!
      const get = (evaluation: Evaluation): unknown => {
        const parent = raw(evaluation)
        return parent === undefined ? undefined : field.get(parent)
      }
      return { type: fieldType(field), size, run: (evaluation) => new Message(message, get(evaluation)), raw: get }
    }
    return { type: fieldType(field), size, run: (evaluation) => readField(field, raw(evaluation)) }
  }
  if (type.kind === 'map')
    return withRaw({ type: type.value, size, run: (evaluation) => dynamicField(operand.run(evaluation), name) })
  if (type.kind === 'dyn') return { type: DYN, size, run: (evaluation) => dynamicField(operand.run(evaluation), name) }
  throw new CelSyntaxError(`type ${typeText(type)} has no field '${name}'`, at)
}

function dynamicField(value: Value, name: string): Value {
  if (value instanceof Message) {
    const field = value.type.fields.get(name)
    if (field === undefined) throw FAULT.noSuchField
    return readField(field, value.raw)
  }
  if (!(value instanceof CelMap)) throw FAULT.noOverload
  const found = value.get(name)
  if (found === undefined) throw FAULT.noSuchKey
  return found
}

function fieldType(field: MessageField): CelType {
  const one = singleType(field)
  return field.isList ? listOf(one) : one
}

function singleType(field: MessageField): CelType {
  switch (field.kind) {
    case 'message':
      return { kind: 'message', message: field.message! }
    case 'nullable-bool':
      return NULLABLE_BOOL
    case 'any':
      return DYN
    default:
      return { kind: field.kind }
  }
}

/** has(a.b). */
export function presence(operand: Code, { field: name, at }: { field: string; at: number }): Code {
  const size = operand.size + 1
  const { type } = operand
  if (type.kind === 'message') {
    const field = type.message.fields.get(name)
    if (field === undefined) throw new CelSyntaxError(`undefined field '${name}' of ${typeText(type)}`, at)
    return { type: BOOL, size, run: (evaluation) => isSet(field, operand.raw!(evaluation)) }
  }
  if (type.kind !== 'map' && type.kind !== 'dyn') {
    throw new CelSyntaxError(`type ${typeText(type)} has no field '${name}'`, at)
  }
  return { type: BOOL, size, run: (evaluation) => hasDynamicField(operand.run(evaluation), name) }
}

function hasDynamicField(value: Value, name: string): boolean {
  if (value instanceof CelMap) return value.has(name)
  if (!(value instanceof Message)) throw FAULT.noOverload
  const field = value.type.fields.get(name)
  if (field === undefined) throw FAULT.noSuchField
  return isSet(field, value.raw)
}
