import { CelSyntaxError, type Token, tokenize } from './lexer.ts'
import { Uint, type Value } from './values.ts'

/** An expression's tree; `at` is the character where it starts. */
export type Node =
  | { readonly node: 'literal'; readonly value: Value; readonly at: number }
  | { readonly node: 'ident'; readonly name: string; readonly at: number }
  | { readonly node: 'select'; readonly operand: Node; readonly field: string; readonly at: number }
  /** A function; a method when there is a target. Operators are functions named `_+_`. */
  | {
      readonly node: 'call'
      readonly name: string
      readonly target: Node | undefined
      readonly args: readonly Node[]
      readonly at: number
    }
  | { readonly node: 'list'; readonly items: readonly Node[]; readonly at: number }
  | { readonly node: 'map'; readonly entries: readonly (readonly [Node, Node])[]; readonly at: number }

/** How deep expressions may nest: far beyond any that a person writes, far below what the stack holds. */
export const MAX_DEPTH = 100
/** Tokens of an expression; a chain of operators nests as deep as it is long, so this bounds the stack as well. */
export const MAX_TOKENS = 1000

const RESERVED = new Set(
  'as break const continue else false for function if import in let loop package namespace null return true var void while'.split(
    ' ',
  ),
)
const RELATIONS = ['<=', '>=', '==', '!=', '<', '>']
const MAX_INT = 2n ** 63n - 1n
const MAX_UINT = 2n ** 64n - 1n

/** @throws CelSyntaxError */
export function parse(source: string): Node {
  const tokens = tokenize(source)
  if (tokens.length > MAX_TOKENS) throw new CelSyntaxError(`longer than ${MAX_TOKENS} tokens`, tokens[MAX_TOKENS]!.at)
  return new Parser(tokens).parse()
}

