import type { FlowView } from './flow-view.ts'
import { type DnsRecord, type HttpRecord, type L7Record, L7Type } from './l7.ts'
import { dnsRcodeName, icmpTypeName, PROTOCOL, tcpFlagsText } from './protocol-names.ts'

/** One text per flag set: the summary of most flows is a table look-up. */
const TCP_SUMMARY = Array.from({ length: 512 }, (_, flags) => `TCP Flags: ${tcpFlagsText(flags)}`)
const icmpSummary = new Map<string, string>()
const icmp6Summary = new Map<string, string>()

/**
 * Hubble's Summary of a flow, the text that `hubble observe` prints in brackets: `TCP Flags: SYN`,
 * `ICMPv4 EchoRequest`, `DNS Query a.example. A`, `HTTP/1.1 200 3ms (GET http://shop/)`. Cached for L3/L4 flows.
 */
export function flowSummary(view: FlowView): string {
  if (view.isL7) {
    const record = view.l7
    if (record !== undefined) return l7Summary(record)
  }
  switch (view.protocol) {
    case PROTOCOL.TCP:
      return view.isL7 ? 'TCP' : TCP_SUMMARY[view.tcpFlags & 511]!
    case PROTOCOL.UDP:
      return 'UDP'
    case PROTOCOL.SCTP:
      return 'SCTP'
    case PROTOCOL.ICMP:
      return prefixed(icmpSummary, 'ICMPv4 ', icmpTypeName(4, view.icmpType, view.icmpCode))
    case PROTOCOL.ICMPV6:
      return prefixed(icmp6Summary, 'ICMPv6 ', icmpTypeName(6, view.icmpType, view.icmpCode))
    default:
      return view.ipVersion === 4 ? 'IPv4' : view.ipVersion === 6 ? 'IPv6' : 'Ethernet'
  }
}

/** Bounded by the names that icmpTypeName() can give. */
function prefixed(cache: Map<string, string>, prefix: string, name: string): string {
  let text = cache.get(name)
  if (text === undefined) {
    text = prefix + name
    cache.set(name, text)
  }
  return text
}

/** Summary of an L7 message alone. */
export function l7Summary(record: L7Record): string {
  if (record.dns) return dnsSummary(record, record.dns)
  if (record.http) return httpSummary(record, record.http)
  return ''
}

function dnsSummary(record: L7Record, dns: DnsRecord): string {
  const types = dns.qtypes.join(',')
  if (record.type === L7Type.REQUEST) return `DNS Query ${dns.query} ${types}`
  if (record.type !== L7Type.RESPONSE) return ''
  const source = dns.observationSource === 'proxy' ? 'Proxy' : 'Query'
  return `DNS Answer ${dnsAnswer(dns)} TTL: ${dns.ttl} (${source} ${dns.query} ${types})`
}

function dnsAnswer(dns: DnsRecord): string {
  if (dns.rcode !== 0) return `RCode: ${dnsRcodeName(dns.rcode) || dns.rcode}`
  const parts: string[] = []
  if (dns.ips.length > 0) parts.push(JSON.stringify(dns.ips.join(',')))
  if (dns.cnames.length > 0) parts.push(`CNAMEs: ${JSON.stringify(dns.cnames.join(','))}`)
  return parts.join(' ')
}

function httpSummary(record: L7Record, http: HttpRecord): string {
  if (record.type === L7Type.REQUEST) return `${http.protocol} ${http.method} ${http.url}`
  if (record.type !== L7Type.RESPONSE) return ''
  const milliseconds = Math.floor(record.latencyNs / 1e6)
  return `${http.protocol} ${http.code} ${milliseconds}ms (${http.method} ${http.url})`
}
