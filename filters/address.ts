/**
 * Addresses and prefixes as Go's net/netip reads them, since Hubble's clients and servers are written in Go: no
 * leading zeros, no zone in a prefix, `::` only where it stands for something.
 */

/** 16 bytes in network order, IPv4 as ::ffff:a.b.c.d, and which of the two it was written as. */
export interface Address {
  readonly bytes: Uint8Array
  readonly isIpv4: boolean
  /** Text behind `%`, '' for none. No flow carries one. */
  readonly zone: string
}

/** `bits` counts from the start of the family's own address: 0 to 32 for IPv4, 0 to 128 for IPv6. */
export interface Prefix {
  readonly bytes: Uint8Array
  readonly isIpv4: boolean
  readonly bits: number
}

/** @returns undefined when the text is no address */
export function parseAddress(text: string): Address | undefined {
  for (const char of text) {
    if (char === '.') {
      const bytes = new Uint8Array(16)
      bytes[10] = 0xff
      bytes[11] = 0xff
      return parseIpv4Into(text, bytes, 12) ? { bytes, isIpv4: true, zone: '' } : undefined
    }
    if (char === ':') return parseIpv6(text)
  }
  return undefined
}

/** @returns undefined when the text is no prefix; host bits may be set, they are ignored when matching */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.lastIndexOf('/')
  if (slash < 0) return undefined
  const address = parseAddress(text.slice(0, slash))
  if (address === undefined || address.zone !== '') return undefined
  const digits = text.slice(slash + 1)
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(digits)) return undefined
  const bits = Number(digits)
  if (bits > (address.isIpv4 ? 32 : 128)) return undefined
  return { bytes: address.bytes, isIpv4: address.isIpv4, bits }
}

/** True when 16 bytes lie in ::ffff:0:0/96. */
export function isMapped(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 10; i++) if (bytes[at + i] !== 0) return false
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff
}

/** Does the prefix hold the address at `at`? An IPv4 prefix never holds an IPv6 address, nor the other way round. */
export function prefixContains(prefix: Prefix, bytes: Uint8Array, at: number): boolean {
  if (prefix.isIpv4 !== isMapped(bytes, at)) return false
  const bits = prefix.isIpv4 ? prefix.bits + 96 : prefix.bits
  const whole = bits >>> 3
  for (let i = 0; i < whole; i++) if (prefix.bytes[i] !== bytes[at + i]) return false
  const rest = bits & 7
  return rest === 0 || (prefix.bytes[whole]! ^ bytes[at + whole]!) >>> (8 - rest) === 0
}

/** Does `outer` hold every address of `inner`? */
export function prefixCovers(outer: Prefix, inner: Prefix): boolean {
  return outer.isIpv4 === inner.isIpv4 && outer.bits <= inner.bits && prefixContains(outer, inner.bytes, 0)
}

function parseIpv4Into(text: string, out: Uint8Array, at: number): boolean {
  const parts = text.split('.')
  if (parts.length !== 4) return false
  for (let i = 0; i < 4; i++) {
    const part = parts[i]!
    if (!/^(?:0|[1-9][0-9]{0,2})$/.test(part)) return false
    const value = Number(part)
    if (value > 255) return false
    out[at + i] = value
  }
  return true
}

function parseIpv6(text: string): Address | undefined {
  const percent = text.indexOf('%')
  const zone = percent < 0 ? '' : text.slice(percent + 1)
  if (percent >= 0 && zone === '') return undefined
  const address = percent < 0 ? text : text.slice(0, percent)
  const halves = address.split('::')
  if (halves.length > 2) return undefined
  const head = parseGroups(halves[0]!, halves.length === 1)
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 16 - head.length - tail.length
  // `::` has to stand for at least one group; without it nothing may be missing.
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined
  const bytes = new Uint8Array(16)
  bytes.set(head)
  bytes.set(tail, 16 - tail.length)
  return { bytes, isIpv4: false, zone }
}

/** Bytes of groups between colons; the last one may be an IPv4 address where the text ends here. */
function parseGroups(text: string, isEnd: boolean): number[] | undefined {
  if (text === '') return []
  const bytes: number[] = []
  const groups = text.split(':')
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i]!
    if (group.includes('.')) {
      const four = new Uint8Array(4)
      if (!isEnd || i !== groups.length - 1 || !parseIpv4Into(group, four, 0)) return undefined
      bytes.push(...four)
      continue
    }
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined
    const value = Number.parseInt(group, 16)
    bytes.push(value >>> 8, value & 0xff)
  }
  return bytes.length > 16 ? undefined : bytes
}
