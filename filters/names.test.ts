import { describe, expect, test } from 'vitest'
import { compileFqdnGlobs, compileNodeGlobs, MAX_GLOB_LENGTH } from './names.ts'

describe('compileFqdnGlobs()', () => {
  test.each([
    ['example.com', 'example.com', true],
    ['example.com', 'www.example.com', false],
    ['*.example.com', 'a.b.example.com', true],
    ['*', '', true],
    ['*', 'a_b.example', false],
    ['a_*', 'a_b', true],
    [' Example.COM. ', 'example.com', true],
    ['ex.mple.com', 'example.com', false],
  ])('%j matches %j: %s', (glob, name, answer) => {
    expect(compileFqdnGlobs([glob]).matches(name)).toBe(answer)
  })

  test('matches when any glob does, however many there are', () => {
    const globs = Array.from({ length: 2000 }, (_, i) => `host-${i}.example.com`)
    const pattern = compileFqdnGlobs(globs)
    expect(pattern.matches('host-0.example.com')).toBe(true)
    expect(pattern.matches('host-1999.example.com')).toBe(true)
    expect(pattern.matches('host-2000.example.com')).toBe(false)
  })

  test.each([
    ['', 'empty pattern'],
    ['a..', 'multiple trailing dots'],
    ['a/b', "'/': invalid rune"],
    ['é', 'invalid rune'],
    ['*'.repeat(MAX_GLOB_LENGTH + 1), `want at most ${MAX_GLOB_LENGTH}`],
  ])('refuses %j', (glob, message) => {
    expect(() => compileFqdnGlobs([glob])).toThrow(message)
  })
})

describe('compileNodeGlobs()', () => {
  test.each([
    ['node-1', 'node-1', true],
    ['node-1', 'cl1/node-1', true],
    ['cl1/', 'cl1/node-1', true],
    ['cl1/', 'node-1', false],
    ['default/', 'node-1', true],
    ['/node-*', 'cl2/node-9', true],
    ['cl*/n*1', 'cl1/node-1', true],
    ['*', '', false],
    ['/', 'a/b', true],
  ])('%j matches %j: %s', (glob, name, answer) => {
    expect(compileNodeGlobs([glob]).matches(name)).toBe(answer)
  })

  test('refuses an empty glob and more than one slash', () => {
    expect(() => compileNodeGlobs([''])).toThrow('empty pattern')
    expect(() => compileNodeGlobs(['a/b/c'])).toThrow('too many slashes')
  })
})
