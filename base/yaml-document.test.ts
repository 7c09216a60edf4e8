import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { SluiceError } from './errors.ts'
import { parseYaml, shownValue } from './yaml-document.ts'

const schema = z.strictObject({ name: z.string().optional() })
const options = { file: 'x.yaml', code: 'SLUICE_CONFIG_INVALID' } as const

function refusal(text: string): SluiceError {
  try {
    parseYaml(text, schema, options)
  } catch (error) {
    if (SluiceError.is(error)) return error
    throw error
  }
  throw new Error('It was accepted')
}

describe('parseYaml()', () => {
  test('refuses aliases that grow beyond all bounds', () => {
    const row = (name: string, of: string) => `${name}: &${name} [${Array(9).fill(of).join(', ')}]\n`
    const bomb = row('a', 'x') + row('b', '*a') + row('c', '*b') + row('d', '*c') + row('e', '*d')
    const { code, message } = refusal(bomb)
    expect(code).toBe('SLUICE_CONFIG_INVALID')
    expect(message).toMatch(/^Cannot use "x.yaml": 1 mistake\n {2}x.yaml:1: Excessive alias count/)
  })

  test.each(['? ', '- ', '- ? '])('refuses collections that are nested too deeply: %s', (opener) => {
    const { code, message } = refusal(opener.repeat(20_000))
    expect(code).toBe('SLUICE_CONFIG_INVALID')
    expect(message).toBe('Cannot use "x.yaml": 1 mistake\n  x.yaml:1: Collections are nested too deeply')
  })

  test('cuts what a mistake quotes', () => {
    expect(refusal(`name: !${'x'.repeat(60_000)} a\n`).message.length).toBeLessThan(700)
  })

  test('refuses a value that contains itself, naming its key', () => {
    expect(refusal('name: &a [*a]\n').message).toContain('x.yaml:1: "name" = (a value that contains itself): ')
  })
})

describe('shownValue()', () => {
  test.each([
    [{ a: [1] }, '{"a":[1]}'],
    [undefined, 'undefined'],
  ])('shows %s in one line', (value, text) => {
    expect(shownValue(value)).toBe(text)
  })
})
