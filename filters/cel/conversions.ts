import { type FunctionTable, fn, toInt, toUint } from './overload.ts'
import { durationText, parseDuration, parseTimestamp, timestampText } from './time.ts'
import { BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, TYPE, UINT } from './types.ts'
import { FAULT, Timestamp, TypeName, typeNameOf, type Uint, type Value } from './values.ts'

const decoder = new TextDecoder('utf-8', { fatal: true })
const encoder = new TextEncoder()

function same([value]: readonly Value[]): Value {
  return value!
}

function textToBigint(text: string, isSigned: boolean): bigint {
  if (!(isSigned ? /^[+-]?[0-9]{1,20}$/ : /^[0-9]{1,20}$/).test(text)) throw FAULT.conversion
  return BigInt(text.startsWith('+') ? text.slice(1) : text)
}

/** Towards zero; what 64 bits cannot hold is a fault. */
function doubleToBigint(value: number): bigint {
  if (!Number.isFinite(value)) throw FAULT.overflow
  return BigInt(Math.trunc(value))
}

function textToDouble(text: string): number {
  if (/^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/.test(text)) return Number(text)
  const special = /^([+-]?)(inf|infinity|nan)$/i.exec(text)
  if (special === null) throw FAULT.conversion
  if (special[2]!.toLowerCase() === 'nan') return Number.NaN
  return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
}

function textToBool(text: string): boolean {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text)) return true
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text)) return false
  throw FAULT.conversion
}

function bytesToText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw FAULT.conversion
  }
}

function doubleText(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf'
  return String(value)
}

/** Functions named after types. */
export const conversions: FunctionTable = {
  int: [
    fn([INT], INT, same),
    fn([UINT], INT, ([value]) => toInt(value.value)),
    fn([DOUBLE], INT, ([value]) => toInt(doubleToBigint(value))),
    fn([STRING], INT, ([value]) => toInt(textToBigint(value, true))),
    fn([TIMESTAMP], INT, ([value]) => BigInt.asIntN(64, floorDivide(value.ns, 1_000_000_000n))),
    fn([DURATION], INT, ([value]) => value.ns),
  ],
  uint: [
    fn([UINT], UINT, same),
    fn([INT], UINT, ([value]) => toUint(value)),
    fn([DOUBLE], UINT, ([value]) => toUint(doubleToBigint(value))),
    fn([STRING], UINT, ([value]) => toUint(textToBigint(value, false))),
  ],
  double: [
    fn([DOUBLE], DOUBLE, same),
    fn([INT], DOUBLE, ([value]) => Number(value)),
    fn([UINT], DOUBLE, ([value]) => Number((value as Uint).value)),
    fn([STRING], DOUBLE, ([value]) => textToDouble(value)),
  ],
  string: [
    fn([STRING], STRING, same),
    fn([BOOL], STRING, ([value]) => String(value)),
    fn([INT], STRING, ([value]) => String(value)),
    fn([UINT], STRING, ([value]) => String((value as Uint).value)),
    fn([DOUBLE], STRING, ([value]) => doubleText(value)),
    fn([BYTES], STRING, ([value]) => bytesToText(value)),
    fn([TIMESTAMP], STRING, ([value]) => timestampText(value)),
    fn([DURATION], STRING, ([value]) => durationText(value)),
  ],
  bytes: [fn([BYTES], BYTES, same), fn([STRING], BYTES, ([value]) => encoder.encode(value))],
  bool: [fn([BOOL], BOOL, same), fn([STRING], BOOL, ([value]) => textToBool(value))],
  timestamp: [
    fn([TIMESTAMP], TIMESTAMP, same),
    fn([STRING], TIMESTAMP, ([value]) => parseTimestamp(value)),
    fn([INT], TIMESTAMP, ([value]) => new Timestamp(value * 1_000_000_000n)),
  ],
  duration: [fn([DURATION], DURATION, same), fn([STRING], DURATION, ([value]) => parseDuration(value))],
  dyn: [fn([DYN], DYN, same)],
  type: [fn([DYN], TYPE, ([value]) => new TypeName(typeNameOf(value)))],
}

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b
  return a % b < 0n ? quotient - 1n : quotient
}
