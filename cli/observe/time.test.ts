import { describe, expect, test } from 'vitest'
import { formatTime, jsonTime, parseGoDuration, parseTime } from './time.ts'

const NOW = Date.UTC(2026, 10, 24, 12, 0, 0, 250)
const at = (iso: string) => BigInt(Date.parse(iso) / 1000)

describe('parseGoDuration()', () => {
  const cases: [string, bigint | undefined][] = [
    ['3s', 3_000_000_000n],
    ['1h43m', 6_180_000_000_000n],
    ['1.5h', 5_400_000_000_000n],
    ['10ms', 10_000_000n],
    ['1us', 1000n],
    ['7ns', 7n],
    ['-5s', -5_000_000_000n],
    ['0', 0n],
    ['5', undefined],
    ['5x', undefined],
    ['', undefined],
    ['s', undefined],
    ['1h 3m', undefined],
  ]
  test.each(cases)('reads %s', (text, ns) => {
    expect(parseGoDuration(text)).toBe(ns)
  })
})

describe('parseTime()', () => {
  const cases: [string, bigint, number][] = [
    ['2026-01-02', at('2026-01-02T00:00:00Z'), 0],
    ['2026-01-02T05Z', at('2026-01-02T05:00:00Z'), 0],
    ['2026-01-02T15-07:00', at('2026-01-02T22:00:00Z'), 0],
    ['2026-01-02T05:06+02:00', at('2026-01-02T03:06:00Z'), 0],
    ['2026-01-02T03:04:05Z', at('2026-01-02T03:04:05Z'), 0],
    ['2026-01-02T03:04:05.123456789+01:00', at('2026-01-02T02:04:05Z'), 123_456_789],
    ['2026-01-02T03:04:05.5Z', at('2026-01-02T03:04:05Z'), 500_000_000],
    ['Fri, 02 Jan 2026 15:04:05 -0700', at('2026-01-02T22:04:05Z'), 0],
    ['10s', at('2026-11-24T11:59:50Z'), 250_000_000],
    ['1us', at('2026-11-24T12:00:00Z'), 249_999_000],
  ]
  test.each(cases)('reads %s', (text, seconds, nanos) => {
    expect(parseTime('--since', text, NOW)).toEqual({ seconds, nanos })
  })

  test.each(['', 'yesterday', '2026-02-30', '2026-13-01', '0026-01-02', '2026-01-02T25Z', '5', 'Jan  2 15:04:05.000'])(
    'refuses "%s" with flag and value',
    (text) => {
      expect(() => parseTime('--until', text, NOW)).toThrow(`Cannot read --until "${text}"`)
    },
  )
})

describe('parseGoDuration() at its limits', () => {
  test.each([
    ['2562047h', 9_223_369_200_000_000_000n],
    ['2562048h', undefined],
    [`${'9'.repeat(400)}h`, undefined],
  ])('takes what fits into 63 bits: %s', (text, ns) => {
    expect(parseGoDuration(text)).toBe(ns)
  })

  test('refuses 100,000 digits at once', () => {
    const started = performance.now()
    expect(parseGoDuration('1'.repeat(100_000))).toBeUndefined()
    expect(performance.now() - started).toBeLessThan(500)
  })
})

describe('formatTime()', () => {
  const time = { seconds: at('2026-11-02T07:15:04Z'), nanos: 120_000_000 }
  const cases: [string, string][] = [
    ['StampMilli', 'Nov  2 07:15:04.120'],
    ['YearMonthDay', '2026-11-02'],
    ['YearMonthDayHour', '2026-11-02T07Z'],
    ['YearMonthDayHourMinute', '2026-11-02T07:15Z'],
    ['RFC3339', '2026-11-02T07:15:04Z'],
    ['RFC3339Milli', '2026-11-02T07:15:04.12Z'],
    ['RFC3339Micro', '2026-11-02T07:15:04.12Z'],
    ['RFC3339Nano', '2026-11-02T07:15:04.12Z'],
    ['RFC1123Z', 'Mon, 02 Nov 2026 07:15:04 +0000'],
    ['anything else', 'Nov  2 07:15:04.120'],
  ]
  test.each(cases)('prints %s', (format, text) => {
    expect(formatTime(time, format)).toBe(text)
  })

  test('says N/A for no time and for one out of range', () => {
    expect(formatTime(undefined, 'RFC3339')).toBe('N/A')
    expect(formatTime({ seconds: 1n << 60n, nanos: 0 }, 'RFC3339')).toBe('N/A')
    expect(formatTime({ seconds: 1n, nanos: -1 }, 'RFC3339')).toBe('N/A')
  })
})

describe('jsonTime()', () => {
  test.each([
    [0, '2026-11-02T07:15:04Z'],
    [120_000_000, '2026-11-02T07:15:04.120Z'],
    [120_500_000, '2026-11-02T07:15:04.120500Z'],
    [1, '2026-11-02T07:15:04.000000001Z'],
  ])('prints %i nanoseconds with 0, 3, 6 or 9 digits', (nanos, text) => {
    expect(jsonTime({ seconds: at('2026-11-02T07:15:04Z'), nanos })).toBe(text)
  })
})
