import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { FlowView } from '../model/flow-view.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { compile } from './compile.ts'
import type { Predicate } from './predicate.ts'

const store = new TestFlowStore()
for (let verdict = 0; verdict < 8; verdict++) {
  for (const dstPort of [53, 80, 443]) store.push({ verdict, dstPort, direction: verdict % 2 ? 'egress' : 'ingress' })
}

/** The meaning of a predicate, written once more and plainly. */
function meaning(predicate: Predicate, view: FlowView): boolean {
  switch (predicate.op) {
    case 'all':
      return predicate.of.every((one) => meaning(one, view))
    case 'any':
      return predicate.of.some((one) => meaning(one, view))
    case 'not':
      return !meaning(predicate.of, view)
    case 'verdict':
      return predicate.values.includes(view.verdict)
    case 'port':
      return predicate.ports.includes(view.dstPort)
    case 'traffic-direction':
      return predicate.values.includes(view.trafficDirection)
    default:
      throw new Error(predicate.op)
  }
}

const tree: fc.Arbitrary<Predicate> = fc.letrec<{ node: Predicate }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small' },
    fc.record({ op: fc.constant('verdict' as const), values: fc.array(fc.nat(7), { maxLength: 4 }) }),
    fc.record({
      op: fc.constant('port' as const),
      side: fc.constant('destination' as const),
      ports: fc.array(fc.constantFrom(53, 80, 443, 1), { maxLength: 4 }),
    }),
    fc.record({ op: fc.constant('traffic-direction' as const), values: fc.array(fc.nat(2), { maxLength: 3 }) }),
    fc.record({ op: fc.constantFrom('all' as const, 'any' as const), of: fc.array(tie('node'), { maxLength: 5 }) }),
    fc.record({ op: fc.constant('not' as const), of: tie('node') }),
  ),
})).node

describe('compile()', () => {
  test('answers what the tree says, in any order of tests', () => {
    const view = store.createView()
    fc.assert(
      fc.property(tree, (predicate) => {
        const matches = compile(predicate)
        for (let sequence = 0; sequence < store.end; sequence++) {
          store.seek(view, sequence)
          expect(matches(view)).toBe(meaning(predicate, view))
        }
      }),
      { numRuns: 300 },
    )
  })

  test('runs cheap tests first, so that an expression is asked of few flows', () => {
    let asked = 0
    const program = { source: '', faults: 0, lastFault: '', evaluate: () => ++asked > 0 }
    const matches = compile({
      op: 'all',
      of: [
        { op: 'cel', programs: [program] },
        { op: 'verdict', values: [2] },
      ],
    })
    const view = store.createView()
    let kept = 0
    for (let sequence = 0; sequence < store.end; sequence++) {
      store.seek(view, sequence)
      if (matches(view)) kept++
    }
    expect([asked, kept]).toEqual([3, 3])
  })

  test('an expression that fails ends the list with no, as in Hubble', () => {
    const program = (answer: boolean | undefined) => ({ source: '', faults: 0, lastFault: '', evaluate: () => answer })
    const view = store.createView()
    store.seek(view, 0)
    const ask = (...answers: (boolean | undefined)[]) => compile({ op: 'cel', programs: answers.map(program) })(view)
    expect([ask(false, true), ask(undefined, true), ask(true, undefined), ask(false)]).toEqual([
      true,
      false,
      true,
      false,
    ])
  })
})
