import { type Code, type Evaluation, withRaw } from './code.ts'
import { enumConstant } from './enums.ts'
import { selectField } from './fields.ts'
import { FLOW, MESSAGE_NAMES } from './flow-types.ts'
import { FUNCTIONS } from './functions.ts'
import { CelSyntaxError } from './lexer.ts'
import { isMacro, macro } from './macros.ts'
import type { Overload } from './overload.ts'
import type { Node } from './parser.ts'
import { BOOL, type CelType, DYN, INT, isAssignable, join, listOf, mapOf, TYPE, typeText } from './types.ts'
import { CelFault, CelMap, FAULT, isEqual, kindOf, Message, TypeName, type Value } from './values.ts'

/** Variables in sight, by name. */
export interface Scope {
  readonly variables: ReadonlyMap<string, { readonly index: number; readonly type: CelType }>
  /** How many are in use: the index of the next one. */
  readonly depth: number
}

export const NO_VARIABLES: Scope = { variables: new Map(), depth: 0 }

/** @throws CelSyntaxError naming the place and what does not fit */
export function check(node: Node, scope: Scope): Code {
  switch (node.node) {
    case 'literal':
      return constant(node.value)
    case 'ident':
      return identifier(node.name, node, scope)
    case 'select':
      return select(node, scope)
    case 'list':
      return list(node, scope)
    case 'map':
      return map(node, scope)
    case 'call':
      return call(node, scope)
  }
}

function constant(value: Value): Code {
  const kind = kindOf(value)
  // Literals are of no other kinds than these.
  return { type: { kind } as CelType, size: 1, run: () => value }
}

const FLOW_VARIABLE: Code = {
  type: { kind: 'message', message: FLOW },
  size: 1,
  run: (evaluation) => new Message(FLOW, evaluation.view),
  raw: (evaluation) => evaluation.view,
}

const TYPE_NAMES: ReadonlyMap<string, string> = new Map([
  ...['bool', 'int', 'uint', 'double', 'string', 'bytes', 'list', 'map', 'null_type', 'type'].map(
    (name): [string, string] => [name, name],
  ),
  ['google.protobuf.Timestamp', 'google.protobuf.Timestamp'],
  ['google.protobuf.Duration', 'google.protobuf.Duration'],
  ...[...MESSAGE_NAMES].flatMap((name): [string, string][] => [
    [name, `flow.${name}`],
    [`flow.${name}`, `flow.${name}`],
  ]),
])

function identifier(name: string, node: Node, scope: Scope): Code {
  const found = named(name, scope)
  if (found === undefined) {
    throw new CelSyntaxError(`undeclared reference to '${name}'; a flow is '_flow'`, node.at)
  }
  return found
}

/** A variable, an enum constant or a type. */
function named(name: string, scope: Scope): Code | undefined {
  const variable = scope.variables.get(name)
  if (variable !== undefined) {
    const { index, type } = variable
    const run = (evaluation: Evaluation): Value => evaluation.variables[index]!
    return withRaw({ type, size: 1, run })
  }
  if (name === '_flow' || name === '._flow') return FLOW_VARIABLE
  const number = enumConstant(name)
  if (number !== undefined) return { type: INT, size: 1, run: () => number }
  const type = TYPE_NAMES.get(name.replace(/^\./, ''))
  if (type === undefined) return undefined
  const value = new TypeName(type)
  return { type: TYPE, size: 1, run: () => value }
}

/** `a.b.c` where all are names; undefined for other operands. */
function qualifiedName(node: Node): string | undefined {
  if (node.node === 'ident') return node.name
  if (node.node !== 'select') return undefined
  const operand = qualifiedName(node.operand)
  return operand === undefined ? undefined : `${operand}.${node.field}`
}

function select(node: Extract<Node, { node: 'select' }>, scope: Scope): Code {
  const name = qualifiedName(node)
  const isOfVariable = name !== undefined && scope.variables.has(name.split('.')[0]!)
  const whole = name === undefined || isOfVariable ? undefined : named(name, scope)
  if (whole !== undefined) return whole
  return selectField(check(node.operand, scope), node)
}

