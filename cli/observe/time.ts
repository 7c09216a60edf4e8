import { SluiceError } from '../../base/errors.ts'

/** Seconds and nanoseconds since 1970, as google.protobuf.Timestamp. */
export interface TimePoint {
  readonly seconds: bigint
  readonly nanos: number
}

const UNIT_NS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
}

/** Names of --time-format and what each prints: digits of the fraction, or another layout. */
export const TIME_FORMATS = [
  'StampMilli',
  'YearMonthDay',
  'YearMonthDayHour',
  'YearMonthDayHourMinute',
  'RFC3339',
  'RFC3339Milli',
  'RFC3339Micro',
  'RFC3339Nano',
  'RFC1123Z',
] as const

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'] as const
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'] as const

const MAX_DURATION_NS = 2 ** 63

/** Nanoseconds of a duration in Go's form (`3s`, `1h43m`, `1.5h`, `-5s`); undefined for anything else. */
export function parseGoDuration(text: string): bigint | undefined {
  // Each digit can be read in one way only: an expression that tries two takes seconds for a long text.
  const match = /^([-+]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.exec(text)
  if (!match) return text === '0' ? 0n : undefined
  let sum = 0
  for (const part of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    sum += Number(part[1]) * UNIT_NS[part[2]!]!
  }
  // As in Go, a duration has 63 bits.
  if (sum >= MAX_DURATION_NS) return undefined
  return BigInt(Math.round(sum)) * (match[1] === '-' ? -1n : 1n)
}

/**
 * Reads --since and --until: a duration means so long ago; else one of Hubble's absolute forms. Without a zone: UTC.
 *
 * @param nowMs what durations count back from
 * @throws SluiceError SLUICE_USAGE naming flag and value
 */
export function parseTime(flag: string, text: string, nowMs: number): TimePoint {
  const ago = parseGoDuration(text)
  if (ago !== undefined) return fromNs(BigInt(Math.round(nowMs * 1000)) * 1000n - ago)
  const point = parseDate(text)
  if (point) return point
  throw new SluiceError(
    'SLUICE_USAGE',
    `Cannot read ${flag} "${text}": want a duration (3s, 4m, 1h43m) or a time like 2026-01-02, 2026-01-02T15Z, ` +
      '2026-01-02T15:04Z, 2026-01-02T15:04:05.999Z or "Fri, 02 Jan 2026 15:04:05 -0700"',
  )
}

function parseDate(text: string): TimePoint | undefined {
  const iso = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(Z|[-+]\d\d:\d\d))?$/.exec(text)
  if (iso) {
    const [, year, month, day, hour = '0', minute = '0', second = '0', fraction = '', zone = 'Z'] = iso
    return point([year!, month!, day!, hour, minute, second].map(Number), fraction, zone)
  }
  const rfc = /^[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) ([-+]\d{4})$/.exec(text)
  if (!rfc) return undefined
  const month = MONTHS.indexOf(rfc[2] as (typeof MONTHS)[number]) + 1
  const zone = `${rfc[7]!.slice(0, 3)}:${rfc[7]!.slice(3)}`
  return point([rfc[3], month, rfc[1], rfc[4], rfc[5], rfc[6]].map(Number), '', zone)
}

function point(parts: number[], fraction: string, zone: string): TimePoint | undefined {
  const [year, month, day, hour, minute, second] = parts as [number, number, number, number, number, number]
  const ms = Date.UTC(year, month - 1, day, hour, minute, second)
  const date = new Date(ms)
  // Date.UTC carries a 31st of April over into May, and takes the year 26 for 1926: both are mistakes here.
  const real =
    date.getUTCFullYear() === year &&
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    hour < 24 &&
    minute < 60 &&
    second < 60
  if (!real) return undefined
  const sign = zone[0] === '-' ? 1 : -1
  const offset = zone === 'Z' ? 0 : sign * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4)))
  return { seconds: BigInt(ms / 1000 + offset * 60), nanos: Number(fraction.padEnd(9, '0')) }
}

function fromNs(ns: bigint): TimePoint {
  const nanos = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
  return { seconds: (ns - nanos) / 1_000_000_000n, nanos: Number(nanos) }
}

/** A time in UTC. An unknown format is StampMilli, as with `hubble`. `N/A` when there is no time. */
export function formatTime(time: TimePoint | undefined, format: string): string {
  if (time === undefined) return 'N/A'
  const date = new Date(Number(time.seconds) * 1000)
  if (Number.isNaN(date.getTime()) || time.nanos < 0 || time.nanos > 999_999_999) return 'N/A'
  const iso = date.toISOString()
  const nanos = time.nanos.toString().padStart(9, '0')
  switch (format) {
    case 'YearMonthDay':
      return iso.slice(0, 10)
    case 'YearMonthDayHour':
      return `${iso.slice(0, 13)}Z`
    case 'YearMonthDayHourMinute':
      return `${iso.slice(0, 16)}Z`
    case 'RFC3339':
      return `${iso.slice(0, 19)}Z`
    case 'RFC3339Milli':
      return withFraction(iso, nanos.slice(0, 3))
    case 'RFC3339Micro':
      return withFraction(iso, nanos.slice(0, 6))
    case 'RFC3339Nano':
      return withFraction(iso, nanos)
    case 'RFC1123Z': {
      const day = `${DAYS[date.getUTCDay()]}, ${iso.slice(8, 10)} ${MONTHS[date.getUTCMonth()]} ${iso.slice(0, 4)}`
      return `${day} ${iso.slice(11, 19)} +0000`
    }
    default: {
      const day = date.getUTCDate().toString().padStart(2, ' ')
      return `${MONTHS[date.getUTCMonth()]} ${day} ${iso.slice(11, 19)}.${nanos.slice(0, 3)}`
    }
  }
}

/** Go's `.999`: zeros at the end are left out, and the point with them. */
function withFraction(iso: string, digits: string): string {
  const trimmed = digits.replace(/0+$/, '')
  return trimmed === '' ? `${iso.slice(0, 19)}Z` : `${iso.slice(0, 19)}.${trimmed}Z`
}

/** The JSON form of google.protobuf.Timestamp: 0, 3, 6 or 9 digits of fraction. */
export function jsonTime(time: TimePoint): string {
  const base = new Date(Number(time.seconds) * 1000).toISOString().slice(0, 19)
  if (time.nanos === 0) return `${base}Z`
  const digits = time.nanos.toString().padStart(9, '0')
  const length = digits.endsWith('000000') ? 3 : digits.endsWith('000') ? 6 : 9
  return `${base}.${digits.slice(0, length)}Z`
}
