import { compileRegex, type Regex, regexSize } from '../regex.ts'
import { conversions } from './conversions.ts'
import { type Budget, type FunctionTable, fn, method, type Overload, toInt, toUint } from './overload.ts'
import { timeFunctions } from './time.ts'
import {
  BOOL,
  BYTES,
  type CelType,
  DOUBLE,
  DURATION,
  DYN,
  INT,
  listOf,
  mapOf,
  STRING,
  TIMESTAMP,
  UINT,
} from './types.ts'
import { type CelMap, FAULT, isEqual, type Uint, type Value } from './values.ts'

function arithmetic(
  integer: (a: bigint, b: bigint) => bigint,
  double: ((a: number, b: number) => number) | undefined,
): Overload[] {
  return [
    fn([INT, INT], INT, ([a, b]) => toInt(integer(a, b))),
    fn([UINT, UINT], UINT, ([a, b]) => toUint(integer(a.value, b.value))),
    ...(double ? [fn([DOUBLE, DOUBLE], DOUBLE, ([a, b]) => double(a, b))] : []),
  ]
}

function nonZero(divide: (a: bigint, b: bigint) => bigint): (a: bigint, b: bigint) => bigint {
  return (a, b) => {
    if (b === 0n) throw FAULT.divideByZero
    return divide(a, b)
  }
}

/** Code points, as CEL orders and counts text. */
function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** @param test of the sign of a comparison; NaN when a double is not a number */
function ordering(test: (sign: number) => boolean): Overload[] {
  const by = (type: CelType, sign: (a: never, b: never) => number) =>
    fn([type, type], BOOL, ([a, b]) => test(sign(a as never, b as never)))
  const numbers = (a: bigint | number, b: bigint | number) => (a < b ? -1 : a > b ? 1 : a === b ? 0 : Number.NaN)
  return [
    by(INT, numbers),
    by(UINT, (a: Uint, b: Uint) => numbers(a.value, b.value)),
    by(DOUBLE, numbers),
    by(BOOL, (a: boolean, b: boolean) => Number(a) - Number(b)),
    by(STRING, compareText),
    by(BYTES, (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b)),
    by(TIMESTAMP, (a: { ns: bigint }, b: { ns: bigint }) => numbers(a.ns, b.ns)),
    by(DURATION, (a: { ns: bigint }, b: { ns: bigint }) => numbers(a.ns, b.ns)),
  ]
}

function codePoints(text: string): bigint {
  let count = 0n
  for (const _ of text) count++
  return count
}

/** A pattern may be made while running: it costs what compiling and matching it may take. */
function matches([text, pattern]: readonly string[], budget: Budget): boolean {
  const size = regexSize(pattern!)
  budget.take(10 + (size >> 2) + ((text!.length * size) >> 8))
  let regex: Regex
  try {
    regex = compileRegex(pattern!)
  } catch {
    throw FAULT.regex
  }
  return regex.test(text!)
}

const SIZES: readonly [CelType, (value: never) => bigint][] = [
  [STRING, (value: string) => codePoints(value)],
  [BYTES, (value: Uint8Array) => BigInt(value.length)],
  [listOf(DYN), (value: readonly Value[]) => BigInt(value.length)],
  [mapOf(DYN, DYN), (value: CelMap) => BigInt(value.entries.size)],
]

function concat([a, b]: readonly string[], budget: Budget): string {
  budget.take((a!.length + b!.length) >> 4)
  return a! + b!
}

function concatLists([a, b]: readonly (readonly Value[])[], budget: Budget): Value {
  budget.take(a!.length + b!.length)
  return [...a!, ...b!]
}

function concatBytes([a, b]: readonly Uint8Array[], budget: Budget): Value {
  budget.take((a!.length + b!.length) >> 4)
  return Uint8Array.from([...a!, ...b!])
}

function index([list, at]: readonly [readonly Value[], bigint]): Value {
  const value = at >= 0n && at < BigInt(list.length) ? list[Number(at)] : undefined
  if (value === undefined) throw FAULT.outOfRange
  return value
}

function lookUp([map, key]: readonly [CelMap, Value]): Value {
  const value = map.get(key)
  if (value === undefined) throw FAULT.noSuchKey
  return value
}

const TEXT_TESTS = {
  contains: (text: string, part: string) => text.includes(part),
  startsWith: (text: string, part: string) => text.startsWith(part),
  endsWith: (text: string, part: string) => text.endsWith(part),
}

/** Standard functions and operators; `==`, `!=`, `&&`, `||`, `?:`, `in` and `[]` of lists get their types elsewhere. */
export const FUNCTIONS: FunctionTable = {
  '_+_': [
    ...arithmetic(
      (a, b) => a + b,
      (a, b) => a + b,
    ),
    fn([STRING, STRING], STRING, concat),
    fn([BYTES, BYTES], BYTES, concatBytes),
    fn([listOf(DYN), listOf(DYN)], listOf(DYN), concatLists),
    ...timeFunctions.add,
  ],
  '_-_': [
    ...arithmetic(
      (a, b) => a - b,
      (a, b) => a - b,
    ),
    ...timeFunctions.subtract,
  ],
  '_*_': arithmetic(
    (a, b) => a * b,
    (a, b) => a * b,
  ),
  '_/_': arithmetic(
    nonZero((a, b) => a / b),
    (a, b) => a / b,
  ),
  '_%_': arithmetic(
    nonZero((a, b) => a % b),
    undefined,
  ),
  '-_': [fn([INT], INT, ([a]) => toInt(-(a as bigint))), fn([DOUBLE], DOUBLE, ([a]) => -a)],
  '!_': [fn([BOOL], BOOL, ([a]) => !a)],
  '_<_': ordering((sign) => sign < 0),
  '_<=_': ordering((sign) => sign <= 0),
  '_>_': ordering((sign) => sign > 0),
  '_>=_': ordering((sign) => sign >= 0),
  _in_: [
    fn([DYN, listOf(DYN)], BOOL, ([value, list], budget) => {
      budget.take(list.length)
      return (list as readonly Value[]).some((one) => isEqual(one, value))
    }),
    fn([DYN, mapOf(DYN, DYN)], BOOL, ([key, map]) => (map as CelMap).has(key)),
  ],
  '_[_]': [
    fn([listOf(DYN), INT], DYN, (args) => index(args as unknown as [readonly Value[], bigint])),
    fn([mapOf(DYN, DYN), DYN], DYN, (args) => lookUp(args as unknown as [CelMap, Value])),
  ],
  size: SIZES.flatMap(([type, of]) => [
    fn([type], INT, ([value]) => of(value as never)),
    method([type], INT, ([value]) => of(value as never)),
  ]),
  matches: [fn([STRING, STRING], BOOL, matches), method([STRING, STRING], BOOL, matches)],
  ...Object.fromEntries(
    Object.entries(TEXT_TESTS).map(([name, test]) => [
      name,
      [method([STRING, STRING], BOOL, ([text, part]) => test(text, part))],
    ]),
  ),
  ...conversions,
  ...timeFunctions.methods,
}
