import { type HttpRecord, type L7Record, L7Type } from '../../model/l7.ts'
import { EventType, FLOW_EVENT } from '../../model/layouts.gen.ts'
import type { RecordReader } from '../source.ts'
import { parseDns } from './dns.ts'
import { parseHttp } from './http.ts'
import { RequestMatcher } from './match.ts'
import { type RedactOptions, Redactor } from './redact.ts'

const TCP = 6
const WORD = { src: FLOW_EVENT.srcIp >> 1, dst: FLOW_EVENT.dstIp >> 1 } as const
/** 8 Ki open queries and 16 Ki HTTP connections: some MB, and more than a node's resolvers and servers have open. */
const DNS_OPEN = { maxFlows: 8192, maxPerFlow: 1, maxAgeNs: 10e9 } as const
const HTTP_OPEN = { maxFlows: 16_384, maxPerFlow: 64, maxAgeNs: 600e9 } as const

interface OpenHttp {
  readonly method: string
  readonly url: string
  readonly traceId: string
}

/** Makes L7 records of captured payloads and finds each response's request. One for all sources of a node. */
export class L7Decoder {
  readonly dns = new RequestMatcher<undefined>(DNS_OPEN)
  readonly http = new RequestMatcher<OpenHttp>(HTTP_OPEN)
  readonly #redactor: Redactor

  constructor(redact: RedactOptions = {}) {
    this.#redactor = new Redactor(redact)
  }

  /**
   * @param reader @param offset byte offset of an EVENT_DNS or EVENT_HTTP record whose size has been checked
   * @returns undefined when the payload is not what its port promised
   */
  decode(reader: RecordReader, offset: number): L7Record | undefined {
    return reader.u8[offset + FLOW_EVENT.type] === EventType.DNS
      ? this.#dns(reader, offset)
      : this.#http(reader, offset)
  }

  #dns(reader: RecordReader, offset: number): L7Record | undefined {
    const length = reader.u16[(offset + FLOW_EVENT.payloadLen) >> 1]!
    const isTcp = reader.u8[offset + FLOW_EVENT.protocol] === TCP
    const message = parseDns(reader.u8, offset + FLOW_EVENT.SIZE, length, isTcp)
    if (message === undefined) return undefined
    const low = reader.u32[offset >> 2]!
    const high = reader.u32[(offset >> 2) + 1]!
    if (!message.isResponse) {
      this.dns.request(flowKey(reader, offset, false, message.id), low, high, undefined)
      return { type: L7Type.REQUEST, latencyNs: 0, traceId: '', dns: message.record }
    }
    const matched = this.dns.response(flowKey(reader, offset, true, message.id), low, high)
    return { type: L7Type.RESPONSE, latencyNs: matched?.latencyNs ?? 0, traceId: '', dns: message.record }
  }

  #http(reader: RecordReader, offset: number): L7Record | undefined {
    const length = reader.u16[(offset + FLOW_EVENT.payloadLen) >> 1]!
    const message = parseHttp(reader.u8, offset + FLOW_EVENT.SIZE, length, this.#redactor)
    if (message === undefined) return undefined
    const { record, traceId } = message
    const low = reader.u32[offset >> 2]!
    const high = reader.u32[(offset >> 2) + 1]!
    if (!message.isResponse) {
      const open: OpenHttp = { method: record.method, url: record.url, traceId }
      this.http.request(flowKey(reader, offset, false, 0), low, high, open)
      return { type: L7Type.REQUEST, latencyNs: 0, traceId, http: record }
    }
    const key = flowKey(reader, offset, true, 0)
    // 100, 102 and 103 announce a response; 101 is one.
    const isInterim = record.code < 200 && record.code !== 101
    const matched = isInterim ? this.http.peek(key, low, high) : this.http.response(key, low, high)
    if (matched === undefined) return { type: L7Type.RESPONSE, latencyNs: 0, traceId, http: record }
    const { method, url } = matched.value
    const http: HttpRecord = { ...record, method, url }
    return { type: L7Type.RESPONSE, latencyNs: matched.latencyNs, traceId: traceId || matched.value.traceId, http }
  }
}

/** The flow of a record at its interface in the requester's direction, as a string of 16-bit units. */
function flowKey(reader: RecordReader, offset: number, isResponse: boolean, id: number): string {
  const { u16 } = reader
  const base = offset >> 1
  const from = base + (isResponse ? WORD.dst : WORD.src)
  const to = base + (isResponse ? WORD.src : WORD.dst)
  const fromPort = u16[base + ((isResponse ? FLOW_EVENT.dstPort : FLOW_EVENT.srcPort) >> 1)]!
  const toPort = u16[base + ((isResponse ? FLOW_EVENT.srcPort : FLOW_EVENT.dstPort) >> 1)]!
  const device = base + (FLOW_EVENT.ifindex >> 1)
  return (
    address(u16, from) +
    address(u16, to) +
    String.fromCharCode(fromPort, toPort, u16[device]!, u16[device + 1]!, id, reader.u8[offset + FLOW_EVENT.protocol]!)
  )
}

function address(u16: Uint16Array, at: number): string {
  return String.fromCharCode(
    u16[at]!,
    u16[at + 1]!,
    u16[at + 2]!,
    u16[at + 3]!,
    u16[at + 4]!,
    u16[at + 5]!,
    u16[at + 6]!,
    u16[at + 7]!,
  )
}
