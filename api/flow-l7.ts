import type { DnsRecord, HttpRecord, L7Record } from '../model/l7.ts'
import type { WireWriter } from './wire.ts'

/** Content of flow.Layer7. Makes room itself. */
export function writeL7(out: WireWriter, record: L7Record): void {
  out.ensure(64)
  out.uint(1, record.type)
  if (record.latencyNs > 0) {
    out.tag(2, 0)
    out.varint53(record.latencyNs)
  }
  if (record.dns) {
    out.tag(100, 2)
    const mark = out.begin()
    writeDns(out, record.dns)
    out.end(mark)
  } else if (record.http) {
    out.tag(101, 2)
    const mark = out.begin()
    writeHttp(out, record.http)
    out.end(mark)
  }
}

function writeDns(out: WireWriter, dns: DnsRecord): void {
  out.text(1, dns.query)
  for (const ip of dns.ips) out.element(2, ip)
  out.ensure(16)
  out.uint(3, dns.ttl)
  for (const cname of dns.cnames) out.element(4, cname)
  out.text(5, dns.observationSource)
  out.ensure(16)
  out.uint(6, dns.rcode)
  for (const type of dns.qtypes) out.element(7, type)
  for (const type of dns.rrtypes) out.element(8, type)
}

function writeHttp(out: WireWriter, http: HttpRecord): void {
  out.ensure(16)
  out.uint(1, http.code)
  out.text(2, http.method)
  out.text(3, http.url)
  out.text(4, http.protocol)
  for (const header of http.headers) {
    out.ensure(16)
    out.tag(5, 2)
    const mark = out.begin()
    out.text(1, header.key)
    out.text(2, header.value)
    out.end(mark)
  }
}
