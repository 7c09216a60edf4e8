import { expect, it } from 'vitest'
import { EventCause, EventType, FlowState, ObservationPoint, TraceReason, Verdict } from '../../model/layouts.gen.ts'
import { gapsNow, KernelPrograms, ledgerGaps, NO_GAPS } from '../helpers/kernel-programs.ts'
import type { KernelRecord } from '../helpers/kernel-records.ts'
import {
  ethernet,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  packet,
  sctp,
  TcpFlag,
  type TcpOptions,
  tcp,
  udp,
} from '../helpers/packets.ts'
import { describeKernel } from '../helpers/privileged.ts'

const { SYN, ACK, FIN, RST, PSH } = TcpFlag
const podPrograms = ['pod_egress', 'pod_ingress', 'flow_sweep']
const POD = '10.1.0.1'
const PEER = '10.1.0.2'
const out = ethernet({ src: '02:00:00:00:00:0a', dst: '02:00:00:00:00:0b' })
const back = ethernet({ src: '02:00:00:00:00:0b', dst: '02:00:00:00:00:0a' })
const CLIENT = 40000
const SERVER = 80

/** From the pod's client port to the peer's server port, and the answer. */
const there = (o: TcpOptions) =>
  packet(out, ipv4({ src: POD, dst: PEER }), tcp({ srcPort: CLIENT, dstPort: SERVER, ...o }))
const reply = (o: TcpOptions) =>
  packet(back, ipv4({ src: PEER, dst: POD }), tcp({ srcPort: SERVER, dstPort: CLIENT, ...o }))

/** `NEW 40000>80 flags 2, 1/0 packets`: what the cases compare. */
function brief(r: KernelRecord): string {
  const cause = Object.entries(EventCause).find(([, n]) => n === r.cause)?.[0]
  return `${cause} ${r.srcPort}>${r.dstPort} ${r.l4Info} ${r.packets}/${r.replyPackets}`
}

function stateNames(state: number): string[] {
  return Object.entries(FlowState)
    .filter(([, bit]) => state & bit)
    .map(([name]) => name)
}

