import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { METRICS_DOCUMENT, metricsDocument } from '../../scripts/gen-metrics-doc.ts'
import { CONTEXT_IDENTIFIERS, CONTEXT_LABELS, HANDLERS } from './index.ts'

const text = readFileSync(METRICS_DOCUMENT, 'utf8')

test('docs/metrics.md has the tables of the code', () => {
  const table = (document: string, name: string) =>
    document.split(`<!-- generated: ${name} -->`)[1]?.split('<!-- end')[0]
  const fresh = metricsDocument()
  // What other folders tell is checked by `npm run gen` alone, as all generated files are.
  for (const name of ['handlers', 'options', 'node']) {
    expect(table(text, name), 'stale: run `npm run gen` and commit the result').toBe(table(fresh, name))
    expect(table(fresh, name)!.split('\n').length).toBeGreaterThan(8)
  }
})

test('docs/metrics.md names every context value, label and handler', () => {
  const names = [...CONTEXT_IDENTIFIERS, ...CONTEXT_LABELS, ...HANDLERS.map((handler) => handler.name)]
  expect(names.filter((name) => !text.includes(`\`${name}\``))).toEqual([])
})
