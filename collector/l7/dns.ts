import { ipText } from '../../model/flow-view.ts'
import type { DnsRecord } from '../../model/l7.ts'

/** DnsRecord.observationSource of what the kernel captured; proxies report `proxy`. `hubble observe` prints it. */
export const DNS_SOURCE = 'kernel'

const HEADER = 12
const MAX_NAME = 255
/** Messages with more questions are no DNS: servers answer one. */
const MAX_QUESTIONS = 16

const TYPE_NAMES: Readonly<Record<number, string>> = {
  1: 'A',
  2: 'NS',
  5: 'CNAME',
  6: 'SOA',
  12: 'PTR',
  13: 'HINFO',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  29: 'LOC',
  33: 'SRV',
  35: 'NAPTR',
  39: 'DNAME',
  41: 'OPT',
  43: 'DS',
  44: 'SSHFP',
  46: 'RRSIG',
  47: 'NSEC',
  48: 'DNSKEY',
  50: 'NSEC3',
  51: 'NSEC3PARAM',
  52: 'TLSA',
  64: 'SVCB',
  65: 'HTTPS',
  99: 'SPF',
  251: 'IXFR',
  252: 'AXFR',
  255: 'ANY',
  256: 'URI',
  257: 'CAA',
}

const TYPE_A = 1
const TYPE_CNAME = 5
const TYPE_AAAA = 28
const TYPE_OPT = 41

/** A DNS message as far as flows tell of it. */
export interface DnsMessage {
  readonly id: number
  readonly isResponse: boolean
  readonly record: DnsRecord
}

/** What has been read of a message so far. */
interface Draft {
  ips: string[]
  cnames: string[]
  rrtypes: string[]
  ttl: number
  rcode: number
}

/**
 * Reads a DNS message from wire form. Work is linear in the bytes: a compression pointer has to point before the name
 * it stands in, and a name has at most 255 bytes. A message that was cut while its question was whole gives what is
 * there: the answers before the cut.
 *
 * @param bytes the message lies at [at, at + length); bytes behind it are never read
 * @param isTcp two bytes of length come first
 * @returns undefined when it is no DNS message
 */
export function parseDns(bytes: Uint8Array, at: number, length: number, isTcp: boolean): DnsMessage | undefined {
  const skip = isTcp ? 2 : 0
  if (length < HEADER + skip) return undefined
  const start = at + skip
  let end = at + length
  if (isTcp) {
    const whole = u16(bytes, at)
    if (whole < HEADER) return undefined
    end = Math.min(end, start + whole)
  }
  const flags = u16(bytes, start + 2)
  const questions = u16(bytes, start + 4)
  const isResponse = (flags & 0x8000) !== 0
  const opcode = (flags >>> 11) & 0xf
  if (opcode > 6 || opcode === 3 || questions > MAX_QUESTIONS || (questions === 0 && !isResponse)) return undefined
  const reader = new MessageReader(bytes, start, end)
  let query = ''
  const qtypes: string[] = []
  for (let i = 0; i < questions; i++) {
    const name = reader.name()
    const type = reader.u16()
    if (name === undefined || type < 0 || reader.u16() < 0) return undefined
    if (i === 0) query = name
    qtypes.push(typeName(type))
  }
  const draft: Draft = { ips: [], cnames: [], rrtypes: [], ttl: -1, rcode: flags & 0xf }
  if (isResponse) {
    const answers = u16(bytes, start + 6)
    const rest = u16(bytes, start + 8) + u16(bytes, start + 10)
    if (readRecords(reader, answers, draft, true)) readRecords(reader, rest, draft, false)
  }
  return { id: u16(bytes, start), isResponse, record: finish(query, qtypes, draft) }
}

function finish(query: string, qtypes: string[], draft: Draft): DnsRecord {
  const { ips, cnames, rrtypes, rcode } = draft
  return { query, ips, ttl: Math.max(0, draft.ttl), cnames, observationSource: DNS_SOURCE, rcode, qtypes, rrtypes }
}

