import { isIP } from 'node:net'

/**
 * Writes an address as the 16 bytes that records carry: IPv6 as it is, IPv4 as ::ffff:a.b.c.d.
 *
 * @param out 16 bytes are written from `at`
 * @returns 4 or 6, or 0 when the text is no address (then nothing is written). Zones (`fe80::1%eth0`) are refused.
 */
export function parseIp(text: string, out: Uint8Array, at = 0): 0 | 4 | 6 {
  const family = text.includes('%') ? 0 : isIP(text)
  if (family === 0) return 0
  out.fill(0, at, at + 16)
  if (family === 4) {
    out[at + 10] = 0xff
    out[at + 11] = 0xff
    writeIpv4(text, out, at + 12)
    return 4
  }
  writeIpv6(text, out, at)
  return 6
}

function writeIpv4(text: string, out: Uint8Array, at: number): void {
  const parts = text.split('.')
  for (let i = 0; i < 4; i++) out[at + i] = Number(parts[i])
}

/** isIP() has accepted the text, so only the form needs to be told apart. */
function writeIpv6(text: string, out: Uint8Array, at: number): void {
  let body = text
  let words = 8
  if (text.includes('.')) {
    const colon = text.lastIndexOf(':')
    writeIpv4(text.slice(colon + 1), out, at + 12)
    body = text.slice(0, colon + 1)
    // `1:2:` loses its closing colon, `1::` keeps its gap.
    if (!body.endsWith('::')) body = body.slice(0, -1)
    words = 6
  }
  const gap = body.indexOf('::')
  const head = gap < 0 ? body : body.slice(0, gap)
  const tail = gap < 0 ? '' : body.slice(gap + 2)
  writeWords(head, out, at)
  if (tail !== '') writeWords(tail, out, at + 2 * (words - tail.split(':').length))
}

function writeWords(text: string, out: Uint8Array, at: number): void {
  if (text === '') return
  let offset = at
  for (const word of text.split(':')) {
    const value = Number.parseInt(word, 16)
    out[offset++] = value >>> 8
    out[offset++] = value & 0xff
  }
}

/** A range of addresses: `bits` of the 16 bytes count; IPv4 ranges count from 96. */
export interface IpRange {
  readonly family: 4 | 6
  readonly bytes: Uint8Array
  /** 0 to 128, over the 16 bytes. */
  readonly bits: number
  /** The prefix length as written: 0 to 32 for IPv4. */
  readonly prefixLength: number
}

/** Parses `10.0.0.0/8` or `fd00::/8`; bits behind the prefix are cleared. @returns undefined when it is no range */
export function parseCidr(text: string): IpRange | undefined {
  const slash = text.indexOf('/')
  if (slash < 0) return undefined
  const length = text.slice(slash + 1)
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length)) return undefined
  const bytes = new Uint8Array(16)
  const family = parseIp(text.slice(0, slash), bytes)
  const prefixLength = Number(length)
  if (family === 0 || prefixLength > (family === 4 ? 32 : 128)) return undefined
  const bits = family === 4 ? 96 + prefixLength : prefixLength
  for (let bit = bits; bit < 128; bit++) bytes[bit >> 3]! &= ~(0x80 >> (bit & 7))
  return { family, bytes, bits, prefixLength }
}
