import { describe, expect, test } from 'vitest'
import { HUBBLE_CLI_MASK } from '../../model/field-mask.ts'
import { buildRequest, type SelectorOptions } from './request.ts'

const NOW = Date.UTC(2026, 0, 2)
const NONE = { allowlist: [], denylist: [] }
const build = (options: SelectorOptions, output: 'compact' | 'json' | 'wide' = 'compact') =>
  buildRequest(options, NONE, { output, nowMs: NOW })
const since = { seconds: BigInt(NOW / 1000), nanos: 0 }

describe('buildRequest()', () => {
  const cases: [string, SelectorOptions, object][] = [
    ['nothing: the last 20', {}, { number: 20n, first: false, follow: false }],
    ['--last 5', { last: '5' }, { number: 5n, first: false }],
    ['--last 0: the default', { last: '0' }, { number: 20n }],
    ['--first 5', { first: '5' }, { number: 5n, first: true }],
    ['--all', { all: true }, { number: 18446744073709551615n }],
    ['--follow', { follow: true }, { number: 0n, follow: true }],
    ['--follow --last 3', { follow: true, last: '3' }, { number: 3n, follow: true }],
    ['--follow --all', { follow: true, all: true }, { number: 18446744073709551615n, follow: true }],
    ['--since', { since: '2026-01-02' }, { number: 0n, since }],
    ['--until', { until: '2026-01-02' }, { number: 0n, until: since }],
    ['--since --last 7', { since: '2026-01-02', last: '7' }, { number: 7n, since }],
    ['--since --first 7', { since: '2026-01-02', first: '7' }, { number: 7n, first: true, since }],
    ['--all --since', { all: true, since: '2026-01-02' }, { number: 0n, since }],
    ['--follow --until', { follow: true, until: '2026-01-02' }, { follow: true, until: undefined, number: 0n }],
    ['--input-file: all of it', { inputFile: 'x' }, { number: 0n }],
  ]
  test.each(cases)('asks for what hubble asks for: %s', (_, options, expected) => {
    expect(build(options)).toMatchObject(expected)
  })

  test('asks only for shown fields with columns, for all with JSON and wide', () => {
    expect(build({}).field_mask).toEqual([...HUBBLE_CLI_MASK])
    expect(build({ useDefaultFieldMasks: false }).field_mask).toBeUndefined()
    expect(build({}, 'json').field_mask).toBeUndefined()
    expect(build({}, 'wide').field_mask).toBeUndefined()
    expect(build({ fieldMask: ['time', 'verdict'] }, 'json').field_mask).toEqual(['time', 'verdict'])
  })

  test.each([
    [{ first: '3', last: '3' }, 'Cannot use --first with --last'],
    [{ first: '3', all: true }, 'Cannot use --first with --all'],
    [{ first: '3', follow: true }, 'Cannot use --first with --follow'],
    [{ last: '3', all: true }, 'Cannot use --last with --all'],
    [{ last: '-1' }, 'Cannot use --last "-1"'],
    [{ last: '18446744073709551616' }, 'Cannot use --last'],
    [{ fieldMask: ['time'] }, 'Cannot use --field-mask with output "compact"'],
    [{ since: '5x' }, 'Cannot read --since "5x"'],
  ] as [SelectorOptions, string][])('refuses %o', (options, message) => {
    expect(() => build(options)).toThrow(message)
  })

  test('reads several filters from one --allowlist', () => {
    const request = build({
      allowlist: ['{"source_pod":["a}"]} {"reply":[true]}'],
      denylist: ['{"sourcePod":["\\"{"]}'],
    })
    expect(request.whitelist.map((filter) => [filter.source_pod, filter.reply])).toEqual([
      [['a}'], []],
      [[], [true]],
    ])
    expect(request.blacklist[0]?.source_pod).toEqual(['"{'])
  })
})