/** @returns false when the message ended or broke first */
function readRecords(reader: MessageReader, count: number, draft: Draft, isAnswer: boolean): boolean {
  for (let i = 0; i < count; i++) {
    if (!reader.skipName()) return false
    const type = reader.u16()
    const rrclass = reader.u16()
    const ttl = reader.u32()
    const length = reader.u16()
    if (rrclass < 0 || length < 0 || !reader.has(length)) return false
    if (isAnswer) readAnswer(reader, type, ttl, length, draft)
    // The upper eight bits of the response code are in the TTL of the OPT record.
    else if (type === TYPE_OPT) draft.rcode |= (ttl >>> 24) << 4
    reader.at += length
  }
  return true
}

function readAnswer(reader: MessageReader, type: number, ttl: number, length: number, draft: Draft): void {
  draft.rrtypes.push(typeName(type))
  // RFC 2181, 8: a TTL with the top bit set counts as 0.
  const seconds = ttl >= 0x8000_0000 ? 0 : ttl
  if (draft.ttl < 0 || seconds < draft.ttl) draft.ttl = seconds
  if (type === TYPE_A && length === 4) {
    const { bytes, at } = reader
    draft.ips.push(`${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`)
  } else if (type === TYPE_AAAA && length === 16) {
    draft.ips.push(ipText(reader.bytes, reader.at))
  } else if (type === TYPE_CNAME) {
    const name = reader.nameAt(reader.at)
    if (name !== undefined) draft.cnames.push(name)
  }
}

/** Reads forward in a message; every read checks the message's end. */
class MessageReader {
  readonly bytes: Uint8Array
  readonly #start: number
  readonly #end: number
  at: number

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.bytes = bytes
    this.#start = start
    this.#end = end
    this.at = start + HEADER
  }

  has(length: number): boolean {
    return this.at + length <= this.#end
  }

  /** @returns -1 at the end */
  u16(): number {
    if (!this.has(2)) return -1
    this.at += 2
    return u16(this.bytes, this.at - 2)
  }

  u32(): number {
    if (!this.has(4)) return -1
    this.at += 4
    return u16(this.bytes, this.at - 4) * 65_536 + u16(this.bytes, this.at - 2)
  }

  name(): string | undefined {
    const name = this.nameAt(this.at)
    return name !== undefined && this.skipName() ? name : undefined
  }

  /** Moves behind a name without following pointers. */
  skipName(): boolean {
    for (;;) {
      const length = this.has(1) ? this.bytes[this.at]! : 64
      if (length >= 0xc0) {
        this.at += 2
        return this.at <= this.#end
      }
      if (length > 63) return false
      this.at += length + 1
      if (length === 0) return true
    }
  }

  /** The name at a position, with trailing dot, escaped as zone files are. Does not move. */
  nameAt(position: number): string | undefined {
    let at = position
    let limit = position
    let size = 1
    let text = ''
    for (;;) {
      if (at >= this.#end) return undefined
      const length = this.bytes[at]!
      if (length === 0) return text === '' ? '.' : text
      if (length >= 0xc0) {
        if (at + 1 >= this.#end) return undefined
        const target = this.#start + (((length & 0x3f) << 8) | this.bytes[at + 1]!)
        // Each jump lands before all that was read so far, so jumps end.
        if (target >= limit || target < this.#start + HEADER) return undefined
        at = target
        limit = target
        continue
      }
      size += length + 1
      if (length > 63 || size > MAX_NAME || at + 1 + length > this.#end) return undefined
      text += `${labelText(this.bytes, at + 1, length)}.`
      at += length + 1
    }
  }
}

/** Characters that stand behind a backslash in zone files. */
const ESCAPED = new Set([...`. '@;()"\\`].map((c) => c.charCodeAt(0)))

function labelText(bytes: Uint8Array, at: number, length: number): string {
  let text = ''
  for (let i = 0; i < length; i++) {
    const byte = bytes[at + i]!
    if (ESCAPED.has(byte)) text += `\\${String.fromCharCode(byte)}`
    else if (byte > 32 && byte < 127) text += String.fromCharCode(byte)
    else text += `\\${String(byte).padStart(3, '0')}`
  }
  return text
}

function typeName(type: number): string {
  return TYPE_NAMES[type] ?? `TYPE${type}`
}

function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!
}
