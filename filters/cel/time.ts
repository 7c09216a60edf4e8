import { type FunctionTable, fn, method, type Overload } from './overload.ts'
import { DURATION, INT, STRING, TIMESTAMP } from './types.ts'
import { Duration, FAULT, Timestamp } from './values.ts'

const SECOND = 1_000_000_000n
/** 0001-01-01T00:00:00Z and the nanosecond before 10000-01-01T00:00:00Z. */
const MIN_TIME = -62_135_596_800n * SECOND
const MAX_TIME = 253_402_300_800n * SECOND - 1n
const MAX_DURATION = 2n ** 63n - 1n

function timestamp(ns: bigint): Timestamp {
  if (ns < MIN_TIME || ns > MAX_TIME) throw FAULT.overflow
  return new Timestamp(ns)
}

function duration(ns: bigint): Duration {
  if (ns > MAX_DURATION || ns < -MAX_DURATION - 1n) throw FAULT.overflow
  return new Duration(ns)
}

/** RFC 3339. */
export function parseTimestamp(text: string): Timestamp {
  const parts =
    /^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.,]([0-9]+))?(Z|[+-][0-9]{2}:[0-9]{2})$/.exec(text)
  const ms = parts === null ? Number.NaN : Date.parse(`${parts[1]}${parts[3]}`)
  if (Number.isNaN(ms) || !isCalendarDay(text)) throw FAULT.conversion
  return timestamp(BigInt(ms) * 1_000_000n + BigInt((parts![2] ?? '').padEnd(9, '0').slice(0, 9)))
}

/** Date.parse() takes the 31st of every month. */
function isCalendarDay(text: string): boolean {
  const day = text.slice(0, 10)
  return new Date(`${day}T00:00:00Z`).toISOString().startsWith(day)
}

export function timestampText({ ns }: Timestamp): string {
  const nanos = ((ns % SECOND) + SECOND) % SECOND
  const whole = new Date(Number((ns - nanos) / 1_000_000n)).toISOString().slice(0, 19)
  const fraction = nanos === 0n ? '' : `.${String(nanos).padStart(9, '0').replace(/0+$/, '')}`
  return `${whole}${fraction}Z`
}

const UNITS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: SECOND,
  m: 60n * SECOND,
  h: 3600n * SECOND,
}