function list(node: Extract<Node, { node: 'list' }>, scope: Scope): Code {
  const items = node.items.map((item) => check(item, scope))
  const of = items.reduce<CelType | undefined>((type, item) => join(type, item.type), undefined)
  return {
    type: listOf(of ?? DYN),
    size: sizeOf(items),
    run: (evaluation) => items.map((item) => item.run(evaluation)),
  }
}

function map(node: Extract<Node, { node: 'map' }>, scope: Scope): Code {
  const entries = node.entries.map(([key, value]) => [check(key, scope), check(value, scope)] as const)
  const key = entries.reduce<CelType | undefined>((type, [one]) => join(type, one.type), undefined)
  const value = entries.reduce<CelType | undefined>((type, [, one]) => join(type, one.type), undefined)
  return {
    type: mapOf(key ?? DYN, value ?? DYN),
    size: sizeOf(entries.flat()),
    run(evaluation) {
      const made = new CelMap()
      for (const [keyCode, valueCode] of entries) {
        const one = keyCode.run(evaluation)
        const isKey = ['string', 'int', 'uint', 'bool'].includes(kindOf(one))
        if (!isKey) throw FAULT.noOverload
        if (made.has(one)) throw FAULT.duplicateKey
        made.set(one, valueCode.run(evaluation))
      }
      return made
    },
  }
}

function call(node: Extract<Node, { node: 'call' }>, scope: Scope): Code {
  const { name, target, args } = node
  if (isMacro(name, target !== undefined, args.length)) return macro(node, scope)
  const codes = [...(target === undefined ? [] : [target]), ...args].map((arg) => check(arg, scope))
  switch (name) {
    case '_&&_':
      return logical(codes, node, false)
    case '_||_':
      return logical(codes, node, true)
    case '_?_:_':
      return conditional(codes, node)
    case '_==_':
      return equality(codes, node, true)
    case '_!=_':
      return equality(codes, node, false)
    default:
      return callFunction(name, target !== undefined, codes, node)
  }
}

/** A fault on one side does not matter when the other side decides. @param decisive the value that decides */
function logical(codes: readonly Code[], node: Node, decisive: boolean): Code {
  const [left, right] = codes as [Code, Code]
  wantBool(left, node)
  wantBool(right, node)
  const run = (evaluation: Evaluation): Value => {
    let fault: unknown
    let value: Value = !decisive
    try {
      value = left.run(evaluation)
    } catch (error) {
      if (!(error instanceof CelFault) || error === FAULT.steps) throw error
      fault = error
    }
    if (fault === undefined && typeof value !== 'boolean') fault = FAULT.noOverload
    if (fault === undefined && value === decisive) return decisive
    const other = right.run(evaluation)
    if (other === decisive) return decisive
    if (fault !== undefined) throw fault
    if (typeof other !== 'boolean') throw FAULT.noOverload
    return other
  }
  return { type: BOOL, size: sizeOf(codes), run }
}

function conditional(codes: readonly Code[], node: Node): Code {
  const [condition, then, otherwise] = codes as [Code, Code, Code]
  wantBool(condition, node)
  if (!isAssignable(otherwise.type, then.type)) throw noOverload('_?_:_', codes, node)
  const run = (evaluation: Evaluation): Value => {
    const value = condition.run(evaluation)
    if (typeof value !== 'boolean') throw FAULT.noOverload
    return (value ? then : otherwise).run(evaluation)
  }
  return withRaw({ type: join(then.type, otherwise.type), size: sizeOf(codes), run })
}

function equality(codes: readonly Code[], node: Node, wanted: boolean): Code {
  const [left, right] = codes as [Code, Code]
  if (!isAssignable(left.type, right.type)) throw noOverload(wanted ? '_==_' : '_!=_', codes, node)
  return {
    type: BOOL,
    size: sizeOf(codes),
    run: (evaluation) => isEqual(left.run(evaluation), right.run(evaluation)) === wanted,
  }
}

