import { isIP } from 'node:net'
import type { DnsZone } from './roles.ts'

/** RFC 1035: longest answer over UDP without EDNS. A longer one is cut and marked; clients ask again over TCP. */
export const MAX_UDP = 512

const HEADER = 12
const TYPE_A = 1
const TYPE_AAAA = 28
const CLASS_IN = 1
const FLAG_RESPONSE = 0x8000
const FLAG_AUTHORITATIVE = 0x0400
const FLAG_TRUNCATED = 0x0200
const FLAG_RECURSION = 0x0180
const RCODE_NXDOMAIN = 3
const RCODE_NOTIMP = 4
/** Short, so that look-ups go on for as long as the lab is watched. */
const TTL_SECS = 5

/**
 * Answers one query from a zone: A and AAAA, NXDOMAIN for names that are not there, an empty answer for other types.
 *
 * @param maxBytes longest answer; what is longer is sent without records and marked truncated
 * @returns the answer, or undefined when the query is no query
 */
export function answerQuery(query: Buffer, zone: DnsZone, maxBytes: number): Buffer | undefined {
  if (query.length < HEADER || query.readUInt16BE(2) & FLAG_RESPONSE) return undefined
  const question = readQuestion(query)
  if (!question) return undefined
  const { name, type, end } = question
  const ips = Object.hasOwn(zone, name) ? zone[name]! : undefined
  const opcode = (query.readUInt16BE(2) >> 11) & 15
  const rcode = opcode !== 0 ? RCODE_NOTIMP : ips === undefined ? RCODE_NXDOMAIN : 0
  const records = (ips ?? []).filter((ip) => (isIP(ip) === 4 ? TYPE_A : TYPE_AAAA) === type).map(record)
  const head = Buffer.from(query.subarray(0, end))
  const size = end + records.reduce((sum, each) => sum + each.length, 0)
  const truncated = size > maxBytes
  head.writeUInt16BE(FLAG_RESPONSE | FLAG_AUTHORITATIVE | FLAG_RECURSION | (truncated ? FLAG_TRUNCATED : 0) | rcode, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(truncated ? 0 : records.length, 6)
  head.writeUInt32BE(0, 8)
  return truncated ? head : Buffer.concat([head, ...records])
}

/** @returns the first question, its name in lower case without trailing dot, and where it ends */
function readQuestion(query: Buffer): { name: string; type: number; end: number } | undefined {
  if (query.readUInt16BE(4) !== 1) return undefined
  const labels: string[] = []
  let at = HEADER
  for (;;) {
    const length = query[at]
    if (length === undefined || length > 63) return undefined
    at++
    if (length === 0) break
    labels.push(query.toString('latin1', at, at + length))
    at += length
  }
  if (at + 4 > query.length || query.readUInt16BE(at + 2) !== CLASS_IN) return undefined
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at), end: at + 4 }
}

/** A resource record whose name points at the question. */
function record(ip: string): Buffer {
  const data = isIP(ip) === 4 ? Buffer.from(ip.split('.').map(Number)) : bytes6(ip)
  const head = Buffer.alloc(12)
  head.writeUInt16BE(0xc000 | HEADER, 0)
  head.writeUInt16BE(data.length === 4 ? TYPE_A : TYPE_AAAA, 2)
  head.writeUInt16BE(CLASS_IN, 4)
  head.writeUInt32BE(TTL_SECS, 6)
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

function bytes6(ip: string): Buffer {
  const [left = '', right] = ip.split('::')
  const words = (text: string) => (text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16)))
  const head = words(left)
  const tail = right === undefined ? [] : words(right)
  const all = [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail]
  const out = Buffer.alloc(16)
  for (let i = 0; i < 8; i++) out.writeUInt16BE(all[i]!, 2 * i)
  return out
}
