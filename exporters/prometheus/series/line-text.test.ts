import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LineText } from './line-text.ts'
import { valueText } from './text.ts'

function all(text: LineText, values: Float64Array): string {
  let out = ''
  for (let i = 0; i < text.chunkCount; i++) out += Buffer.from(text.update(i, values) ?? '').toString()
  return out
}

describe('LineText', () => {
  test('shows what a plain rendering shows after any changes', () => {
    const value = fc.oneof(
      fc.integer({ min: 0, max: 100_000 }),
      fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
      fc.double(),
      fc.constantFrom(0, 9, 10, 99, 100, 2 ** 31 - 1, 2 ** 31, -1, -0, Infinity, -Infinity, NaN),
    )
    const line = fc.integer({ min: 0, max: 300 })
    const step = fc.oneof(
      fc.record({ kind: fc.constant('insert' as const), line, label: fc.string({ unit: 'grapheme', maxLength: 12 }) }),
      fc.record({ kind: fc.constant('remove' as const), line }),
      fc.record({ kind: fc.constant('value' as const), line, value }),
      fc.record({ kind: fc.constant('suffix' as const), line, suffix: fc.constantFrom('', ' # {t="ä"} 1', ' # x') }),
      fc.record({ kind: fc.constant('render' as const) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const text = new LineText(1)
        const values = new Float64Array(301)
        const oracle = new Map<number, { prefix: string; suffix: string }>()
        const rendered = () =>
          [...oracle.keys()]
            .sort((a, b) => a - b)
            .map((at) => `${oracle.get(at)!.prefix}${valueText(values[at]!)}${oracle.get(at)!.suffix}\n`)
            .join('')
        for (const change of steps) {
          if (change.kind === 'insert' && !oracle.has(change.line)) {
            const prefix = `m{l="${Buffer.from(change.label).toString()}"} `
            text.insert(change.line, prefix)
            oracle.set(change.line, { prefix, suffix: '' })
          } else if (change.kind === 'remove') {
            text.remove(change.line)
            oracle.delete(change.line)
          } else if (change.kind === 'value') {
            values[change.line] = change.value
          } else if (change.kind === 'suffix' && oracle.has(change.line)) {
            text.setSuffix(change.line, change.suffix)
            oracle.get(change.line)!.suffix = change.suffix
          } else if (change.kind === 'render') {
            expect(all(text, values)).toBe(rendered())
          }
        }
        expect(all(text, values)).toBe(rendered())
      }),
      { numRuns: 300 },
    )
  })

  test('keeps the lines of a series together and in order', () => {
    const text = new LineText(14)
    const values = new Float64Array(14 * 30)
    for (const slot of [20, 3, 9, 10]) {
      for (let field = 0; field < 14; field++) {
        text.insert(slot * 14 + field, `s${slot}_f${field} `)
        values[slot * 14 + field] = field * 10 ** (field % 7)
      }
    }
    const names = all(text, values)
      .trim()
      .split('\n')
      .map((lineText) => lineText.split(' ')[0])
    expect(names).toEqual([3, 9, 10, 20].flatMap((slot) => Array.from({ length: 14 }, (_, f) => `s${slot}_f${f}`)))
  })

  test('holds a mark once, however often a series changes between two scrapes', () => {
    const text = new LineText(1)
    for (let i = 0; i < 1000; i++) text.mark(i % 3)
    expect(text.takeMarked()).toEqual([0, 1, 2])
    expect(text.takeMarked()).toEqual([])
    text.mark(70_000)
    expect([text.isMarked(70_000), text.isMarked(1)]).toEqual([true, false])
  })
})