function callFunction(name: string, isMethod: boolean, codes: readonly Code[], node: Node): Code {
  const table = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined
  if (table === undefined) throw new CelSyntaxError(`undeclared reference to '${name}'`, node.at)
  const fitting = table.filter((overload) => overload.isMethod === isMethod && fits(overload, codes))
  const [first] = fitting
  if (first === undefined || !agree(name, codes)) throw noOverload(name, codes, node)
  const isExact = fitting.length === 1 && first.params.every((param, i) => isExactly(codes[i]!.type, param))
  return withRaw({
    type: resultType(name, fitting, codes),
    size: sizeOf(codes),
    run: isExact
      ? (evaluation) =>
          first.run(
            codes.map((code) => code.run(evaluation)),
            evaluation,
          )
      : (evaluation) =>
          dispatch(
            fitting,
            codes.map((code) => code.run(evaluation)),
            evaluation,
          ),
  })
}

/** Types that have to be the same where the table says `dyn`: an element and its list, a key and its map. */
function agree(name: string, codes: readonly Code[]): boolean {
  const [left, right] = codes.map((code) => code.type)
  if (left === undefined || right === undefined) return true
  if (name === '_in_' && right.kind === 'list') return isAssignable(left, right.of)
  if (name === '_in_' && right.kind === 'map') return isAssignable(left, right.key)
  if (name === '_[_]' && left.kind === 'map') return isAssignable(right, left.key)
  if (name === '_+_' && left.kind === 'list') return isAssignable(elementType(right), left.of)
  return true
}

function fits(overload: Overload, codes: readonly Code[]): boolean {
  return (
    overload.params.length === codes.length && overload.params.every((param, i) => isAssignable(codes[i]!.type, param))
  )
}

/** Nothing about the value is left to find out when it runs. A bool may be a wrapper's null, behind `?:` unseen. */
function isExactly(actual: CelType, param: CelType): boolean {
  return param.kind === 'dyn' || (actual.kind === param.kind && param.kind !== 'bool')
}

/** Chooses by what the values are. */
function dispatch(overloads: readonly Overload[], values: readonly Value[], evaluation: Evaluation): Value {
  const found = overloads.find((overload) =>
    overload.params.every((param, i) => param.kind === 'dyn' || param.kind === kindOf(values[i]!)),
  )
  if (found === undefined) throw FAULT.noOverload
  return found.run(values, evaluation)
}

/** Results that depend on the arguments' own types are worked out here; the table says `dyn` there. */
function resultType(name: string, fitting: readonly Overload[], codes: readonly Code[]): CelType {
  const [first] = codes
  if (name === '_[_]' && first?.type.kind === 'list') return first.type.of
  if (name === '_[_]' && first?.type.kind === 'map') return first.type.value
  if (name === '_+_' && first?.type.kind === 'list') return listOf(join(first.type.of, elementType(codes[1]!.type)))
  const results = fitting.map((overload) => overload.result)
  return results.every((result) => result.kind === results[0]!.kind) ? results[0]! : DYN
}

function elementType(type: CelType): CelType {
  return type.kind === 'list' ? type.of : DYN
}

export function wantBool(code: Code, node: Node): void {
  if (!isAssignable(code.type, BOOL)) {
    throw new CelSyntaxError(`found no matching overload: ${typeText(code.type)} where a bool is wanted`, node.at)
  }
}

function noOverload(name: string, codes: readonly Code[], node: Node): CelSyntaxError {
  const types = codes.map((code) => typeText(code.type)).join(', ')
  return new CelSyntaxError(`found no matching overload for '${name}' applied to (${types})`, node.at)
}

export function sizeOf(codes: readonly Code[]): number {
  return codes.reduce((sum, code) => sum + code.size, 1)
}
