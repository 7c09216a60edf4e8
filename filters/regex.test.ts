import { describe, expect, test } from 'vitest'
import { compileRegex, MAX_REGEX_LENGTH, REGEX_CACHE_SIZE, regexCacheStats, regexSize } from './regex.ts'

describe('compileRegex()', () => {
  test('matches anywhere, in RE2 syntax', () => {
    expect(compileRegex('b+').test('abbc')).toBe(true)
    expect(compileRegex('^b').test('abbc')).toBe(false)
    expect(compileRegex('(?i)\\ABC\\z').test('bc')).toBe(true)
  })

  test.each(['(', '(?=a)', '(a)\\1', 'a{1001}', '[z-a]'])('refuses %j, which RE2 does not know', (source) => {
    expect(() => compileRegex(source)).toThrow(/error parsing regexp|expression/)
  })

  test('answers at once where a backtracking engine would take years', () => {
    const start = performance.now()
    expect(compileRegex('^(a+)+$').test(`${'a'.repeat(5000)}!`)).toBe(false)
    expect(performance.now() - start).toBeLessThan(500)
  })

  test.each(['(a{1000}){1000}', '[a-z]{1000}'.repeat(10), '(?:a{9}b{9}){150}', 'a'.repeat(MAX_REGEX_LENGTH + 1)])(
    'refuses what would take long to compile: %.20s',
    (source) => {
      const start = performance.now()
      expect(() => compileRegex(source)).toThrow('want at most')
      expect(performance.now() - start).toBeLessThan(300)
    },
  )

  test('keeps the expressions used last and no more than the cache holds', () => {
    const before = regexCacheStats().evicted
    const kept = compileRegex('kept')
    for (let i = 0; i < REGEX_CACHE_SIZE * 2; i++) {
      compileRegex(`flood-${i}`)
      compileRegex('kept')
    }
    expect(regexCacheStats().size).toBe(REGEX_CACHE_SIZE)
    expect(regexCacheStats().evicted - before).toBeGreaterThanOrEqual(REGEX_CACHE_SIZE)
    expect(compileRegex('kept')).toBe(kept)
  })
})

test.each([
  ['', 0],
  ['abc', 3],
  ['a*b+', 2],
  ['a{3}', 3],
  ['a{2,5}', 5],
  ['a{2,}', 2],
  ['[abc]{4}', 4],
  ['[]x]{4}', 4],
  ['(ab){3}', 6],
  ['((ab){3}c){2}', 14],
  ['\\d{7}', 7],
  ['\\x{9999}', 1],
  ['\\p{Greek}{2}', 2],
  ['(a|b){10}', 20],
])('regexSize() of %j is %i', (source, size) => {
  expect(regexSize(source)).toBe(size)
})