describeKernel('records of bpf/tc.bpf.c', () => {
  it('tell a TCP connection from SYN to FIN, each packet in one record', () => {
    using k = new KernelPrograms({ programs: podPrograms })
    k.run('pod_egress', there({ flags: SYN }))
    k.run('pod_ingress', reply({ flags: SYN | ACK }))
    k.run('pod_egress', there({ flags: ACK }))
    for (let i = 0; i < 3; i++) k.run('pod_egress', there({ flags: ACK | PSH, seq: 2 + i }))
    for (let i = 0; i < 2; i++) k.run('pod_ingress', reply({ flags: ACK }))
    k.run('pod_egress', there({ flags: FIN | ACK }))
    k.run('pod_ingress', reply({ flags: FIN | ACK }))
    k.run('pod_egress', there({ flags: ACK }))
    expect(k.records().map(brief)).toEqual([
      'NEW 40000>80 2 1/0',
      'FIRST_REPLY 80>40000 18 1/0',
      'TCP_FLAG 40000>80 17 5/2',
      'TCP_FLAG 80>40000 17 1/0',
    ])
    const open = k.sweep()
    expect([open.entries, open.openPackets, open.openBytes]).toEqual([1, 1, 54])
    expect(ledgerGaps(k.ledger(), open)).toEqual(NO_GAPS)
  })

  it('have every field of the packet and its flow', () => {
    using k = new KernelPrograms({ programs: podPrograms, constants: { default_consumers: 5 } })
    k.run('pod_egress', there({ flags: SYN | TcpFlag.ECE | TcpFlag.CWR | TcpFlag.NS }))
    const [record] = k.records()
    expect({ ...record, timeNs: 0n, payload: '' }).toEqual({
      timeNs: 0n,
      size: 128,
      type: EventType.FLOW,
      vlan: 0,
      src: POD,
      dst: PEER,
      srcPort: CLIENT,
      dstPort: SERVER,
      protocol: 6,
      ipVersion: 4,
      l4Info: SYN | TcpFlag.ECE | TcpFlag.CWR | TcpFlag.NS,
      ifindex: 1,
      verdict: Verdict.FORWARDED,
      point: ObservationPoint.TO_STACK,
      cause: EventCause.NEW,
      state: FlowState.REPLY_KNOWN | FlowState.EGRESS | FlowState.FROM_POD,
      packets: 1,
      replyPackets: 0,
      bytes: 54,
      replyBytes: 0,
      dropLocation: 0,
      dropReason: 0,
      traceReason: TraceReason.NEW,
      rttUs: 0,
      srttUs: 0,
      retransmits: 0,
      drops: 0,
      consumers: 5,
      srcIdentity: 0,
      dstIdentity: 0,
      srcMac: '02000000000a',
      dstMac: '02000000000b',
      payload: '',
    })
  })

  it('name direction, reply and place at each hook', () => {
    const cases = [
      ['pod_egress', there({}), ['REPLY_KNOWN', 'EGRESS', 'FROM_POD'], ObservationPoint.TO_STACK],
      ['pod_ingress', reply({ flags: SYN | ACK }), ['REPLY', 'REPLY_KNOWN', 'EGRESS'], ObservationPoint.TO_ENDPOINT],
      [
        'pod_ingress',
        packet(back, ipv4({ src: PEER, dst: POD }), tcp({ srcPort: 50000, dstPort: 8080 })),
        ['REPLY_KNOWN', 'INGRESS'],
        ObservationPoint.TO_ENDPOINT,
      ],
      [
        'pod_egress',
        packet(out, ipv4({ src: POD, dst: PEER }), tcp({ srcPort: 8080, dstPort: 50000, flags: SYN | ACK })),
        ['REPLY', 'REPLY_KNOWN', 'INGRESS', 'FROM_POD'],
        ObservationPoint.TO_STACK,
      ],
      [
        'uplink_ingress',
        packet(back, ipv4({ src: '192.0.2.1', dst: POD }), tcp({})),
        ['REPLY_KNOWN'],
        ObservationPoint.FROM_NETWORK,
      ],
      [
        'uplink_egress',
        packet(out, ipv4({ src: POD, dst: '192.0.2.1' }), tcp({ srcPort: 80, dstPort: 40000, flags: SYN | ACK })),
        ['REPLY', 'REPLY_KNOWN', 'FROM_POD'],
        ObservationPoint.TO_NETWORK,
      ],
    ] as const
    using k = new KernelPrograms({ programs: [...podPrograms, 'uplink_ingress', 'uplink_egress'] })
    for (const [program, bytes, state, point] of cases) {
      k.run(program, bytes)
      const [record] = k.records()
      expect([program, stateNames(record!.state), record!.point]).toEqual([program, state, point])
    }
  })

  it('guess the opener of a flow met mid-stream and say so', () => {
    const mid = (srcPort: number, dstPort: number) =>
      packet(out, ipv4({ src: '10.9.0.1', dst: '10.9.0.2' }), tcp({ srcPort, dstPort, flags: ACK }))
    const datagram = (srcPort: number, dstPort: number) =>
      packet(out, ipv4({ src: '10.9.0.1', dst: '10.9.0.2' }), udp({ srcPort, dstPort }))
    const cases: [string, Buffer, boolean, boolean][] = [
      ['tcp client to server', mid(45000, 443), false, true],
      ['tcp server to client', mid(443, 45001), true, true],
      ['tcp server on a high port', mid(9090, 45002), true, true],
      ['tcp to a server on a high port', mid(45003, 9090), false, true],
      ['udp to a well-known port', datagram(45004, 53), false, false],
      ['udp from a well-known port', datagram(53, 45005), true, true],
      ['udp between high ports: the first one opens', datagram(5000, 45006), false, false],
      ['udp between well-known ports: the first one opens', datagram(123, 124), false, false],
    ]
    using k = new KernelPrograms({ programs: podPrograms })
    for (const [name, bytes, isReply, guessed] of cases) {
      k.run('pod_egress', bytes)
      const state = k.records()[0]!.state
      expect([name, (state & FlowState.REPLY) !== 0, (state & FlowState.GUESSED) !== 0]).toEqual([
        name,
        isReply,
        guessed,
      ])
    }
  })

  it('tell RST, ports used again after FIN, and nothing twice', () => {
    using k = new KernelPrograms({ programs: podPrograms })
    k.run('pod_egress', there({ flags: SYN }))
    k.run('pod_egress', there({ flags: SYN })) // sent again: no news
    k.run('pod_ingress', reply({ flags: RST | ACK }))
    expect(k.records().map(brief)).toEqual(['NEW 40000>80 2 1/0', 'FIRST_REPLY 80>40000 20 1/1'])
    // The same ports after the RST: a new connection, opened again by the pod.
    k.run('pod_egress', there({ flags: SYN }))
    k.run('pod_ingress', reply({ flags: SYN | ACK }))
    k.run('pod_ingress', reply({ flags: FIN | ACK }))
    k.run('pod_egress', there({ flags: FIN | ACK }))
    expect(k.records().map(brief)).toEqual([
      'NEW 40000>80 2 1/0',
      'FIRST_REPLY 80>40000 18 1/0',
      'TCP_FLAG 80>40000 17 1/0',
      'TCP_FLAG 40000>80 17 1/0',
    ])
    // And after both FINs, now opened by the other side on its old port.
    k.run('pod_ingress', reply({ flags: SYN }))
    const [again] = k.records()
    expect([brief(again!), stateNames(again!.state)]).toEqual(['NEW 80>40000 2 1/0', ['REPLY_KNOWN', 'INGRESS']])
    expect(k.sweep().entries).toBe(1)
  })

  it('time the handshake from SYN to the ACK of its answer', async () => {
    using k = new KernelPrograms({ programs: podPrograms })
    k.run('pod_egress', there({ flags: SYN }))
    k.run('pod_ingress', reply({ flags: SYN | ACK }))
    await new Promise((resolve) => setTimeout(resolve, 30))
    k.run('pod_egress', there({ flags: ACK }))
    k.run('pod_egress', there({ flags: FIN | ACK }))
    const rtts = k.records().map((r) => r.rttUs)
    expect(rtts.slice(0, 2)).toEqual([0, 0])
    expect(rtts[2]).toBeGreaterThan(29_000)
    expect(rtts[2]).toBeLessThan(2_000_000)
  })

  it('keep ICMP echoes apart by identifier and give no ports', () => {
    const ping = (id: number) => packet(out, ipv4({ src: POD, dst: PEER }), icmp({ type: 8, id }))
    const pong = (id: number) => packet(back, ipv4({ src: PEER, dst: POD }), icmp({ type: 0, id }))
    const ping6 = packet(out, ipv6(), icmpv6({ type: 128, id: 3 }))
    const pong6 = packet(back, ipv6({ src: 'fd00:1::2', dst: 'fd00:1::1' }), icmpv6({ type: 129, id: 3 }))
    const unreachable = packet(
      back,
      ipv4({ src: '10.1.0.254', dst: POD }),
      icmp({ type: 3, code: 1 }),
      ping(9).subarray(14),
    )
    using k = new KernelPrograms({ programs: podPrograms })
    k.run('pod_egress', ping(1))
    k.run('pod_ingress', pong(1))
    k.run('pod_egress', ping(1))
    k.run('pod_egress', ping(2))
    k.run('pod_egress', ping6)
    k.run('pod_ingress', pong6)
    k.run('pod_ingress', unreachable)
    const records = k.records()
    expect(records.map((r) => [brief(r), r.ipVersion, (r.state & FlowState.REPLY) !== 0, r.traceReason])).toEqual([
      ['NEW 0>0 2048 1/0', 4, false, TraceReason.NEW],
      ['FIRST_REPLY 0>0 0 1/0', 4, true, TraceReason.REPLY],
      ['NEW 0>0 2048 1/0', 4, false, TraceReason.NEW],
      [`NEW 0>0 ${128 << 8} 1/0`, 6, false, TraceReason.NEW],
      [`FIRST_REPLY 0>0 ${129 << 8} 1/0`, 6, true, TraceReason.REPLY],
      [`NEW 0>0 ${(3 << 8) | 1} 1/0`, 4, false, TraceReason.RELATED],
    ])
    expect(k.sweep().entries).toBe(4)
  })

  it('tell each new control chunk of SCTP', () => {
    const chunk = (n: number) => packet(out, ipv4({ src: POD, dst: PEER }), sctp({ chunk: n }))
    const answer = (n: number) =>
      packet(back, ipv4({ src: PEER, dst: POD }), sctp({ srcPort: 3868, dstPort: 40000, chunk: n }))
    using k = new KernelPrograms({ programs: podPrograms })
    k.run('pod_egress', chunk(1)) // INIT
    k.run('pod_ingress', answer(2)) // INIT ACK
    k.run('pod_egress', chunk(10)) // COOKIE ECHO
    k.run('pod_ingress', answer(11))
    k.run('pod_egress', chunk(0)) // DATA
    k.run('pod_egress', chunk(0))
    k.run('pod_egress', chunk(7)) // SHUTDOWN
    k.run('pod_egress', chunk(7))
    k.run('pod_ingress', answer(8)) // SHUTDOWN ACK
    k.run('pod_egress', chunk(14)) // SHUTDOWN COMPLETE
    expect(k.records().map(brief)).toEqual([
      'NEW 40000>3868 1 1/0',
      'FIRST_REPLY 3868>40000 2 1/0',
      'TCP_FLAG 40000>3868 7 4/1',
      'TCP_FLAG 3868>40000 8 1/1',
      'TCP_FLAG 40000>3868 14 1/0',
    ])
  })

  it('come for every packet when aggregation is none', () => {
    using k = new KernelPrograms({ programs: podPrograms, constants: { per_packet: 1 } })
    k.run('pod_egress', there({ flags: SYN }))
    for (let i = 0; i < 5; i++) k.run('pod_egress', there({ flags: ACK }))
    expect(k.records().map(brief)).toEqual(['NEW 40000>80 2 1/0', ...Array(5).fill('PACKET 40000>80 16 1/0')])
    expect(k.sweep().openPackets).toBe(0)
  })

  it('come once an interval while a flow lives', async () => {
    using k = new KernelPrograms({ programs: podPrograms, constants: { aggregation_interval_ns: 50_000_000 } })
    const datagram = packet(out, ipv4({ src: POD, dst: PEER }), udp({ dstPort: 9000 }))
    for (let i = 0; i < 4; i++) k.run('pod_egress', datagram)
    expect(k.records().map(brief)).toEqual(['NEW 40000>9000 0 1/0'])
    await new Promise((resolve) => setTimeout(resolve, 70))
    for (let i = 0; i < 4; i++) k.run('pod_egress', datagram)
    expect(k.records().map(brief)).toEqual(['INTERVAL 40000>9000 0 4/0'])
    // Silence: the sweep tells what the packets did not.
    expect(k.sweep().reported).toBe(0)
    await new Promise((resolve) => setTimeout(resolve, 70))
    expect(k.sweep()).toMatchObject({ reported: 1, openPackets: 0, entries: 1 })
    expect(k.records().map(brief)).toEqual(['INTERVAL 40000>9000 0 3/0'])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('keep a five-tuple that travels both ways in the same order apart by where it goes', () => {
    // Listener reports of IPv6 come from :: on either side of the wire.
    const report = packet(out, ipv6({ src: '::', dst: 'ff02::16' }), icmpv6({ type: 143 }))
    using k = new KernelPrograms({ programs: podPrograms, constants: { per_packet: 1 } })
    k.run('pod_egress', report)
    k.run('pod_ingress', report)
    k.run('pod_egress', report)
    const places = k.records().map((r) => [(r.state & FlowState.FROM_POD) !== 0, r.point, r.packets, r.replyPackets])
    expect(places).toEqual([
      [true, ObservationPoint.TO_STACK, 1, 0],
      [false, ObservationPoint.TO_ENDPOINT, 1, 0],
      [true, ObservationPoint.TO_STACK, 1, 0],
    ])
    expect(k.sweep().entries).toBe(2)
  })

  it('count packets on the endpoint of their interface, malformed ones too', () => {
    using k = new KernelPrograms({ programs: podPrograms })
    k.watch(1, 7, 1)
    k.run('pod_egress', there({ flags: SYN }))
    k.run('pod_egress', packet(out, ipv4({ version: 5 }), tcp()))
    k.run('pod_ingress', reply({ flags: SYN | ACK }))
    k.run('pod_ingress', packet(ethernet({ etherType: 0x0806 }), Buffer.alloc(46)))
    expect(k.endpointCounts(7)).toEqual({ egressPackets: 2, egressBytes: 108, ingressPackets: 2, ingressBytes: 114 })
    expect(k.endpointCounts(0)).toEqual({ egressPackets: 0, egressBytes: 0, ingressPackets: 0, ingressBytes: 0 })
  })
})
