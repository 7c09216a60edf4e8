import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import {
  CaseSet,
  type FilterCase,
  GOLDEN_CASES,
  GOLDEN_FLOWS,
  GOLDEN_SEED,
} from '../../test/interop/filters-oracle/cases.ts'
import { flowJson } from '../../test/interop/filters-oracle/flow-json.ts'

interface Golden {
  readonly flows: readonly object[]
  readonly cases: readonly (FilterCase & { readonly matches?: string; readonly error?: true })[]
}

const golden: Golden = JSON.parse(readFileSync(new URL('./fixtures/oracle.json', import.meta.url), 'utf8'))
const set = new CaseSet(GOLDEN_SEED, GOLDEN_FLOWS, GOLDEN_CASES)

test('golden answers belong to the flows and filters that are made today', () => {
  // When this fails the generator has changed: UPDATE=1 npx vitest run --project interop test/interop/filters-oracle.test.ts
  expect(JSON.parse(JSON.stringify(Array.from(set.views(), flowJson)))).toEqual(golden.flows)
  expect(golden.cases.map(({ whitelist, blacklist }) => ({ whitelist, blacklist }))).toEqual(set.cases)
})

test("compileFlowFilters() gives the answers that Hubble's own filters gave", () => {
  const differing = golden.cases.filter((one) => {
    const ours = set.answer(one)
    return (ours.error !== undefined) !== (one.error === true) || ours.matches !== one.matches
  })
  expect(differing).toEqual([])
})
