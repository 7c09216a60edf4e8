import { expect, test } from 'vitest'
import { allOf, anyOf, EVERYTHING, NOTHING, not, type Predicate } from './predicate.ts'

const A: Predicate = { op: 'verdict', values: [1] }
const B: Predicate = { op: 'verdict', values: [2] }

test.each([
  [allOf(), EVERYTHING],
  [anyOf(), NOTHING],
  [allOf(A), A],
  [allOf(A, EVERYTHING), A],
  [allOf(A, NOTHING, B), NOTHING],
  [anyOf(A, NOTHING), A],
  [anyOf(A, EVERYTHING, B), EVERYTHING],
  [not(not(A)), A],
  [not(EVERYTHING), NOTHING],
  [not(NOTHING), EVERYTHING],
  [allOf(A, B), { op: 'all', of: [A, B] }],
  [anyOf(A, B), { op: 'any', of: [A, B] }],
])('predicates are folded, case %#', (made, expected) => {
  expect(made).toEqual(expected)
})
