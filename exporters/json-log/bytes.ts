/**
 * Writers of text into a byte array. Each takes the array and a position and returns the position after what it
 * wrote; none allocates. Callers have made sure that there is room.
 */

const encoder = new TextEncoder()

/** Bytes of a text that is made once and written often. */
export function bytesOf(text: string): Uint8Array {
  return encoder.encode(text)
}

/** Below this many bytes a loop beats the call of TypedArray.set (measured: they meet at about 30). */
const LOOP_LIMIT = 28

export function putBytes(out: Uint8Array, at: number, bytes: Uint8Array): number {
  const length = bytes.length
  if (length > LOOP_LIMIT) out.set(bytes, at)
  else for (let i = 0; i < length; i++) out[at + i] = bytes[i]!
  return at + length
}

/** Two decimal digits of 0 to 99 as bytes, tens first. */
const TENS = new Uint8Array(100)
const ONES = new Uint8Array(100)
for (let i = 0; i < 100; i++) {
  TENS[i] = 48 + Math.floor(i / 10)
  ONES[i] = 48 + (i % 10)
}

/** Decimal digits of a whole number. @param value 0 to 2^53 - 1 */
export function putUint(out: Uint8Array, at: number, value: number): number {
  if (value < 10) {
    out[at] = 48 + value
    return at + 1
  }
  const end = at + digitCount(value)
  let rest = value
  let to = end
  while (rest > 0xffff_ffff) {
    const quotient = Math.floor(rest / 100)
    const pair = rest - quotient * 100
    out[--to] = ONES[pair]!
    out[--to] = TENS[pair]!
    rest = quotient
  }
  rest >>>= 0
  while (rest >= 10) {
    const quotient = (rest / 100) >>> 0
    const pair = rest - quotient * 100
    out[--to] = ONES[pair]!
    out[--to] = TENS[pair]!
    rest = quotient
  }
  if (to > at) out[--to] = 48 + rest
  return end
}

function digitCount(value: number): number {
  if (value < 1e5) return value < 100 ? (value < 10 ? 1 : 2) : value < 1000 ? 3 : value < 10_000 ? 4 : 5
  if (value < 1e10) return value < 1e7 ? (value < 1e6 ? 6 : 7) : value < 1e8 ? 8 : value < 1e9 ? 9 : 10
  let digits = 10
  for (let limit = 1e10; value >= limit; limit *= 10) digits++
  return digits
}

const HEX_HIGH = new Uint8Array(256)
const HEX_LOW = new Uint8Array(256)
for (let i = 0; i < 256; i++) {
  HEX_HIGH[i] = '0123456789abcdef'.charCodeAt(i >>> 4)
  HEX_LOW[i] = '0123456789abcdef'.charCodeAt(i & 15)
}

/** Eight hex digits of a 32-bit word. */
function putHex32(out: Uint8Array, at: number, word: number): number {
  putHex16(out, at, word >>> 16)
  return putHex16(out, at + 4, word & 0xffff)
}

function putHex16(out: Uint8Array, at: number, word: number): number {
  const high = word >>> 8
  const low = word & 0xff
  out[at] = HEX_HIGH[high]!
  out[at + 1] = HEX_LOW[high]!
  out[at + 2] = HEX_HIGH[low]!
  out[at + 3] = HEX_LOW[low]!
  return at + 4
}

const DASH = 45

/** 8-4-4-4-12. @param words four big-endian words, as fillUuid() leaves them */
export function putUuid(out: Uint8Array, at: number, words: Uint32Array): number {
  putHex32(out, at, words[0]!)
  out[at + 8] = DASH
  putHex16(out, at + 9, words[1]! >>> 16)
  out[at + 13] = DASH
  putHex16(out, at + 14, words[1]! & 0xffff)
  out[at + 18] = DASH
  putHex16(out, at + 19, words[2]! >>> 16)
  out[at + 23] = DASH
  putHex16(out, at + 24, words[2]! & 0xffff)
  return putHex32(out, at + 28, words[3]!)
}

/** `aa:bb:cc:00:11:22` */
export function putMac(out: Uint8Array, at: number, from: Uint8Array, offset: number): number {
  let to = at
  for (let i = 0; i < 6; i++) {
    const byte = from[offset + i]!
    out[to] = HEX_HIGH[byte]!
    out[to + 1] = HEX_LOW[byte]!
    out[to + 2] = 58
    to += 3
  }
  return to - 1
}

