import { GO_SPACE } from './names.ts'

/** `any` matches every source. */
export interface LabelKey {
  readonly source: string
  readonly key: string
}

/** `in` stands for `=` and `==` too, `notin` for `!=`. */
export interface LabelRequirement {
  readonly key: LabelKey
  readonly operator: 'in' | 'notin' | 'exists' | '!' | '>' | '<'
  readonly values: readonly string[]
}

interface Token {
  /** `word`, `end`, or the symbol itself. */
  readonly kind: string
  readonly text: string
}

/**
 * Reads a selector. Two steps, as in Cilium: sources become the first dotted part of the key (`k8s:app` is `k8s.app`,
 * `app` is `any.app`), since Kubernetes' grammar knows no colon; then Kubernetes' grammar.
 *
 *     selector    = [ requirement { "," requirement } ]
 *     requirement = [ "!" ] key | key ( "=" | "==" | "!=" | ">" | "<" ) [ value ] | key ( "in" | "notin" ) "(" values ")"
 *     values      = [ value ] { "," [ value ] }
 *
 * @throws Error naming what was found and what was expected
 */
export function parseSelector(selector: string): LabelRequirement[] {
  return new SelectorParser(tokens(withSources(selector))).parse()
}

/** First step: gives every key its source. Keys end at white space, `=`, `!` or `,`; commas count outside brackets. */
function withSources(selector: string): string {
  const chars = [...selector]
  let out = ''
  let i = 0
  while (i < chars.length) {
    while (i < chars.length && (GO_SPACE.test(chars[i]!) || chars[i] === '!')) out += chars[i++]
    let key = ''
    while (i < chars.length && !GO_SPACE.test(chars[i]!) && !'=!,'.includes(chars[i]!)) key += chars[i++]
    out += (key.includes(':') ? key : `any:${key}`).replace(':', '.')
    let depth = 0
    while (i < chars.length) {
      const char = chars[i++]!
      out += char
      if (char === '(') depth++
      else if (char === ')') depth--
      else if (char === ',' && depth === 0) break
    }
  }
  return out
}

const SYMBOLS = '=!(),<>'
const BLANKS = ' \t\r\n'

function tokens(text: string): Token[] {
  const found: Token[] = []
  let i = 0
  while (i < text.length) {
    const char = text[i]!
    if (BLANKS.includes(char)) {
      i++
    } else if (SYMBOLS.includes(char)) {
      const two = text.slice(i, i + 2)
      const symbol = two === '==' || two === '!=' ? two : char
      found.push({ kind: symbol, text: symbol })
      i += symbol.length
    } else {
      const start = i
      while (i < text.length && !SYMBOLS.includes(text[i]!) && !BLANKS.includes(text[i]!)) i++
      found.push({ kind: 'word', text: text.slice(start, i) })
    }
  }
  return found
}

const END: Token = { kind: 'end', text: '' }

class SelectorParser {
  readonly #tokens: readonly Token[]
  #at = 0

  constructor(list: readonly Token[]) {
    this.#tokens = list
  }

  parse(): LabelRequirement[] {
    const requirements: LabelRequirement[] = []
    if (this.#peek() === END) return requirements
    for (;;) {
      requirements.push(this.#requirement())
      const next = this.#take()
      if (next === END) return requirements
      if (next.kind !== ',') throw unexpected(next, "',' or end of selector")
      if (this.#peek() === END) throw unexpected(END, "identifier after ','")
    }
  }

  #peek(): Token {
    return this.#tokens[this.#at] ?? END
  }

  #take(): Token {
    const token = this.#peek()
    this.#at++
    return token
  }

  #requirement(): LabelRequirement {
    const isNegated = this.#peek().kind === '!'
    if (isNegated) this.#take()
    const word = this.#take()
    if (word.kind !== 'word') throw unexpected(word, 'identifier')
    const key = labelKey(word.text)
    if (isNegated) return { key, operator: '!', values: [] }
    const next = this.#peek()
    if (next === END || next.kind === ',') return { key, operator: 'exists', values: [] }
    return this.#comparison(key, this.#take())
  }

  #comparison(key: LabelKey, operator: Token): LabelRequirement {
    switch (operator.kind === 'word' ? operator.text : operator.kind) {
      case '=':
      case '==':
        return { key, operator: 'in', values: [this.#value()] }
      case '!=':
        return { key, operator: 'notin', values: [this.#value()] }
      case '>':
        return { key, operator: '>', values: [integer(this.#value())] }
      case '<':
        return { key, operator: '<', values: [integer(this.#value())] }
      case 'in':
        return { key, operator: 'in', values: this.#values() }
      case 'notin':
        return { key, operator: 'notin', values: this.#values() }
      default:
        throw unexpected(operator, 'in, notin, =, ==, !=, > or <')
    }
  }

  #value(): string {
    const next = this.#peek()
    if (next === END || next.kind === ',') return ''
    if (this.#take().kind !== 'word') throw unexpected(next, 'value')
    return labelValue(next.text)
  }

  #values(): string[] {
    const open = this.#take()
    if (open.kind !== '(') throw unexpected(open, "'('")
    const values = new Set<string>()
    // An empty place between commas or brackets is the empty value.
    for (let isValueDue = true; ; ) {
      const token = this.#take()
      if (token.kind === ')') {
        if (isValueDue) values.add('')
        return [...values]
      }
      if (token.kind === ',') {
        if (isValueDue) values.add('')
        isValueDue = true
      } else if (token.kind === 'word' && isValueDue) {
        values.add(labelValue(token.text))
        isValueDue = false
      } else {
        throw unexpected(token, "',', ')' or value")
      }
    }
  }
}

function unexpected(found: Token, expected: string): Error {
  return new Error(
    found === END ? `selector ends, expected: ${expected}` : `found '${found.text}', expected: ${expected}`,
  )
}

const NAME = /^(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/
const SUBDOMAIN = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/

/** A key as Kubernetes wants it: `[dns.subdomain/]name`, 253 and 63 characters at most. */
function labelKey(text: string): LabelKey {
  const parts = text.split('/')
  const name = parts.at(-1)!
  const prefix = parts.length === 2 ? parts[0]! : undefined
  const isValid =
    parts.length <= 2 &&
    name.length <= 63 &&
    NAME.test(name) &&
    (prefix === undefined || (prefix.length <= 253 && SUBDOMAIN.test(prefix)))
  if (!isValid)
    throw new Error(`'${shown(text)}' is no label key, expected: [prefix/]name of letters, digits, '-', '_' and '.'`)
  const dot = text.indexOf('.')
  const source = dot < 0 ? '' : text.slice(0, dot)
  return { source: source === '' || source === 'unspec' ? 'any' : source, key: text.slice(dot + 1) }
}

/** The key as the user wrote it. */
function shown(text: string): string {
  return text.startsWith('any.') ? text.slice(4) : text.replace('.', ':')
}

function labelValue(text: string): string {
  if (text.length <= 63 && NAME.test(text)) return text
  throw new Error(`'${text}' is no label value, expected: at most 63 letters, digits, '-', '_' and '.'`)
}

function integer(text: string): string {
  if (/^[0-9]+$/.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text)) return text
  throw new Error(`'${text}' is no integer, as '>' and '<' want one`)
}
