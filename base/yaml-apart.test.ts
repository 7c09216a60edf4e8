import { describe, expect, test } from 'vitest'
import { parseYamlDocumentsApart } from './yaml-apart.ts'
import { parseYamlDocuments } from './yaml-document.ts'

const options = { file: 'x.yaml', code: 'SLUICE_FILTER_INVALID' } as const
const filler = `# ${'x'.repeat(100)}\n`.repeat(60)
const PATHS = [[], ['a'], ['a', 1], ['a', 1, 'b'], ['a', 1, 'b', 'no'], ['no'], ['c'], [0]] as const

describe('parseYamlDocumentsApart()', () => {
  test.each([
    'a:\n  - 1\n  - b: 2\n  # word\nc: d\n',
    'a: &x {b: 1}\nc: *x\n---\n\n--- text\n---\n- 1\n- [2]\n',
    '? [a]\n: b\nc: ~\n',
    '',
  ])('gives the same as in place: %j', async (text) => {
    const apart = await parseYamlDocumentsApart(filler + text, options)
    const here = parseYamlDocuments(filler + text, options)
    expect(apart.map(({ value, problems }) => ({ value, problems }))).toEqual(
      here.map(({ value, problems }) => ({ value, problems })),
    )
    for (const path of PATHS) {
      expect(apart.map((one) => one.lineOf(path))).toEqual(here.map((one) => one.lineOf(path)))
    }
  })

  test('tells mistakes of one document and keeps the others', async () => {
    const [good, bad] = await parseYamlDocumentsApart(`${filler}a: 1\n---\nb: [\n`, options)
    expect([good?.value, good?.problems]).toEqual([{ a: 1 }, []])
    expect([bad?.value, bad?.problems[0]]).toEqual([undefined, expect.stringMatching(/^x\.yaml:6[34]: Flow sequence/)])
  })

  test.each<[string, string, RegExp]>([
    [
      'aliases that grow',
      Array.from({ length: 6 }, (_, i) => `k${i}: &a${i} [${Array(9).fill(i ? `*a${i - 1}` : 'x')}]`).join('\n'),
      /Excessive alias count/,
    ],
    ['collections nested too deeply', '- '.repeat(20_000), /nested too deeply/],
    ['lists nested too deeply', '['.repeat(50_000), /nested too deeply|Flow sequence|memory|ended early/],
  ])('refuses %s', async (_what, text, message) => {
    const answer = await parseYamlDocumentsApart(filler + text, options).then(
      (documents) => documents.flatMap(({ problems }) => problems).join('\n'),
      (error: Error) => error.message,
    )
    expect(answer).toMatch(message)
    expect(answer.length).toBeLessThan(5000)
  })
})
