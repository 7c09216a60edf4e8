import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SluiceError } from '../base/errors.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { FUZZ_SECONDS } from '../test/helpers/fuzz.ts'
import { compileFlowFilters } from './hubble/index.ts'
import { readFlowFilter } from './hubble/json.ts'
import { FLOW_FILTER_FIELDS } from './hubble/schema.ts'

const RUN = { numRuns: 1_000_000, interruptAfterTimeLimit: FUZZ_SECONDS * 1000, markInterruptAsFailure: false }

const store = new TestFlowStore()
store.push({}, { srcIp: 'fd00::1', dstIp: 'fd00::2', destinationNames: ['a.b'], source: { labels: ['k8s:app=web'] } })
const view = store.createView()

/** Built or refused with a code, answered with a bool; anything else is a fault of ours. */
function ask(filter: unknown): void {
  try {
    const predicate = compileFlowFilters([readFlowFilter(filter)], [])
    for (let sequence = 0; sequence < store.end; sequence++) {
      store.seek(view, sequence)
      expect(predicate(view)).toBeTypeOf('boolean')
    }
  } catch (error) {
    if (!SluiceError.is(error)) throw error
    expect(error.code).toBe('SLUICE_FILTER_INVALID')
  }
}

/** Text of the tokens that a grammar is made of reaches deeper than random characters. */
const tokens = (list: readonly string[]) =>
  fc.array(fc.constantFrom(...list), { maxLength: 14 }).map((parts) => parts.join(''))
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  tokens([
    'k8s:',
    'app',
    '=',
    '!=',
    ' in ',
    '(',
    ')',
    ',',
    '!',
    'a',
    '.',
    '/',
    ' ',
    '>',
    '3',
    '\u0000',
    'cidr:',
    '10.0.0.0/8',
  ]),
  tokens([
    '_flow',
    '.',
    'source',
    'labels',
    '.exists(',
    'x',
    ',',
    ')',
    '(',
    '==',
    '&&',
    '"a"',
    '1',
    'u',
    '[',
    ']',
    '{',
    '}',
    ':',
    '?',
    '-',
    '!',
    'has(',
    'l7',
    'size(',
  ]),
  tokens([
    '(',
    ')',
    '[',
    ']',
    '*',
    '+',
    '?',
    '{2}',
    '{1000}',
    'a',
    '\\',
    '|',
    '^',
    '$',
    '(?i)',
    '\\Q',
    '\\pL',
    '.',
    '-',
  ]),
  tokens(['*', '.', '-', '_', 'a', 'B', '/', ' ', 'é', '%', '%20', 'http:', '//', '@', '?', '#']),
)

describe('fuzz', { timeout: FUZZ_SECONDS * 1000 + 20_000 }, () => {
  test('every field of a filter takes or refuses any text', () => {
    const names = Object.keys(FLOW_FILTER_FIELDS)
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.array(text, { maxLength: 3 }), (name, values) => {
        ask(name === 'experimental' ? { experimental: { cel_expression: values } } : { [name]: values })
      }),
      RUN,
    )
  })

  test('readFlowFilter() takes or refuses any value', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom(...Object.keys(FLOW_FILTER_FIELDS), 'x', '__proto__'), fc.jsonValue()),
        ask,
      ),
      RUN,
    )
  })
})