/** True when six bytes are all zero: the record has no address of this end. */
export function isZeroMac(from: Uint8Array, offset: number): boolean {
  return (
    (from[offset]! |
      from[offset + 1]! |
      from[offset + 2]! |
      from[offset + 3]! |
      from[offset + 4]! |
      from[offset + 5]!) ===
    0
  )
}

/** Canonical text of 16 address bytes, as model's ipText(): RFC 5952, IPv4-mapped as dotted quad. */
export function putIp(out: Uint8Array, at: number, from: Uint8Array, offset: number): number {
  if (isMapped(from, offset)) {
    let to = putOctet(out, at, from[offset + 12]!)
    out[to] = 46
    to = putOctet(out, to + 1, from[offset + 13]!)
    out[to] = 46
    to = putOctet(out, to + 1, from[offset + 14]!)
    out[to] = 46
    return putOctet(out, to + 1, from[offset + 15]!)
  }
  return putIp6(out, at, from, offset)
}

function isMapped(from: Uint8Array, offset: number): boolean {
  if (from[offset + 10] !== 0xff || from[offset + 11] !== 0xff) return false
  for (let i = 0; i < 10; i++) if (from[offset + i] !== 0) return false
  return true
}

function putOctet(out: Uint8Array, at: number, value: number): number {
  if (value < 10) {
    out[at] = 48 + value
    return at + 1
  }
  if (value < 100) {
    out[at] = TENS[value]!
    out[at + 1] = ONES[value]!
    return at + 2
  }
  const hundreds = value >= 200 ? 2 : 1
  const rest = value - hundreds * 100
  out[at] = 48 + hundreds
  out[at + 1] = TENS[rest]!
  out[at + 2] = ONES[rest]!
  return at + 3
}

function putIp6(out: Uint8Array, at: number, from: Uint8Array, offset: number): number {
  // The longest run of two or more zero words, the first of equals, becomes `::`.
  let bestStart = -1
  let bestLength = 1
  let runStart = -1
  for (let i = 0; i <= 8; i++) {
    const isZero = i < 8 && from[offset + 2 * i] === 0 && from[offset + 2 * i + 1] === 0
    if (isZero && runStart < 0) runStart = i
    if (isZero || runStart < 0) continue
    if (i - runStart > bestLength) {
      bestStart = runStart
      bestLength = i - runStart
    }
    runStart = -1
  }
  let to = at
  let needsColon = false
  for (let i = 0; i < 8; i++) {
    if (i === bestStart) {
      out[to] = 58
      out[to + 1] = 58
      to += 2
      needsColon = false
      i += bestLength - 1
      continue
    }
    if (needsColon) out[to++] = 58
    to = putHexWord(out, to, from[offset + 2 * i]!, from[offset + 2 * i + 1]!)
    needsColon = true
  }
  return to
}

/** A 16-bit word without leading zeros. */
function putHexWord(out: Uint8Array, at: number, high: number, low: number): number {
  let to = at
  if (high > 15) out[to++] = HEX_HIGH[high]!
  if (high > 0) out[to++] = HEX_LOW[high]!
  if (high > 0 || low > 15) out[to++] = HEX_HIGH[low]!
  out[to++] = HEX_LOW[low]!
  return to
}

/** `.` and 3, 6 or 9 digits, or nothing: a fraction of a second as protojson writes it. @param nanos 0 to 999,999,999 */
export function putFraction(out: Uint8Array, at: number, nanos: number): number {
  if (nanos === 0) return at
  out[at] = 46
  const millis = (nanos / 1_000_000) >>> 0
  let rest = nanos - millis * 1_000_000
  let to = put3(out, at + 1, millis)
  if (rest === 0) return to
  const micros = (rest / 1000) >>> 0
  rest -= micros * 1000
  to = put3(out, to, micros)
  return rest === 0 ? to : put3(out, to, rest)
}

function put3(out: Uint8Array, at: number, value: number): number {
  const hundreds = (value / 100) >>> 0
  const rest = value - hundreds * 100
  out[at] = 48 + hundreds
  out[at + 1] = TENS[rest]!
  out[at + 2] = ONES[rest]!
  return at + 3
}
