/** A piece of an expression. */
export interface Token {
  readonly kind: 'ident' | 'int' | 'uint' | 'double' | 'string' | 'bytes' | 'symbol' | 'end'
  /** Text of identifiers, symbols and numbers; value of strings. */
  readonly text: string
  /** Value of bytes. */
  readonly bytes?: Uint8Array
  /** Character where it starts. */
  readonly at: number
}

/** A fault in an expression, with where it is. */
export class CelSyntaxError extends Error {
  constructor(message: string, at: number) {
    super(`${message} (at character ${at})`)
  }
}

const SYMBOLS = [
  '&&',
  '||',
  '<=',
  '>=',
  '==',
  '!=',
  '<',
  '>',
  '+',
  '-',
  '*',
  '/',
  '%',
  '!',
  '?',
  ':',
  '.',
  ',',
  '(',
  ')',
  '[',
  ']',
  '{',
  '}',
]
const NUMBER =
  /(?:0x[0-9a-fA-F]+|[0-9]+)[uU]|0x[0-9a-fA-F]+|[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+/y
const IDENT = /[_a-zA-Z][_a-zA-Z0-9]*/y
const STRING_START = /([rRbB]{0,2})("""|'''|"|')/y
const BLANK = /(?:[ \t\n\f\r]|\/\/[^\n]*)+/y

/** @throws CelSyntaxError */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  while (at < source.length) {
    at += match(BLANK, source, at)?.length ?? 0
    if (at >= source.length) break
    const token = next(source, at)
    tokens.push(token.token)
    at = token.end
  }
  tokens.push({ kind: 'end', text: '', at })
  return tokens
}

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(source)?.[0]
}

function next(source: string, at: number): { token: Token; end: number } {
  STRING_START.lastIndex = at
  const string = STRING_START.exec(source)
  if (string !== null) return readString(source, at, string[1]!.toLowerCase(), string[2]!)
  const ident = match(IDENT, source, at)
  if (ident !== undefined) return { token: { kind: 'ident', text: ident, at }, end: at + ident.length }
  const number = match(NUMBER, source, at)
  if (number !== undefined) {
    const isHex = number.startsWith('0x')
    const kind = /[uU]$/.test(number) ? 'uint' : !isHex && /[.eE]/.test(number) ? 'double' : 'int'
    return { token: { kind, text: number, at }, end: at + number.length }
  }
  const symbol = SYMBOLS.find((one) => source.startsWith(one, at))
  if (symbol === undefined) throw new CelSyntaxError(`unexpected '${source[at]}'`, at)
  return { token: { kind: 'symbol', text: symbol, at }, end: at + symbol.length }
}

function readString(source: string, at: number, prefix: string, quote: string): { token: Token; end: number } {
  if (prefix === 'rr' || prefix === 'bb') throw new CelSyntaxError(`unexpected '${prefix}'`, at)
  const isRaw = prefix.includes('r')
  const isBytes = prefix.includes('b')
  const start = at + prefix.length + quote.length
  let end = start
  while (end < source.length && !source.startsWith(quote, end)) {
    if (quote.length === 1 && (source[end] === '\n' || source[end] === '\r')) break
    end += source[end] === '\\' && !isRaw ? 2 : 1
  }
  if (!source.startsWith(quote, end)) throw new CelSyntaxError('string does not end', at)
  const body = source.slice(start, end)
  const token: Token = isBytes
    ? { kind: 'bytes', text: '', bytes: isRaw ? new TextEncoder().encode(body) : unescapeBytes(body, start), at }
    : { kind: 'string', text: isRaw ? body : unescapeText(body, start), at }
  return { token, end: end + quote.length }
}

const ESCAPE =
  /\\(?:([abfnrtv\\'"`?])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([\s\S]?))/g
const SIMPLE: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }

function unescapeText(body: string, at: number): string {
  return body.replace(ESCAPE, (all, simple, hex, short, long, octal) => {
    if (simple !== undefined) return SIMPLE[simple] ?? simple
    const code = Number.parseInt(hex ?? short ?? long ?? octal ?? 'x', octal === undefined ? 16 : 8)
    const isValid = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff)
    if (!isValid) throw new CelSyntaxError(`invalid escape ${all}`, at)
    return String.fromCodePoint(code)
  })
}

/** In bytes, `\x` and octal escapes are bytes, not characters. */
function unescapeBytes(body: string, at: number): Uint8Array {
  const bytes: number[] = []
  const encoder = new TextEncoder()
  let from = 0
  for (const found of body.matchAll(ESCAPE)) {
    bytes.push(...encoder.encode(body.slice(from, found.index)))
    from = found.index + found[0].length
    const [all, , hex, short, long, octal] = found
    if (short !== undefined || long !== undefined) throw new CelSyntaxError(`invalid escape ${all} in bytes`, at)
    if (hex !== undefined || octal !== undefined) bytes.push(Number.parseInt(hex ?? octal!, hex === undefined ? 8 : 16))
    else bytes.push(...encoder.encode(unescapeText(all, at)))
  }
  bytes.push(...encoder.encode(body.slice(from)))
  return Uint8Array.from(bytes)
}
