import { fillUuid, ipText } from '../model/flow-view.ts'
import type { WireWriter } from './wire.ts'

/** Decimal digits of 0 to 255, three bytes each, left-aligned; the fourth byte says how many. */
const DECIMALS = new Uint8Array(1024)
for (let i = 0; i < 256; i++) {
  const text = String(i)
  for (let j = 0; j < text.length; j++) DECIMALS[i * 4 + j] = text.charCodeAt(j)
  DECIMALS[i * 4 + 3] = text.length
}
const HEX = new TextEncoder().encode('0123456789abcdef')
const DOT = 46
const COLON = 58
const DASH = 45

/** Canonical text of the 16 bytes of an address: dotted quad for IPv4, RFC 5952 for IPv6. At most 45 bytes. */
export function writeIp(out: WireWriter, source: Uint8Array, offset: number, ipVersion: number): void {
  if (ipVersion !== 4) {
    writeAscii(out, ipText(source, offset))
    return
  }
  const { bytes } = out
  let at = out.at
  for (let i = 12; i < 16; i++) {
    const entry = source[offset + i]! * 4
    const digits = DECIMALS[entry + 3]!
    bytes[at++] = DECIMALS[entry]!
    if (digits > 1) bytes[at++] = DECIMALS[entry + 1]!
    if (digits > 2) bytes[at++] = DECIMALS[entry + 2]!
    if (i < 15) bytes[at++] = DOT
  }
  out.at = at
}

function writeAscii(out: WireWriter, text: string): void {
  const { bytes } = out
  let at = out.at
  for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i)
  out.at = at
}

/** `aa:bb:cc:00:11:22`, 17 bytes. */
export function writeMac(out: WireWriter, source: Uint8Array, offset: number): void {
  const { bytes } = out
  let at = out.at
  for (let i = 0; i < 6; i++) {
    const value = source[offset + i]!
    bytes[at++] = HEX[value >>> 4]!
    bytes[at++] = HEX[value & 15]!
    if (i < 5) bytes[at++] = COLON
  }
  out.at = at
}

export function isMacSet(source: Uint8Array, offset: number): boolean {
  let any = 0
  for (let i = 0; i < 6; i++) any |= source[offset + i]!
  return any !== 0
}

const words = new Uint32Array(4)

/** The flow's uuid as text, 36 bytes. */
export function writeUuid(out: WireWriter, seed: Uint32Array, timeHigh: number, timeLow: number): void {
  fillUuid(seed, timeHigh, timeLow, words)
  hex(out, words[0]!, 28, 8)
  out.byte(DASH)
  hex(out, words[1]!, 28, 4)
  out.byte(DASH)
  hex(out, words[1]!, 12, 4)
  out.byte(DASH)
  hex(out, words[2]!, 28, 4)
  out.byte(DASH)
  hex(out, words[2]!, 12, 4)
  hex(out, words[3]!, 28, 8)
}

/** Hexadecimal digits of a word, from a shift downwards. */
function hex(out: WireWriter, word: number, shift: number, digits: number): void {
  const { bytes } = out
  let at = out.at
  for (let i = 0; i < digits; i++) bytes[at++] = HEX[(word >>> (shift - 4 * i)) & 15]!
  out.at = at
}