class Parser {
  readonly #tokens: readonly Token[]
  #at = 0
  #depth = 0

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
  }

  parse(): Node {
    const node = this.#expression()
    const rest = this.#peek()
    if (rest.kind !== 'end') throw unexpected(rest, 'an operator or the end')
    return node
  }

  #peek(): Token {
    return this.#tokens[this.#at]!
  }

  #take(): Token {
    const token = this.#peek()
    if (token.kind !== 'end') this.#at++
    return token
  }

  #isSymbol(text: string): boolean {
    const token = this.#peek()
    return token.kind === 'symbol' && token.text === text
  }

  #accept(text: string): boolean {
    const found = this.#isSymbol(text)
    if (found) this.#at++
    return found
  }

  #expect(text: string): void {
    if (!this.#accept(text)) throw unexpected(this.#peek(), `'${text}'`)
  }

  #expression(): Node {
    if (++this.#depth > MAX_DEPTH) throw new CelSyntaxError(`nested deeper than ${MAX_DEPTH}`, this.#peek().at)
    const condition = this.#or()
    let node = condition
    if (this.#accept('?')) {
      const then = this.#or()
      this.#expect(':')
      node = call('_?_:_', [condition, then, this.#expression()], condition.at)
    }
    this.#depth--
    return node
  }

  #or(): Node {
    let node = this.#and()
    while (this.#accept('||')) node = call('_||_', [node, this.#and()], node.at)
    return node
  }

  #and(): Node {
    let node = this.#relation()
    while (this.#accept('&&')) node = call('_&&_', [node, this.#relation()], node.at)
    return node
  }

  #relation(): Node {
    let node = this.#sum()
    for (;;) {
      const token = this.#peek()
      if (token.kind === 'symbol' && RELATIONS.includes(token.text)) {
        this.#at++
        node = call(`_${token.text}_`, [node, this.#sum()], node.at)
      } else if (token.kind === 'ident' && token.text === 'in') {
        this.#at++
        node = call('_in_', [node, this.#sum()], node.at)
      } else {
        return node
      }
    }
  }

  #sum(): Node {
    let node = this.#product()
    for (;;) {
      if (this.#accept('+')) node = call('_+_', [node, this.#product()], node.at)
      else if (this.#accept('-')) node = call('_-_', [node, this.#product()], node.at)
      else return node
    }
  }

  #product(): Node {
    let node = this.#unary()
    for (;;) {
      if (this.#accept('*')) node = call('_*_', [node, this.#unary()], node.at)
      else if (this.#accept('/')) node = call('_/_', [node, this.#unary()], node.at)
      else if (this.#accept('%')) node = call('_%_', [node, this.#unary()], node.at)
      else return node
    }
  }

  /** Runs of one operator cancel out in pairs, and a minus before a number belongs to it. */
  #unary(): Node {
    const { at } = this.#peek()
    let nots = 0
    while (this.#accept('!')) nots++
    if (nots > 0) return nots % 2 === 1 ? call('!_', [this.#member()], at) : this.#member()
    let minuses = 0
    while (this.#isSymbol('-') && !this.#isNegativeNumber()) {
      this.#at++
      minuses++
    }
    return minuses % 2 === 1 ? call('-_', [this.#member()], at) : this.#member()
  }

  #isNegativeNumber(): boolean {
    const kind = this.#tokens[this.#at + 1]?.kind
    return this.#isSymbol('-') && (kind === 'int' || kind === 'double')
  }

  #member(): Node {
    let node = this.#primary()
    for (;;) {
      if (this.#accept('.')) {
        const name = this.#take()
        if (name.kind !== 'ident' || ['in', 'true', 'false', 'null'].includes(name.text))
          throw unexpected(name, 'a field or method')
        node = this.#accept('(')
          ? { node: 'call', name: name.text, target: node, args: this.#items(')'), at: name.at }
          : { node: 'select', operand: node, field: name.text, at: name.at }
      } else if (this.#isSymbol('[')) {
        const { at } = this.#take()
        node = call('_[_]', [node, this.#expression()], at)
        this.#expect(']')
      } else if (this.#isSymbol('{') && (node.node === 'ident' || node.node === 'select')) {
        throw new CelSyntaxError('making messages is not supported, compare their fields', node.at)
      } else {
        return node
      }
    }
  }

  #primary(): Node {
    const token = this.#take()
    const { at } = token
    switch (token.kind) {
      case 'ident':
        return this.#identifier(token)
      case 'string':
        return { node: 'literal', value: token.text, at }
      case 'bytes':
        return { node: 'literal', value: token.bytes!, at }
      case 'int':
      case 'uint':
      case 'double':
        return { node: 'literal', value: numberValue(token, ''), at }
      case 'end':
        throw unexpected(token, 'an expression')
      default:
        return this.#bracket(token)
    }
  }

  #bracket(token: Token): Node {
    const { at } = token
    switch (token.text) {
      case '(': {
        const node = this.#expression()
        this.#expect(')')
        return node
      }
      case '[':
        return { node: 'list', items: this.#items(']'), at }
      case '{':
        return { node: 'map', entries: this.#entries(), at }
      case '-': {
        const number = this.#take()
        if (number.kind !== 'int' && number.kind !== 'double') throw unexpected(number, 'a number')
        return { node: 'literal', value: numberValue(number, '-'), at }
      }
      case '.': {
        const name = this.#take()
        if (name.kind !== 'ident') throw unexpected(name, 'a name')
        return { node: 'ident', name: `.${name.text}`, at }
      }
      default:
        throw unexpected(token, 'an expression')
    }
  }

  #identifier(token: Token): Node {
    const { text: name, at } = token
    if (name === 'true' || name === 'false') return { node: 'literal', value: name === 'true', at }
    if (name === 'null') return { node: 'literal', value: null, at }
    if (RESERVED.has(name)) throw new CelSyntaxError(`'${name}' is a reserved word`, at)
    if (this.#accept('(')) return { node: 'call', name, target: undefined, args: this.#items(')'), at }
    return { node: 'ident', name, at }
  }

  /** Expressions up to a bracket; lists may end in a comma. */
  #items(close: string): Node[] {
    const items: Node[] = []
    while (!this.#accept(close)) {
      items.push(this.#expression())
      if (this.#isSymbol(close)) continue
      this.#expect(',')
      if (close === ')' && this.#isSymbol(close)) throw unexpected(this.#peek(), 'an expression')
    }
    return items
  }

  #entries(): [Node, Node][] {
    const entries: [Node, Node][] = []
    while (!this.#accept('}')) {
      const key = this.#expression()
      this.#expect(':')
      entries.push([key, this.#expression()])
      if (!this.#isSymbol('}')) this.#expect(',')
    }
    return entries
  }
}

function call(name: string, args: readonly Node[], at: number): Node {
  return { node: 'call', name, target: undefined, args, at }
}

function numberValue(token: Token, sign: string): Value {
  if (token.kind === 'double') return Number(sign + token.text)
  const digits = token.kind === 'uint' ? token.text.slice(0, -1) : token.text
  const value = sign === '-' ? -BigInt(digits) : BigInt(digits)
  if (token.kind === 'uint') {
    if (value > MAX_UINT) throw new CelSyntaxError(`${token.text} does not fit 64 bits`, token.at)
    return new Uint(value)
  }
  if (value > MAX_INT || value < -MAX_INT - 1n) throw new CelSyntaxError(`${token.text} does not fit 64 bits`, token.at)
  return value
}

function unexpected(token: Token, expected: string): CelSyntaxError {
  const found = token.kind === 'end' ? 'the end' : token.kind === 'string' ? 'a string' : `'${token.text}'`
  return new CelSyntaxError(`found ${found}, expected ${expected}`, token.at)
}
