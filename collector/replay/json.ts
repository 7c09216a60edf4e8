/** Reads members of JSON values of unknown shape: what is absent or of another type is the type's empty value. */
export type Json = Readonly<Record<string, unknown>>

const EMPTY: Json = {}

/** A member that is an object; absent when it is none. */
export function maybeObject(from: Json, key: string): Json | undefined {
  const value = from[key]
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined
}

export function object(from: Json, key: string): Json {
  return maybeObject(from, key) ?? EMPTY
}

export function text(from: Json, key: string): string {
  const value = from[key]
  return typeof value === 'string' ? value : ''
}

export function list(from: Json, key: string): readonly unknown[] {
  const value = from[key]
  return Array.isArray(value) ? value : []
}

export function texts(from: Json, key: string): string[] {
  return list(from, key).filter((item) => typeof item === 'string')
}

export function flag(from: Json, key: string): boolean {
  return from[key] === true
}

/** A whole number from 0 to `max`, also written as decimals in a string (64-bit numbers); 0 when it is none. */
export function count(from: Json, key: string, max = Number.MAX_SAFE_INTEGER): number {
  const value = from[key]
  const number = typeof value === 'string' && /^[0-9]{1,16}$/.test(value) ? Number(value) : value
  return typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= max ? number : 0
}

/** An enum's number by its name, or the number itself; 0 when it is neither. */
export function enumNumber(from: Json, key: string, numbers: ReadonlyMap<string, number>): number {
  const value = from[key]
  if (typeof value === 'number') return Number.isInteger(value) && value >= 0 && value < 256 ? value : 0
  return typeof value === 'string' ? (numbers.get(value) ?? 0) : 0
}
