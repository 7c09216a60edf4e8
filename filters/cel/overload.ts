import type { CelType } from './types.ts'
import { FAULT, Uint, type Value } from './values.ts'

/** Steps that are left to an evaluation; costs that depend on the data are taken from it. */
export interface Budget {
  take(steps: number): void
}

/** One form of a function or operator. */
export interface Overload {
  readonly params: readonly CelType[]
  readonly result: CelType
  readonly isMethod: boolean
  // biome-ignore lint/suspicious/noExplicitAny: the checker has matched the arguments with `params`
  run(args: readonly any[], budget: Budget): Value
}

export type FunctionTable = Readonly<Record<string, readonly Overload[]>>

// biome-ignore lint/suspicious/noExplicitAny: see Overload.run
type Run = (args: readonly any[], budget: Budget) => Value

export function fn(params: readonly CelType[], result: CelType, run: Run): Overload {
  return { params, result, isMethod: false, run }
}

export function method(params: readonly CelType[], result: CelType, run: Run): Overload {
  return { params, result, isMethod: true, run }
}

const MIN_INT = -(2n ** 63n)
const MAX_INT = 2n ** 63n - 1n
const MAX_UINT = 2n ** 64n - 1n

/** Within 64 bits signed, or a fault. */
export function toInt(value: bigint): bigint {
  if (value < MIN_INT || value > MAX_INT) throw FAULT.overflow
  return value
}

/** Within 64 bits unsigned, or a fault. */
export function toUint(value: bigint): Uint {
  if (value < 0n || value > MAX_UINT) throw FAULT.overflow
  return new Uint(value)
}
