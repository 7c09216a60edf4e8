import { describe, expect, test } from 'vitest'
import { type FlowSpec, TestFlowStore } from '../test/helpers/flow-store.ts'
import type { DnsRecord, L7Record } from './l7.ts'
import { dnsRcodeName, icmpTypeName, sctpChunkType, tcpFlagsText } from './protocol-names.ts'
import { flowSummary, l7Summary } from './summary.ts'

function view(spec: FlowSpec) {
  const store = new TestFlowStore()
  const cursor = store.createView()
  store.seek(cursor, store.push(spec))
  return cursor
}

const dns = (fields: Partial<DnsRecord>, type = 2): L7Record => ({
  type,
  latencyNs: 0,
  traceId: '',
  dns: {
    query: 'shop.example.',
    ips: [],
    ttl: 0,
    cnames: [],
    observationSource: 'kernel',
    rcode: 0,
    qtypes: ['A'],
    rrtypes: [],
    ...fields,
  },
})

const http = (type: number, code: number, latencyNs = 0): L7Record => ({
  type,
  latencyNs,
  traceId: '',
  http: { code, method: 'GET', url: 'http://shop/cart', protocol: 'HTTP/1.1', headers: [] },
})

describe('flowSummary()', () => {
  const cases: [string, FlowSpec, string][] = [
    ['a SYN', { l4Info: 2 }, 'TCP Flags: SYN'],
    ['all flags', { l4Info: 511 }, 'TCP Flags: SYN, ACK, RST, FIN, PSH, URG, ECE, CWR, NS'],
    ['no flags', { l4Info: 0 }, 'TCP Flags: '],
    ['UDP', { protocol: 17 }, 'UDP'],
    ['SCTP', { protocol: 132 }, 'SCTP'],
    ['a ping', { protocol: 1, l4Info: 8 << 8 }, 'ICMPv4 EchoRequest'],
    ['a closed port', { protocol: 1, l4Info: (3 << 8) | 3 }, 'ICMPv4 DestinationUnreachable(Port)'],
    ['neighbour discovery', { protocol: 58, srcIp: 'fe80::1', l4Info: 135 << 8 }, 'ICMPv6 NeighborSolicitation'],
    ['GRE', { protocol: 47 }, 'IPv4'],
    ['GRE in IPv6', { protocol: 47, srcIp: 'fd00::1' }, 'IPv6'],
    ['an HTTP request', { l7: http(1, 0) }, 'HTTP/1.1 GET http://shop/cart'],
    ['an HTTP response', { l7: http(2, 503, 12_999_999) }, 'HTTP/1.1 503 12ms (GET http://shop/cart)'],
    ['a DNS query', { l7: dns({ qtypes: ['A', 'AAAA'] }, 1) }, 'DNS Query shop.example. A,AAAA'],
  ]
  test.each(cases)('gives the text of Hubble for %s', (_, spec, expected) => {
    expect(flowSummary(view(spec))).toBe(expected)
  })

  test('gives the transport when the L7 message is not held any more', () => {
    expect(flowSummary(view({ type: 3, protocol: 17 }))).toBe('UDP')
  })
})

describe('l7Summary()', () => {
  test.each([
    [{ ips: ['10.0.0.1', '10.0.0.2'], ttl: 30 }, 'DNS Answer "10.0.0.1,10.0.0.2" TTL: 30 (Query shop.example. A)'],
    [
      { ips: ['10.0.0.1'], cnames: ['a.example.'], ttl: 5, observationSource: 'proxy' },
      'DNS Answer "10.0.0.1" CNAMEs: "a.example." TTL: 5 (Proxy shop.example. A)',
    ],
    [{ cnames: ['a.', 'b.'] }, 'DNS Answer CNAMEs: "a.,b." TTL: 0 (Query shop.example. A)'],
    [{ rcode: 3 }, 'DNS Answer RCode: Non-Existent Domain TTL: 0 (Query shop.example. A)'],
    [{ rcode: 99 }, 'DNS Answer RCode: 99 TTL: 0 (Query shop.example. A)'],
  ])('writes an answer %j', (fields, expected) => {
    expect(l7Summary(dns(fields))).toBe(expected)
  })
})

describe('icmpTypeName()', () => {
  test.each([
    [4, 0, 0, 'EchoReply'],
    [4, 8, 3, 'EchoRequest(Code: 3)'],
    [4, 3, 15, 'DestinationUnreachable(PrecedenceCutoff)'],
    [4, 3, 16, 'DestinationUnreachable(Code: 16)'],
    [4, 11, 0, 'TimeExceeded(TTLExceeded)'],
    [4, 200, 7, '200(7)'],
    [6, 1, 4, 'DestinationUnreachable(PortUnreachable)'],
    [6, 2, 0, 'PacketTooBig'],
    [6, 130, 0, '130(0)'],
    [6, 8, 0, '8(0)'],
  ])('names family %i type %i code %i', (family, type, code, expected) => {
    expect(icmpTypeName(family, type, code)).toBe(expected)
    expect(icmpTypeName(family, type, code)).toBe(expected)
  })
})

test('name tables answer for numbers that they lack', () => {
  expect(dnsRcodeName(0)).toBe('No Error')
  expect(dnsRcodeName(12)).toBe('')
  expect(sctpChunkType(7)).toEqual({ number: 3, name: 'SHUTDOWN' })
  expect(sctpChunkType(0)).toEqual({ number: 0, name: 'UNSUPPORTED' })
  expect(tcpFlagsText(18)).toBe('SYN, ACK')
})
