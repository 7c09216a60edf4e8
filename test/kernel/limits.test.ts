import { expect, it } from 'vitest'
import { EventCause, EventType, L7Kind } from '../../model/layouts.gen.ts'
import { gapsNow, KernelPrograms, ledgerGaps, NO_GAPS } from '../helpers/kernel-programs.ts'
import { ethernet, ipv4, packet, TcpFlag, tcp, udp } from '../helpers/packets.ts'
import { describeKernel } from '../helpers/privileged.ts'

const eth = ethernet()
const programs = ['pod_egress', 'pod_ingress', 'flow_sweep']
const datagram = (srcPort: number, bytes = 0) =>
  packet(eth, ipv4(), udp({ srcPort, dstPort: 9000 }), Buffer.alloc(bytes))

const dnsQuery = Buffer.concat([
  Buffer.from('12340100000100000000000003777777076578616d706c6503636f6d0000010001', 'hex'),
])

/** Two sweeps far in the future of every flow: mark, then remove. */
function sweepAll(k: KernelPrograms) {
  const times = { tcpIdleNs: 0n, otherIdleNs: 0n, closedIdleNs: 0n }
  k.sweep(times)
  return k.sweep(times)
}

describeKernel('limits of bpf/', () => {
  it("stay far from the verifier's limit of a million instructions", () => {
    // Older kernels prune less: what is 90,000 here may be twice that on 6.1.
    const names = ['pod_egress', 'pod_ingress', 'uplink_ingress', 'uplink_egress', 'packet_dropped', 'flow_sweep']
    using k = new KernelPrograms({ programs: names })
    for (const name of names)
      expect([name, k.program(name).info().verifiedInstructions]).toEqual([
        name,
        expect.toSatisfy((n: number) => n < 200_000),
      ])
  })

  it('counts each record that finds the ring full, and carries its packets out later', () => {
    using k = new KernelPrograms({ programs, maxEntries: { events: 4096 } })
    const flows = 100
    for (let i = 0; i < flows; i++) k.run('pod_egress', datagram(10_000 + i, i))
    const full = k.ledger()
    // 136 bytes a record in 4,096: 30 fit.
    expect([full.EVENTS_WANTED, full.EVENTS_SUBMITTED, full.EVENTS_RING_FULL]).toEqual([flows, 30, 70])
    const open = k.sweep()
    expect([full.PACKETS_FLOW, full.PACKETS_REPORTED, open.openPackets]).toEqual([flows, 30, 70])
    expect(ledgerGaps(full, open)).toEqual(NO_GAPS)

    // With room again every packet comes out, told once, with the sizes it had.
    const told = k.records()
    for (let i = 0; i < 8; i++) {
      sweepAll(k)
      told.push(...k.records())
    }
    // What the sweep took out while the ring was full is counted; the rest was told.
    const l = k.ledger()
    expect(told.reduce((n, r) => n + r.packets, 0)).toBe(flows - l.PACKETS_UNREPORTED)
    expect(gapsNow(k)).toEqual(NO_GAPS)
    expect(l.EVENTS_SUBMITTED).toBe(told.length)
  })

  it('tells the packets of a lost record with the next one of its flow', () => {
    using k = new KernelPrograms({ programs, maxEntries: { events: 4096 }, constants: { per_packet: 1 } })
    for (let i = 0; i < 50; i++) k.run('pod_egress', datagram(20_000, 10))
    expect(k.records()).toHaveLength(30)
    k.run('pod_egress', datagram(20_000, 10))
    expect(k.records().map((r) => [r.packets, r.bytes])).toEqual([[21, 21 * 52]])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('counts packets that find the flow table full', () => {
    using k = new KernelPrograms({ programs, maxEntries: { flows: 64 } })
    for (let i = 0; i < 100; i++) k.run('pod_egress', datagram(10_000 + i, 6))
    for (let i = 0; i < 100; i++) k.run('pod_egress', datagram(10_000 + i, 6))
    const l = k.ledger()
    expect([l.FLOWS_CREATED, l.PACKETS_FLOW, l.PACKETS_TABLE_FULL]).toEqual([64, 128, 72])
    expect([l.BYTES_SEEN, l.BYTES_FLOW + l.BYTES_TABLE_FULL]).toEqual([200 * 48, 200 * 48])
    expect(gapsNow(k)).toEqual(NO_GAPS)
    // Room again after the sweep.
    sweepAll(k)
    k.run('pod_egress', datagram(30_000, 6))
    expect(k.ledger().FLOWS_CREATED).toBe(65)
  })

  it('keeps the ring free for records while new flows find the table full', () => {
    using k = new KernelPrograms({
      programs,
      maxEntries: { flows: 64, events: 64 << 10 },
      constants: { per_packet: 1 },
    })
    // 64 KiB take 481 records, also discarded ones.
    for (let i = 0; i < 2000; i++) k.run('pod_egress', datagram(10_000 + i))
    k.run('pod_egress', datagram(10_000))
    const l = k.ledger()
    expect([l.PACKETS_TABLE_FULL, l.EVENTS_SUBMITTED, l.EVENTS_RING_FULL]).toEqual([2000 - 64, 65, 0])
    expect(k.records()).toHaveLength(65)
    sweepAll(k)
    for (let i = 0; i < 3; i++) k.run('pod_egress', datagram(30_000, i))
    // The first one may still come by the way for a full table: it is told all the same.
    expect(k.records().map((r) => [r.cause, r.srcPort, r.packets])).toEqual([
      [EventCause.NEW, 30_000, 1],
      [EventCause.PACKET, 30_000, 1],
      [EventCause.PACKET, 30_000, 1],
    ])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('takes idle flows out in two sweeps and tells what they had unreported', () => {
    using k = new KernelPrograms({ programs })
    for (let i = 0; i < 3; i++) k.run('pod_egress', datagram(10_001))
    k.run('pod_egress', packet(eth, ipv4(), tcp({ srcPort: 10_002 })))
    k.records()
    expect(k.sweep({ otherIdleNs: 0n })).toMatchObject({ entries: 2, removed: 0, openPackets: 2 })
    expect(k.sweep({ otherIdleNs: 0n })).toMatchObject({ entries: 1, removed: 1, openPackets: 0, reported: 1 })
    expect(k.records().map((r) => [r.cause, r.srcPort, r.packets])).toEqual([[EventCause.CLOSE, 10_001, 2]])
    // TCP has its own time, and a shorter one once it was closed.
    k.run('pod_egress', packet(eth, ipv4(), tcp({ srcPort: 10_002, flags: TcpFlag.RST })))
    expect(k.sweep({ closedIdleNs: 0n })).toMatchObject({ entries: 1, removed: 0 })
    expect(k.sweep({ closedIdleNs: 0n })).toMatchObject({ entries: 0, removed: 1 })
    const l = k.ledger()
    expect([l.FLOWS_CREATED, l.FLOWS_REMOVED]).toEqual([2, 2])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('lets the sweep tell flows that their device has another slot', () => {
    using k = new KernelPrograms({ programs })
    k.watch(1, 7, 1)
    k.run('pod_egress', datagram(10_001))
    k.watch(1, 8, 1)
    k.sweep()
    k.run('pod_egress', datagram(10_001))
    expect([7, 8].map((slot) => k.endpointCounts(slot).egressPackets)).toEqual([2, 0])
    k.sweep({ refreshSlots: true })
    k.run('pod_egress', datagram(10_001))
    expect([7, 8].map((slot) => k.endpointCounts(slot).egressPackets)).toEqual([2, 1])
  })

  it('keeps a marked flow that a packet revives', () => {
    using k = new KernelPrograms({ programs })
    k.run('pod_egress', datagram(10_001))
    k.sweep({ otherIdleNs: 0n })
    k.run('pod_egress', datagram(10_001))
    expect(k.sweep()).toMatchObject({ entries: 1, removed: 0, openPackets: 1 })
    expect(k.sweep()).toMatchObject({ entries: 1, removed: 0 })
    expect(k.ledger().PACKETS_CLOSING).toBe(0)
  })

  it('counts what a closing flow could not tell when the ring is full', () => {
    using k = new KernelPrograms({ programs, maxEntries: { events: 4096 } })
    for (let i = 0; i < 40; i++) {
      k.run('pod_egress', datagram(10_000 + i))
      k.run('pod_egress', datagram(10_000 + i))
    }
    expect(sweepAll(k)).toMatchObject({ entries: 0, removed: 40, reported: 0 })
    const l = k.ledger()
    expect([l.PACKETS_REPORTED, l.PACKETS_UNREPORTED]).toEqual([30, 50])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('keeps a flow that the full ring had no room for until there is, when asked to', () => {
    using k = new KernelPrograms({ programs, maxEntries: { events: 4096 } })
    for (let i = 0; i < 40; i++) {
      k.run('pod_egress', datagram(10_000 + i))
      k.run('pod_egress', datagram(10_000 + i))
    }
    const times = { otherIdleNs: 0n, keepUnreported: true }
    k.sweep(times)
    const before = k.ledger()
    expect(k.sweep(times)).toMatchObject({ entries: 40, removed: 0, openPackets: 50 })
    // One attempt was enough to see that the ring is full.
    expect(k.ledger().EVENTS_RING_FULL - before.EVENTS_RING_FULL).toBe(1)
    let told = k.records().reduce((n, r) => n + r.packets, 0)
    expect(k.sweep(times)).toMatchObject({ entries: 10, removed: 30 })
    told += k.records().reduce((n, r) => n + r.packets, 0)
    expect(k.sweep(times)).toMatchObject({ entries: 0, removed: 10, openPackets: 0 })
    told += k.records().reduce((n, r) => n + r.packets, 0)
    const l = k.ledger()
    expect([told, l.PACKETS_UNREPORTED]).toEqual([80, 0])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('makes no record that no consumer wants, and counts it', () => {
    using k = new KernelPrograms({ programs, constants: { default_consumers: 0 } })
    for (let i = 0; i < 5; i++) k.run('pod_egress', datagram(10_000 + i))
    expect(k.records()).toEqual([])
    const l = k.ledger()
    expect([l.EVENTS_WANTED, l.EVENTS_FILTERED, l.PACKETS_FLOW]).toEqual([5, 5, 5])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('captures DNS over UDP and TCP, both directions', () => {
    using k = new KernelPrograms({ programs })
    k.captureL7(53, L7Kind.DNS)
    const tcpQuery = Buffer.concat([Buffer.from([0, dnsQuery.length]), dnsQuery])
    k.run('pod_egress', packet(eth, ipv4(), udp({ dstPort: 53 }), dnsQuery))
    k.run(
      'pod_ingress',
      packet(eth, ipv4({ src: '10.1.0.2', dst: '10.1.0.1' }), udp({ srcPort: 53, dstPort: 40000 }), dnsQuery),
    )
    k.run('pod_egress', packet(eth, ipv4(), tcp({ dstPort: 53, flags: TcpFlag.ACK }), tcpQuery))
    k.run('pod_egress', packet(eth, ipv4(), tcp({ dstPort: 53, flags: TcpFlag.ACK }))) // no payload
    k.run('pod_egress', packet(eth, ipv4(), udp({ dstPort: 5353 }), dnsQuery)) // another port
    const l7 = k.records().filter((r) => r.type === EventType.DNS)
    expect(l7.map((r) => [r.protocol, r.dstPort, r.size, r.packets, r.payload.toString('hex')])).toEqual([
      [17, 53, 128 + dnsQuery.length, 0, dnsQuery.toString('hex')],
      [17, 40000, 128 + dnsQuery.length, 0, dnsQuery.toString('hex')],
      [6, 53, 128 + tcpQuery.length, 0, tcpQuery.toString('hex')],
    ])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('leaves the padding of a short frame out of an L7 payload', () => {
    using k = new KernelPrograms({ programs })
    k.captureL7(53, L7Kind.DNS)
    const header = dnsQuery.subarray(0, 12)
    const frame = packet(eth, ipv4({ totalLength: 40 }), udp({ dstPort: 53, length: 20 }), header, Buffer.alloc(6))
    k.run('pod_egress', frame)
    expect(k.records().at(-1)?.payload.equals(header)).toBe(true)
  })

  it('captures heads of HTTP requests and responses and nothing else', () => {
    using k = new KernelPrograms({ programs, constants: { l7_payload: 64 } })
    k.captureL7(80, L7Kind.HTTP)
    let seq = 100
    const send = (text: string | Buffer) => {
      const body = Buffer.from(text)
      k.run('pod_egress', packet(eth, ipv4(), tcp({ flags: TcpFlag.ACK, seq }), body))
      seq += body.length
    }
    const answer = (text: string) =>
      k.run(
        'pod_ingress',
        packet(
          eth,
          ipv4({ src: '10.1.0.2', dst: '10.1.0.1' }),
          tcp({ srcPort: 80, dstPort: 40000, flags: TcpFlag.ACK }),
          Buffer.from(text),
        ),
      )
    const methods = ['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'CONNECT', 'TRACE']
    for (const method of methods) send(`${method} /x HTTP/1.1\r\nHost: a\r\n\r\n`)
    send('{"this":"is a body of a request"}')
    send(Buffer.from('16030100c8010000c40303aabbccddeeff0011', 'hex')) // TLS
    answer('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    send(`GET /${'long'.repeat(50)} HTTP/1.1\r\n\r\n`)
    const again = `GET /again HTTP/1.1\r\n\r\n`
    send(again)
    seq -= again.length
    send(again) // the same segment once more
    const heads = k.records().filter((r) => r.type === EventType.HTTP)
    expect(heads.map((r) => r.payload.toString().split(' ')[0])).toEqual([...methods, 'HTTP/1.1', 'GET', 'GET'])
    expect(heads.at(-2)?.payload.toString()).toBe(`GET /${'long'.repeat(50)}`.slice(0, 64))
    const l = k.ledger()
    expect(l.L7_TRUNCATED).toBe(1)
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('counts L7 payloads above the rate and above the ring', () => {
    using k = new KernelPrograms({ programs, constants: { l7_rate_per_cpu: 100 }, maxEntries: { events: 8192 } })
    k.captureL7(53, L7Kind.DNS)
    for (let i = 0; i < 60; i++) k.run('pod_egress', packet(eth, ipv4(), udp({ dstPort: 53 }), dnsQuery))
    const l = k.ledger()
    // Ten a tenth of a second and CPU; the run may see a second tenth, or move to the other CPU.
    expect(l.EVENTS_L7_LIMITED).toBeGreaterThan(20)
    expect(l.EVENTS_L7_LIMITED).toBeLessThanOrEqual(50)
    expect(k.records().filter((r) => r.type === EventType.DNS)).toHaveLength(60 - l.EVENTS_L7_LIMITED)
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })
})
