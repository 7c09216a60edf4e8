import { RE2JS } from 're2js'

/** Longest regular expression accepted, characters: far above any real one, low enough to compile in milliseconds. */
export const MAX_REGEX_LENGTH = 4096
/** Compiled expressions kept; the one not used for longest goes when it is full. */
export const REGEX_CACHE_SIZE = 256

/** An expression in RE2 syntax. Matching takes time linear in the text, whatever the expression. */
export interface Regex {
  readonly source: string
  /** True when the expression matches anywhere in the text. */
  test(text: string): boolean
}

const cache = new Map<string, Regex>()

/**
 * Compiles, or finds again, an expression.
 *
 * @throws Error with the expression's own fault when it is no RE2 expression or too long
 */
export function compileRegex(source: string, maxLength = MAX_REGEX_LENGTH): Regex {
  if (source.length > maxLength) {
    throw new Error(`expression of ${source.length} characters, want at most ${maxLength}`)
  }
  const known = cache.get(source)
  if (known !== undefined) {
    // Last in the map's order is the one used last.
    cache.delete(source)
    cache.set(source, known)
    return known
  }
  const made = build(source)
  if (cache.size >= REGEX_CACHE_SIZE) cache.delete(cache.keys().next().value!)
  cache.set(source, made)
  return made
}

/** Expressions in the cache; for tests and metrics. */
export function regexCacheSize(): number {
  return cache.size
}

function build(source: string): Regex {
  const pattern = RE2JS.compile(source)
  return { source, test: (text) => pattern.test(text) }
}
