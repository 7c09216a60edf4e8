import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { costs, moneyText, parsePrices, readPrices } from './prices.ts'

const EXAMPLE = new URL('../../examples/prices.yaml', import.meta.url).pathname

describe('parsePrices()', () => {
  test('reads the example', () => {
    const list = readPrices(EXAMPLE)
    expect(list).toMatchObject({ currency: 'EUR', nodes: 20, daysPerMonth: 30 })
    expect(list.metrics.map(({ name }) => name)).toEqual(['metrics by sample', 'metrics by series'])
    expect(list.logs[1]).toEqual({ name: 'cold storage', perGB: 0.05, bytesFactor: 1 })
  })

  test('takes one node and 30 days unless told otherwise', () => {
    expect(parsePrices('currency: USD', 'p.yaml')).toEqual({
      currency: 'USD',
      nodes: 1,
      daysPerMonth: 30,
      metrics: [],
      logs: [],
    })
  })

  test.each([
    ['logs: []', /"currency" is missing/],
    ['currency: EUR\nlog: []', /p\.yaml:2: "log" is not a known key/],
    ['currency: EUR\nlogs:\n  - name: a\n    perGB: -1', /p\.yaml:4: "logs\[0\]\.perGB" = -1/],
    ['currency: EUR\nlogs:\n  - name: a\n    perGB: cheap', /p\.yaml:4: "logs\[0\]\.perGB" = "cheap"/],
    ['currency: EUR\nmetrics:\n  - name: a', /want either perThousandSeriesMonth or perMillionSamples/],
    ['currency: EUR\nmetrics:\n  - name: a\n    perMillionSamples: 1', /want scrapeInterval with perMillionSamples/],
    [
      'currency: EUR\nmetrics:\n  - name: a\n    perMillionSamples: 1\n    scrapeInterval: 0s',
      /"metrics\[0\]\.scrapeInterval" = "0s": want a duration above 0/,
    ],
    ['currency: EUR\nnodes: 0', /"nodes" = 0/],
    ['currency: EUR\nnodes: .inf', /"nodes"/],
    ['- a', /p\.yaml/],
    ['a: &a [*a]', /p\.yaml/],
  ])('refuses %j', (text, message) => {
    expect(() => parsePrices(text, 'p.yaml')).toThrow(message)
  })

  test('names a file that is not there', () => {
    expect(() => readPrices('/no/such/prices.yaml')).toThrow(/Cannot read the price list "\/no\/such\/prices\.yaml"/)
  })
})

describe('costs()', () => {
  const list = parsePrices(readFileSync(EXAMPLE, 'utf8'), 'prices.yaml')

  test('multiplies series, samples and gigabytes with what the list says', () => {
    // 20 nodes: 1,000 series make 86,400,000 samples in 30 days; 2 GB a day are 60 GB.
    expect(costs(list, 1000, 2e9)).toEqual([
      { name: 'metrics by sample', what: 'metrics', perMonth: 20 * 86.4 * 0.2 },
      { name: 'metrics by series', what: 'metrics', perMonth: 160 },
      { name: 'analytics', what: 'log', perMonth: expect.closeTo(20 * 60 * 1.2 * 2.5, 6) },
      { name: 'cold storage', what: 'log', perMonth: expect.closeTo(20 * 60 * 0.05, 6) },
    ])
  })

  test('nothing costs nothing', () => {
    expect(costs(list, 0, 0).every(({ perMonth }) => perMonth === 0)).toBe(true)
  })
})

test.each([
  [0, '0.00 EUR'],
  [0.004, '0.0040 EUR'],
  [12.345, '12.35 EUR'],
  [1234567.8, '1,234,567.80 EUR'],
])('moneyText(%s)', (amount, text) => {
  expect(moneyText(amount, 'EUR')).toBe(text)
})
