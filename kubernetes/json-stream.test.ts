import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ApiError } from './api-error.ts'
import { LineScanner, ListScanner } from './json-stream.ts'

/** What a scanner makes of a text that comes in pieces of a size. */
function scan(text: string, size: number, max = 10_000): { items: unknown[]; frame: unknown } {
  const scanner = new ListScanner('list pods', max)
  const bytes = Buffer.from(text)
  const items: unknown[] = []
  for (let at = 0; at < bytes.length; at += size) {
    // A copy: whoever reads the socket uses its memory again.
    const chunk = Buffer.from(bytes.subarray(at, at + size))
    for (const item of scanner.feed(chunk)) items.push(JSON.parse(item.toString('utf8')))
  }
  return { items, frame: scanner.end() }
}

const failure = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof ApiError) return error.failure
    throw error
  }
  return 'none'
}

describe('ListScanner', () => {
  test.each([1, 2, 7, 64, 100_000])('cuts items and keeps the rest in pieces of %i bytes', (size) => {
    const list = {
      kind: 'PodList',
      metadata: { resourceVersion: '7', note: '"items":[{' },
      items: [
        { metadata: { name: 'a' }, items: [{ x: 1 }], text: 'brackets ]}{[ and "quotes\\"' },
        {},
        { ümläut: '💥' },
      ],
    }
    const { items, frame } = scan(JSON.stringify(list), size)
    expect(items).toEqual(list.items)
    expect(frame).toEqual({ ...list, items: [] })
  })

  test('takes fields in any order, spaces, and lists without items', () => {
    const text = '{ "items" : [ {"a":1} ,\n {"b":2} ] , "metadata":{"resourceVersion":"9"} }\n'
    expect(scan(text, 5)).toEqual({
      items: [{ a: 1 }, { b: 2 }],
      frame: { items: [], metadata: { resourceVersion: '9' } },
    })
    expect(scan('{"metadata":{},"items":null}', 4)).toEqual({ items: [], frame: { metadata: {}, items: null } })
    expect(scan('{"metadata":{},"items":[]}', 4).items).toEqual([])
  })

  test('gives what JSON.parse() gives for any list in any pieces', () => {
    const property = fc.property(
      fc.array(fc.dictionary(fc.string(), fc.jsonValue())),
      fc.dictionary(
        fc.string().filter((key) => key !== 'items' && key !== '__proto__'),
        fc.jsonValue(),
      ),
      fc.boolean(),
      fc.integer({ min: 1, max: 50 }),
      (items, rest, isFirst, size) => {
        const text = JSON.stringify(isFirst ? { items, ...rest } : { ...rest, items })
        const seen = scan(text, size, 1_000_000)
        expect(seen.items).toEqual(JSON.parse(JSON.stringify(items)))
        expect(seen.frame).toEqual(JSON.parse(JSON.stringify({ ...rest, items: [] })))
      },
    )
    fc.assert(property, { seed: 11, numRuns: 200 })
  })

  test.each([
    ['cut off in an item', '{"items":[{"a":1},{"b"', 'malformed'],
    ['cut off between items', '{"items":[{"a":1},', 'malformed'],
    ['cut off behind the items', '{"items":[{"a":1}]', 'malformed'],
    ['cut off in a string', '{"kind":"PodLi', 'malformed'],
    ['empty', '', 'malformed'],
    ['no JSON around the items', '{"items":[],nonsense}', 'malformed'],
    ['an item that is no object', '{"items":[{"a":1},7]}', 'malformed'],
    ['an item that is a text', '{"items":["x"]}', 'malformed'],
    ['an item too long', `{"items":[{"a":"${'x'.repeat(200)}"}]}`, 'too_large'],
    ['a frame too long', `{"kind":"${'x'.repeat(100_000)}","items":[]}`, 'too_large'],
  ])('refuses a list that is %s', (_what, text, expected) => {
    expect(failure(() => scan(text, 16, 100))).toBe(expected)
  })

  test('holds no more than one item however long the list is', () => {
    const scanner = new ListScanner('list pods', 1000)
    scanner.feed(Buffer.from('{"items":['))
    const item = Buffer.from(`{"a":"${'x'.repeat(900)}"},`)
    let count = 0
    for (let i = 0; i < 10_000; i++) count += scanner.feed(item).length
    expect(count).toBe(10_000)
  })
})

describe('LineScanner', () => {
  test('cuts lines in pieces of any size, and says whether one is open', () => {
    for (const size of [1, 3, 100]) {
      const scanner = new LineScanner('watch pods', 100)
      const bytes = Buffer.from('{"a":1}\n\n{"b":"ü"}\n{"c"')
      const lines: string[] = []
      for (let at = 0; at < bytes.length; at += size) {
        for (const line of scanner.feed(bytes.subarray(at, at + size))) lines.push(line.toString('utf8'))
      }
      expect(lines).toEqual(['{"a":1}', '{"b":"ü"}'])
      expect(scanner.isMidLine).toBe(true)
    }
  })

  test('refuses a line without end', () => {
    const scanner = new LineScanner('watch pods', 1000)
    const endless = () => {
      for (let i = 0; i < 100; i++) scanner.feed(Buffer.alloc(64, 'x'))
    }
    expect(failure(endless)).toBe('too_large')
  })
})
