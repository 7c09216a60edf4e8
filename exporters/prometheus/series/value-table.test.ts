import { describe, expect, test } from 'vitest'
import { EMPTY_VALUE, OVERFLOW_VALUE, VALUE_LENGTH_MAX, ValueTable } from './value-table.ts'

describe('ValueTable', () => {
  test('gives equal texts one number, and the empty text 0', () => {
    const values = new ValueTable(10)
    expect(values.intern('')).toBe(EMPTY_VALUE)
    const a = values.intern('a')
    expect(values.intern('a')).toBe(a)
    expect(values.intern('b')).not.toBe(a)
    expect(values.text(a)).toBe('a')
    expect(values.lookup('c')).toBeUndefined()
  })

  test('answers overflow when it is full, and counts it', () => {
    const values = new ValueTable(2)
    values.intern('a')
    values.intern('b')
    expect(values.intern('c')).toBe(OVERFLOW_VALUE)
    expect(values.intern('a')).not.toBe(OVERFLOW_VALUE)
    expect([values.refused, values.isFull]).toEqual([1, true])
  })

  test('forgets in a sweep what is neither used nor pinned, and uses the numbers again', () => {
    const values = new ValueTable(3)
    const pinned = values.pin('egress')
    const [a, b, c] = ['a', 'b', 'c'].map((text) => values.intern(text))
    expect(values.sweep((use) => use(b!))).toBe(2)
    expect([values.lookup('a'), values.lookup('b'), values.text(pinned)]).toEqual([undefined, b, 'egress'])
    expect([a, c]).toContain(values.intern('d'))
    expect([values.generation, values.isFull]).toEqual([1, false])
  })

  test('cuts values beyond the longest', () => {
    const values = new ValueTable(3)
    const id = values.intern('x'.repeat(VALUE_LENGTH_MAX + 5))
    expect(values.text(id)).toHaveLength(VALUE_LENGTH_MAX)
    expect(values.intern('x'.repeat(VALUE_LENGTH_MAX + 9))).toBe(id)
  })
})
