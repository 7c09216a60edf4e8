/** flow.proto DNS. `query` and `cnames` keep the trailing dot. */
export interface DnsRecord {
  readonly query: string
  readonly ips: readonly string[]
  /** Seconds; the smallest of the answer's records, 0 on requests. */
  readonly ttl: number
  readonly cnames: readonly string[]
  /** Where it was seen: `kernel` for our own capture, `proxy` for a DNS proxy. */
  readonly observationSource: string
  readonly rcode: number
  readonly qtypes: readonly string[]
  readonly rrtypes: readonly string[]
}

export interface HttpHeader {
  readonly key: string
  readonly value: string
}

/** flow.proto HTTP. A response repeats method and url of its request where that was seen. */
export interface HttpRecord {
  /** Status code, 0 on requests. */
  readonly code: number
  readonly method: string
  readonly url: string
  /** `HTTP/1.1` */
  readonly protocol: string
  /** Sorted by key; redacted as configured. */
  readonly headers: readonly HttpHeader[]
}

/** flow.proto L7FlowType. */
export const L7Type = { UNKNOWN: 0, REQUEST: 1, RESPONSE: 2, SAMPLE: 3 } as const

/** What an L7 record says beyond its packet. Exactly one of `dns` and `http` is set. */
export interface L7Record {
  /** L7Type */
  readonly type: number
  /** Request to response, nanoseconds, 0 when the request was not seen or on requests. */
  readonly latencyNs: number
  readonly dns?: DnsRecord
  readonly http?: HttpRecord
  /** W3C trace id from a `traceparent` header, lower-case hex, empty when there is none. */
  readonly traceId: string
}