/** Go's form: `1h30m`, `-1.5s`, `0`. */
export function parseDuration(text: string): Duration {
  const sign = text.startsWith('-') ? -1n : 1n
  const body = text.replace(/^[+-]/, '')
  if (body === '0') return new Duration(0n)
  const part = /([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)/y
  let ns = 0n
  let at = 0
  while (at < body.length) {
    part.lastIndex = at
    const found = part.exec(body)
    if (found === null || (!found[1] && !found[2])) throw FAULT.conversion
    const unit = UNITS[found[3]!]!
    const fraction = (found[2] ?? '').slice(0, 18)
    ns += BigInt(found[1] || '0') * unit + (BigInt(fraction || '0') * unit) / 10n ** BigInt(fraction.length)
    at = part.lastIndex
  }
  if (at === 0) throw FAULT.conversion
  return duration(sign * ns)
}

/** Seconds, as Go's CEL writes durations. */
export function durationText({ ns }: Duration): string {
  const magnitude = ns < 0n ? -ns : ns
  const fraction = magnitude % SECOND
  const text = `${magnitude / SECOND}${fraction === 0n ? '' : `.${String(fraction).padStart(9, '0').replace(/0+$/, '')}`}s`
  return ns < 0n ? `-${text}` : text
}

/** The time as a clock in a zone shows it, in the UTC fields of a Date. */
function clock({ ns }: Timestamp, zone: string): Date {
  const ms = Number((ns - (((ns % 1_000_000n) + 1_000_000n) % 1_000_000n)) / 1_000_000n)
  return new Date(ms + offsetMs(zone, ms))
}

function offsetMs(zone: string, ms: number): number {
  const fixed = /^([+-]?)([0-9]{1,2}):([0-9]{2})$/.exec(zone)
  if (fixed !== null) return (fixed[1] === '-' ? -1 : 1) * (Number(fixed[2]) * 60 + Number(fixed[3])) * 60_000
  if (zone === '' || zone === 'UTC') return 0
  return namedOffsetMs(zone, ms)
}

const formats = new Map<string, Intl.DateTimeFormat>()

function namedOffsetMs(zone: string, ms: number): number {
  let format = formats.get(zone)
  if (format === undefined) {
    try {
      format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
    } catch {
      throw FAULT.conversion
    }
    // There are fewer than a thousand zones, and only ones that exist come here.
    formats.set(zone, format)
  }
  const name = format.formatToParts(ms).find((part) => part.type === 'timeZoneName')?.value ?? 'GMT'
  const found = /^GMT([+-])([0-9]{2}):([0-9]{2})/.exec(name)
  return found === null ? 0 : (found[1] === '-' ? -1 : 1) * (Number(found[2]) * 60 + Number(found[3])) * 60_000
}

const ACCESSORS: Readonly<Record<string, (time: Date) => number>> = {
  getFullYear: (time) => time.getUTCFullYear(),
  getMonth: (time) => time.getUTCMonth(),
  getDayOfMonth: (time) => time.getUTCDate() - 1,
  getDate: (time) => time.getUTCDate(),
  getDayOfWeek: (time) => time.getUTCDay(),
  getDayOfYear: (time) =>
    Math.floor(
      (Date.UTC(time.getUTCFullYear(), time.getUTCMonth(), time.getUTCDate()) - Date.UTC(time.getUTCFullYear(), 0, 1)) /
        86_400_000,
    ),
  getHours: (time) => time.getUTCHours(),
  getMinutes: (time) => time.getUTCMinutes(),
  getSeconds: (time) => time.getUTCSeconds(),
  getMilliseconds: (time) => time.getUTCMilliseconds(),
}

const DURATION_PARTS: Readonly<Record<string, (ns: bigint) => bigint>> = {
  getHours: (ns) => ns / (3600n * SECOND),
  getMinutes: (ns) => ns / (60n * SECOND),
  getSeconds: (ns) => ns / SECOND,
  getMilliseconds: (ns) => ns / 1_000_000n,
}

function accessor(name: string, read: (time: Date) => number): Overload[] {
  const part = DURATION_PARTS[name]
  return [
    method([TIMESTAMP], INT, ([time]) => BigInt(read(clock(time, '')))),
    method([TIMESTAMP, STRING], INT, ([time, zone]) => BigInt(read(clock(time, zone)))),
    ...(part ? [method([DURATION], INT, ([value]) => part(value.ns))] : []),
  ]
}

interface Nanoseconds {
  readonly ns: bigint
}

function difference(a: Nanoseconds, b: Nanoseconds): bigint {
  return a.ns - b.ns
}

/** What the operators and methods do with times and durations. */
export const timeFunctions: { add: readonly Overload[]; subtract: readonly Overload[]; methods: FunctionTable } = {
  add: [
    fn([TIMESTAMP, DURATION], TIMESTAMP, ([a, b]) => timestamp(a.ns + b.ns)),
    fn([DURATION, TIMESTAMP], TIMESTAMP, ([a, b]) => timestamp(a.ns + b.ns)),
    fn([DURATION, DURATION], DURATION, ([a, b]) => duration(a.ns + b.ns)),
  ],
  subtract: [
    fn([TIMESTAMP, TIMESTAMP], DURATION, ([a, b]) => duration(difference(a, b))),
    fn([TIMESTAMP, DURATION], TIMESTAMP, ([a, b]) => timestamp(difference(a, b))),
    fn([DURATION, DURATION], DURATION, ([a, b]) => duration(difference(a, b))),
  ],
  methods: Object.fromEntries(Object.entries(ACCESSORS).map(([name, read]) => [name, accessor(name, read)])),
}
