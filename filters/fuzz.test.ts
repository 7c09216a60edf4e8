import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SluiceError } from '../base/errors.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { parseAddress, parsePrefix } from './address.ts'
import { compileFlowFilters } from './hubble/index.ts'
import { parseFlowFilters, readFlowFilter } from './hubble/json.ts'
import { FLOW_FILTER_FIELDS } from './hubble/schema.ts'
import { regexSize } from './regex.ts'
import { requestPath } from './request-uri.ts'

/** Seconds for each target; FUZZ_SECONDS=10 for a long run. */
const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 1)
const RUN = { numRuns: 1_000_000, interruptAfterTimeLimit: SECONDS * 1000, markInterruptAsFailure: false }

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

describe('fuzz', { timeout: SECONDS * 1000 + 20_000 }, () => {
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

  test('parseFlowFilters() takes or refuses any text', () => {
    const json = tokens([
      '{',
      '}',
      '[',
      ']',
      '"',
      '\\',
      ':',
      ',',
      '"uuid"',
      '"verdict"',
      '1',
      'null',
      ' ',
      '"a"',
      'true',
    ])
    fc.assert(
      fc.property(fc.oneof(json, fc.string({ unit: 'binary' })), (source) => {
        try {
          for (const filter of parseFlowFilters(source)) ask(filter)
        } catch (error) {
          if (!SluiceError.is(error)) throw error
        }
      }),
      RUN,
    )
  })

  test('readers of addresses, paths and sizes never throw', () => {
    fc.assert(
      fc.property(text, (source) => {
        parseAddress(source)
        parsePrefix(source)
        requestPath(source)
        expect(regexSize(source)).toBeGreaterThanOrEqual(0)
      }),
      RUN,
    )
  })
})
