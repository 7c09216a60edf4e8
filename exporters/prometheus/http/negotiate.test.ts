import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { acceptsGzip, negotiateFormat } from './negotiate.ts'

/** What Prometheus 2.42 sends. */
const PROMETHEUS =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
/** What Prometheus 3 sends. */
const PROMETHEUS_3 =
  'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2'

describe('negotiateFormat()', () => {
  test.each([
    [undefined, 'text'],
    ['', 'text'],
    ['*/*', 'text'],
    ['text/plain', 'text'],
    ['text/html,application/xhtml+xml,*/*;q=0.8', 'text'],
    ['application/openmetrics-text', 'openmetrics'],
    ['Application/OpenMetrics-Text; Version="1.0.0"', 'openmetrics'],
    ['application/openmetrics-text;version=2.0.0', 'text'],
    ['application/openmetrics-text;q=0', 'text'],
    ['application/openmetrics-text;q=0.2, text/plain;q=0.5', 'text'],
    ['text/plain;q=0.5, application/openmetrics-text;q=0.5', 'openmetrics'],
    ['application/openmetrics-text;q=nonsense, text/plain;q=0.1', 'text'],
    [PROMETHEUS, 'openmetrics'],
    [PROMETHEUS_3, 'openmetrics'],
    [',,;;=,q=1', 'text'],
  ])('answers %s with %s', (accept, format) => {
    expect(negotiateFormat(accept).format).toBe(format)
  })

  test('names the version that was asked for', () => {
    expect(negotiateFormat('application/openmetrics-text;version=0.0.1').contentType).toContain('version=0.0.1;')
    expect(negotiateFormat(PROMETHEUS).contentType).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
    expect(negotiateFormat(undefined).contentType).toBe('text/plain; version=0.0.4; charset=utf-8')
  })
})

describe('acceptsGzip()', () => {
  test.each([
    [undefined, false],
    ['gzip', true],
    ['deflate, gzip;q=1.0, *;q=0.5', true],
    ['gzip;q=0', false],
    ['gzip;q=0.1, identity', false],
    ['identity;q=0.5, *', true],
    ['*;q=0', false],
    ['br', false],
  ])('says for %s: %s', (header, wanted) => {
    expect(acceptsGzip(header)).toBe(wanted)
  })
})

test('any header gets an answer', () => {
  const piece = fc.constantFrom('application/openmetrics-text', 'gzip', '*', ',', ';', 'q=', '=', '0.5', '"', ' ')
  const header = fc.oneof(
    fc.string(),
    fc.array(piece).map((pieces) => pieces.join('')),
  )
  fc.assert(
    fc.property(header, (text) => {
      expect(['text', 'openmetrics']).toContain(negotiateFormat(text).format)
      expect(typeof acceptsGzip(text)).toBe('boolean')
    }),
    { numRuns: 500 },
  )
})
