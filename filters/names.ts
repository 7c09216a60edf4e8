import { compileTrusted, type Regex } from './regex.ts'

/** Longest glob accepted; a DNS name has at most 253 characters, a node's name two such halves. */
export const MAX_GLOB_LENGTH = 512
/** Alternatives of one expression, characters: more make a second expression. */
const CHUNK_LENGTH = 4000

/** Globs compiled into one whole-match expression. */
export interface NamePattern {
  readonly globs: readonly string[]
  matches(name: string): boolean
}

/** White space as Go's unicode.IsSpace has it, which is not JavaScript's `\s`. */
export const GO_SPACE = /[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/u

/** Any name, for the empty half of `cluster/` or `/node`. */
const ANY_NAME = '[-0-9_a-z]+(?:\\.[-0-9_a-z]+)*'

/**
 * Names of hosts: `*` is any run of letters, digits, dots and dashes; upper case, surrounding space and one trailing
 * dot are forgiven.
 *
 * @throws Error naming what is wrong with a glob
 */
export function compileFqdnGlobs(globs: readonly string[]): NamePattern {
  return compileGlobs(globs, fqdnExpression)
}

/**
 * Names of nodes: `node`, `cluster/node`, `cluster/`, `/node`; each half a glob as above. matches() wants the name of
 * the node with or without its cluster; without means `default`.
 *
 * @throws Error naming what is wrong with a glob
 */
export function compileNodeGlobs(globs: readonly string[]): NamePattern {
  const { matches } = compileGlobs(globs, nodeExpression)
  return { globs, matches: (name) => name !== '' && matches(name.includes('/') ? name : `default/${name}`) }
}

function compileGlobs(globs: readonly string[], expression: (glob: string) => string): NamePattern {
  for (const glob of globs) {
    if (glob.length > MAX_GLOB_LENGTH) {
      throw new Error(`pattern of ${glob.length} characters, want at most ${MAX_GLOB_LENGTH}`)
    }
  }
  const regexes = chunk(globs.map(expression)).map((part) => compileTrusted(`\\A(?:${part.join('|')})\\z`))
  return { globs, matches: matcher(regexes) }
}

/** Many alternatives become several expressions, each short enough to compile. */
function chunk(alternatives: readonly string[]): string[][] {
  const chunks: string[][] = []
  let length = Number.POSITIVE_INFINITY
  for (const one of alternatives) {
    if (length + one.length + 1 > CHUNK_LENGTH) {
      chunks.push([])
      length = 0
    }
    chunks.at(-1)!.push(one)
    length += one.length + 1
  }
  return chunks
}

function matcher(regexes: readonly Regex[]): (name: string) => boolean {
  if (regexes.length === 1) {
    const [only] = regexes as [Regex]
    return (name) => only.test(name)
  }
  return (name) => regexes.some((regex) => regex.test(name))
}

function fqdnExpression(glob: string): string {
  const name = trimSpace(glob).replace(/\.$/, '').toLowerCase()
  if (name === '') throw new Error('empty pattern')
  if (name.endsWith('.')) throw new Error('multiple trailing dots in pattern')
  let expression = ''
  for (const char of name) {
    if (char === '.') expression += '\\.'
    else if (char === '*') expression += '[-.0-9a-z]*'
    else if (/[-_0-9a-z]/.test(char)) expression += char
    else throw new Error(`'${char}': invalid rune in pattern`)
  }
  return expression
}

function nodeExpression(glob: string): string {
  if (glob === '') throw new Error('empty pattern')
  const parts = glob.split('/')
  if (parts.length > 2) throw new Error('too many slashes in pattern')
  const [cluster, node] = parts.length === 1 ? ['', parts[0]!] : (parts as [string, string])
  return `${cluster === '' ? ANY_NAME : fqdnExpression(cluster)}/${node === '' ? ANY_NAME : fqdnExpression(node)}`
}

function trimSpace(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && GO_SPACE.test(text[start]!)) start++
  while (end > start && GO_SPACE.test(text[end - 1]!)) end--
  return text.slice(start, end)
}
