import type { DnsRecord, HttpHeader, HttpRecord, L7Record } from '../../model/l7.ts'

const HEADER = 16
/** In place of a length: the rest of the ring, or these 8 bytes, hold nothing. */
const PAD_TO_END = 0xffff_ffff
const PAD_8 = 0xffff_fffe
/** A block of flows: what lives longer costs the garbage collector more than decoding it again. */
const DECODED = 1024
/** An L7 message is made of at most 1 KiB of payload; replayed ones may be larger, up to this. */
const MAX_MESSAGE = 64 * 1024

/**
 * The L7 messages of the flows in the history: a ring of bytes, each message as compact JSON behind its flow's
 * sequence number. When a message is overwritten before its flow has left the history, `complete` passes that flow,
 * and the history lets go of all flows before `complete`: whatever it shows is whole.
 *
 *   u32 length │ u32 sequence low │ u32 sequence high │ u32 reserved │ length bytes, padded to 8
 *
 * A reference is the position in units of 8 bytes, modulo 2^32; it is known to be stale by its distance from the head.
 */
export class L7Store {
  /** All flows from this sequence on have their messages. */
  complete = 0
  /** Messages that were stored. */
  stored = 0
  /** Messages larger than the store takes: their flows have none. */
  oversize = 0
  readonly capacity: number
  readonly #bytes: Uint8Array
  readonly #words: Uint32Array
  readonly #encoder = new TextEncoder()
  readonly #decoder = new TextDecoder()
  // Logical positions in bytes, below 2^53; 8 at the start so that no reference is 0.
  #head = 8
  #tail = 8
  // Direct-mapped: the exporters of the block that is being drained find the record as it was parsed.
  readonly #decodedRefs = new Uint32Array(DECODED)
  readonly #decoded: (L7Record | undefined)[] = new Array<L7Record | undefined>(DECODED).fill(undefined)

  /** @param capacity bytes, rounded up to a multiple of 8, at least 256 KiB: four of the largest messages */
  constructor(capacity: number) {
    this.capacity = Math.max(4 * MAX_MESSAGE, Math.ceil(capacity / 8) * 8)
    const buffer = new ArrayBuffer(this.capacity)
    this.#bytes = new Uint8Array(buffer)
    this.#words = new Uint32Array(buffer)
  }

  /** Bytes held. */
  get used(): number {
    return this.#head - this.#tail
  }

  /** Bytes ever written: a block of flows ends before it fills the store, so that its own messages are all there. */
  get written(): number {
    return this.#head
  }

  /** @param sequence of the flow that the message belongs to; never less than that of the message before @returns reference, 0 when oversize */
  put(record: L7Record, sequence: number): number {
    const text = JSON.stringify(pack(record))
    if (text.length * 3 + HEADER > MAX_MESSAGE) {
      this.oversize++
      return 0
    }
    const room = HEADER + align8(text.length * 3)
    this.#reserve(room)
    const at = this.#head % this.capacity
    const { written } = this.#encoder.encodeInto(text, this.#bytes.subarray(at + HEADER, at + room))
    this.#words[at >> 2] = written
    this.#words[(at >> 2) + 1] = sequence >>> 0
    this.#words[(at >> 2) + 2] = Math.floor(sequence / 4294967296)
    const ref = (this.#head / 8) % 4294967296
    this.#head += HEADER + align8(written)
    this.stored++
    this.#remember(ref, record)
    return ref
  }

  /** The message of a reference; undefined for 0 and for messages that were overwritten. */
  get(ref: number): L7Record | undefined {
    if (ref === 0) return undefined
    const slot = ref & (DECODED - 1)
    if (this.#decodedRefs[slot] === ref) return this.#decoded[slot]
    const distance = ((this.#head / 8) % 4294967296) - ref
    const position = this.#head - (distance < 0 ? distance + 4294967296 : distance) * 8
    if (position < this.#tail || position >= this.#head) return undefined
    const at = position % this.capacity
    const length = this.#words[at >> 2]!
    const text = this.#decoder.decode(this.#bytes.subarray(at + HEADER, at + HEADER + length))
    const record = unpack(JSON.parse(text) as Packed)
    this.#remember(ref, record)
    return record
  }

  #remember(ref: number, record: L7Record): void {
    const slot = ref & (DECODED - 1)
    this.#decodedRefs[slot] = ref
    this.#decoded[slot] = record
  }

  /** Makes `room` contiguous bytes free at the head. */
  #reserve(room: number): void {
    for (;;) {
      const at = this.#head % this.capacity
      const rest = this.capacity - at
      // The one position in 2^32 whose reference would mean "none" is stepped over.
      const pad = rest < room ? rest : (this.#head / 8) % 4294967296 === 0 ? 8 : 0
      if (pad === 0) break
      this.#evict(pad)
      this.#words[at >> 2] = pad === rest ? PAD_TO_END : PAD_8
      this.#head += pad
    }
    this.#evict(room)
  }

  #evict(room: number): void {
    while (this.#head + room - this.#tail > this.capacity) {
      const at = this.#tail % this.capacity
      const length = this.#words[at >> 2]!
      if (length === PAD_TO_END) {
        this.#tail += this.capacity - at
      } else if (length === PAD_8) {
        this.#tail += 8
      } else {
        this.complete = this.#words[(at >> 2) + 1]! + this.#words[(at >> 2) + 2]! * 4294967296 + 1
        this.#forget((this.#tail / 8) % 4294967296)
        this.#tail += HEADER + align8(length)
      }
    }
  }

  #forget(ref: number): void {
    const slot = ref & (DECODED - 1)
    if (this.#decodedRefs[slot] !== ref) return
    this.#decodedRefs[slot] = 0
    this.#decoded[slot] = undefined
  }
}

function align8(bytes: number): number {
  return (bytes + 7) & ~7
}

type PackedDns = [
  1,
  number,
  number,
  string,
  string,
  readonly string[],
  number,
  readonly string[],
  string,
  number,
  readonly string[],
  readonly string[],
]
type PackedHttp = [2, number, number, string, number, string, string, string, readonly string[]]
type Packed = PackedDns | PackedHttp | [0, number, number, string]

function pack(record: L7Record): Packed {
  const { type, latencyNs, traceId, dns, http } = record
  if (dns) {
    const { query, ips, ttl, cnames, observationSource, rcode, qtypes, rrtypes } = dns
    return [1, type, latencyNs, traceId, query, ips, ttl, cnames, observationSource, rcode, qtypes, rrtypes]
  }
  if (http) {
    const headers: string[] = []
    for (const header of http.headers) headers.push(header.key, header.value)
    return [2, type, latencyNs, traceId, http.code, http.method, http.url, http.protocol, headers]
  }
  return [0, type, latencyNs, traceId]
}

function unpack(packed: Packed): L7Record {
  const [, type, latencyNs, traceId] = packed
  if (packed[0] === 1) {
    const [, , , , query, ips, ttl, cnames, observationSource, rcode, qtypes, rrtypes] = packed
    const dns: DnsRecord = { query, ips, ttl, cnames, observationSource, rcode, qtypes, rrtypes }
    return { type, latencyNs, traceId, dns }
  }
  if (packed[0] === 2) {
    const [, , , , code, method, url, protocol, flat] = packed
    const headers: HttpHeader[] = []
    for (let i = 0; i + 1 < flat.length; i += 2) headers.push({ key: flat[i]!, value: flat[i + 1]! })
    const http: HttpRecord = { code, method, url, protocol, headers }
    return { type, latencyNs, traceId, http }
  }
  return { type, latencyNs, traceId }
}
