import type { Code, Evaluation } from './code.ts'
import { check, type Scope, sizeOf, wantBool } from './compile.ts'
import { presence } from './fields.ts'
import { CelSyntaxError } from './lexer.ts'
import type { Node } from './parser.ts'
import { BOOL, type CelType, DYN, listOf, typeText } from './types.ts'
import { CelFault, CelMap, FAULT, type Value } from './values.ts'

type Call = Extract<Node, { node: 'call' }>

/** Arguments of each macro on a list or map. */
const MACROS: Readonly<Record<string, readonly number[]>> = {
  all: [2],
  exists: [2],
  exists_one: [2],
  existsOne: [2],
  filter: [2],
  map: [2, 3],
}

/** Is the call one that binds a variable, or has()? */
export function isMacro(name: string, isMethod: boolean, args: number): boolean {
  if (!isMethod) return name === 'has' && args === 1
  return Object.hasOwn(MACROS, name) && MACROS[name]!.includes(args)
}

/** @throws CelSyntaxError */
export function macro(node: Call, scope: Scope): Code {
  if (node.name === 'has') {
    const [field] = node.args as [Node]
    if (field.node !== 'select') throw new CelSyntaxError('has() wants a field, as in has(_flow.l7.dns)', field.at)
    return presence(check(field.operand, scope), field)
  }
  const range = check(node.target!, scope)
  const [variable, ...bodies] = node.args as [Node, ...Node[]]
  if (variable.node !== 'ident' || variable.name.startsWith('.')) {
    throw new CelSyntaxError(`${node.name}() wants the name of a variable first`, variable.at)
  }
  const index = scope.depth
  const inner: Scope = {
    variables: new Map([...scope.variables, [variable.name, { index, type: itemType(range, node) }]]),
    depth: index + 1,
  }
  const codes = bodies.map((body) => check(body, inner))
  const predicate = node.name === 'map' && codes.length === 1 ? undefined : codes[0]!
  if (predicate) wantBool(predicate, bodies[0]!)
  const loop: Loop = { range, index, predicate, result: codes.at(-1)!, size: sizeOf(codes) }
  const size = sizeOf([range, ...codes])
  switch (node.name) {
    case 'all':
      return { type: BOOL, size, run: (evaluation) => quantify(loop, evaluation, false) }
    case 'exists':
      return { type: BOOL, size, run: (evaluation) => quantify(loop, evaluation, true) }
    case 'filter':
      return { type: listOf(itemType(range, node)), size, run: (evaluation) => filter(loop, evaluation) }
    case 'map':
      return { type: listOf(loop.result.type), size, run: (evaluation) => transform(loop, evaluation) }
    default:
      return { type: BOOL, size, run: (evaluation) => filter(loop, evaluation).length === 1 }
  }
}

interface Loop {
  readonly range: Code
  /** Of the variable. */
  readonly index: number
  readonly predicate: Code | undefined
  readonly result: Code
  /** Steps of one turn. */
  readonly size: number
}

function itemType(range: Code, node: Call): CelType {
  if (range.type.kind === 'list') return range.type.of
  if (range.type.kind === 'map') return range.type.key
  if (range.type.kind === 'dyn') return DYN
  throw new CelSyntaxError(`${node.name}() wants a list or a map, found ${typeText(range.type)}`, node.at)
}

/** Elements of a list, keys of a map; each turn is paid for before it runs. */
function* turns({ range, index, size }: Loop, evaluation: Evaluation): Generator<Value> {
  const value = range.run(evaluation)
  const items = value instanceof CelMap ? Array.from(value.entries.values(), ({ key }) => key) : value
  if (!Array.isArray(items)) throw FAULT.noOverload
  for (const item of items as readonly Value[]) {
    evaluation.take(size)
    evaluation.variables[index] = item
    yield item
  }
}

/** all() and exists(): like && and ||, a fault does not matter when another element decides. */
function quantify(loop: Loop, evaluation: Evaluation, decisive: boolean): boolean {
  let fault: CelFault | undefined
  for (const _ of turns(loop, evaluation)) {
    try {
      const value = loop.predicate!.run(evaluation)
      if (value === decisive) return decisive
      if (typeof value !== 'boolean') fault = FAULT.noOverload
    } catch (error) {
      if (!(error instanceof CelFault) || error === FAULT.steps) throw error
      fault = error
    }
  }
  if (fault !== undefined) throw fault
  return !decisive
}

function filter(loop: Loop, evaluation: Evaluation): Value[] {
  const kept: Value[] = []
  for (const item of turns(loop, evaluation)) if (holds(loop, evaluation)) kept.push(item)
  return kept
}

function transform(loop: Loop, evaluation: Evaluation): Value[] {
  const made: Value[] = []
  for (const _ of turns(loop, evaluation)) if (holds(loop, evaluation)) made.push(loop.result.run(evaluation))
  return made
}

function holds({ predicate }: Loop, evaluation: Evaluation): boolean {
  if (predicate === undefined) return true
  const value = predicate.run(evaluation)
  if (typeof value !== 'boolean') throw FAULT.noOverload
  return value
}
