import { expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { finish } from './steps.ts'
import { yamlText } from './yaml-text.ts'

const VALUE = {
  metrics: [
    { name: 'flow', 'a: b': 'yes', options: [], none: {}, list: ['1', 2, true, null, '*x', ' y ', '# z', 'ä', "it's"] },
    [['a', 'b'], 'c'],
  ],
  empty: '',
  log: { path: '/var/log', long: 'word '.repeat(50), deep: [{ a: [{ b: 1 }] }] },
}

test('writes as the library does', () => {
  expect(finish(yamlText(VALUE))).toBe(stringify(VALUE, { lineWidth: 0 }))
  for (const one of [{}, [], 'x', null, { a: 1 }]) expect(finish(yamlText(one))).toBe(stringify(one))
})

test('keeps lines of a text together', () => {
  const value = { a: ['x\ny', '- z\n'], 'k\nl': 1 }
  expect(parse(finish(yamlText(value)))).toEqual(value)
})

test('is done in many steps', () => {
  const steps = yamlText(Array.from({ length: 1000 }, (_, i) => ({ i })))
  let count = 0
  while (!steps.next().done) count++
  expect(count).toBeGreaterThanOrEqual(1000)
})
