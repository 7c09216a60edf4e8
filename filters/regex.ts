import { RE2JS } from 're2js'

/** Longest regular expression accepted, characters. */
export const MAX_REGEX_LENGTH = 4096
/**
 * Largest expression once its counted repetitions are written out, in atoms: `[a-z]{1000}` is 1,000. Compiling and
 * matching take time in proportion; 2,000 atoms compile in about 10 ms and match a 1 kB text in at most about as much.
 */
export const MAX_REGEX_SIZE = 2000
/** Compiled expressions kept; the one not used for longest goes when it is full. */
export const REGEX_CACHE_SIZE = 256

/** An expression in RE2 syntax. Matching takes time linear in the text, whatever the expression. */
export interface Regex {
  readonly source: string
  /** True when the expression matches anywhere in the text. */
  test(text: string): boolean
}

const cache = new Map<string, Regex>()
let compiled = 0
let evicted = 0

/**
 * Compiles, or finds again, an expression.
 *
 * @throws Error with the expression's own fault when it is no RE2 expression, too long or too large
 */
export function compileRegex(source: string): Regex {
  const known = cache.get(source)
  if (known !== undefined) {
    // Last in the map's order is the one used last.
    cache.delete(source)
    cache.set(source, known)
    return known
  }
  if (source.length > MAX_REGEX_LENGTH) {
    throw new Error(`expression of ${source.length} characters, want at most ${MAX_REGEX_LENGTH}`)
  }
  const size = regexSize(source)
  if (size > MAX_REGEX_SIZE) {
    throw new Error(`expression of ${size} atoms with its repetitions written out, want at most ${MAX_REGEX_SIZE}`)
  }
  const made = compileTrusted(source)
  compiled++
  if (cache.size >= REGEX_CACHE_SIZE) {
    cache.delete(cache.keys().next().value!)
    evicted++
  }
  cache.set(source, made)
  return made
}

/** Compiles an expression that we have written ourselves: no bound, not cached. */
export function compileTrusted(source: string): Regex {
  const pattern = RE2JS.compile(source)
  return { source, test: (text) => pattern.test(text) }
}

/** The cache since the process started. */
export function regexCacheStats(): { readonly size: number; readonly compiled: number; readonly evicted: number } {
  return { size: cache.size, compiled, evicted }
}

const ATOM = /\\[pPx]\{[^}]*\}|\\Q[\s\S]*?(?:\\E|$)|\\[\s\S]|\[\^?\]?(?:\\[\s\S]|\[:[a-z^]+:\]|[^\]\\])*\]?|[\s\S]/uy
const REPEAT = /\{([0-9]+)(,?)([0-9]*)\}/y

/**
 * Atoms of an expression with counted repetitions written out. An estimate from the text alone, made before anything
 * is compiled; it is never less than a linear part of the real size.
 */
export function regexSize(source: string): number {
  const open: number[] = []
  let size = 0
  let last = 0
  for (let at = 0; at < source.length; ) {
    REPEAT.lastIndex = at
    const repeat = REPEAT.exec(source)
    if (repeat !== null) {
      const count = Math.max(1, Number(repeat[1]), Number(repeat[3]))
      size += last * (count - 1)
      last *= count
      at = REPEAT.lastIndex
      continue
    }
    ATOM.lastIndex = at
    const atom = ATOM.exec(source)?.[0] ?? source[at]!
    at += atom.length
    if (atom === '(') {
      open.push(size)
    } else if (atom === ')') {
      last = size - (open.pop() ?? 0)
    } else if (!'*+?|'.includes(atom)) {
      last = atom.startsWith('\\Q') ? atom.length : 1
      size += last
    }
  }
  return size
}
