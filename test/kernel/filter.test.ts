import { expect, it } from 'vitest'
import { ConsumerFlag, EventKind, EventType, L7Kind } from '../../model/layouts.gen.ts'
import type { TableRule } from '../helpers/filter-tables.ts'
import {
  egress,
  FilteredDevice,
  FLAGS,
  from4,
  from6,
  ingress,
  OTHER,
  OWN,
  PEER,
  POD,
  POD6,
  plain,
  type Seen,
  sharedDevice,
  to4,
  web,
  webReply,
} from '../helpers/filtered-device.ts'
import { gapsNow, NO_GAPS } from '../helpers/kernel-programs.ts'
import { ethernet, icmp, icmpv6, ipv4, ipv6, packet, sctp, TcpFlag, tcp, udp } from '../helpers/packets.ts'
import { describeKernel } from '../helpers/privileged.ts'

/** One rule, packets that it accepts and packets that it does not. */
const CASES: readonly [name: string, rule: Omit<TableRule, 'consumer'>, yes: readonly Seen[], no: readonly Seen[]][] = [
  ['everything', {}, [plain, egress(from6, web), ingress(to4, icmp({ type: 8 }))], []],
  ['a protocol', { protocols: [6] }, [plain], [egress(from4, udp()), egress(from4, icmp({ type: 8 }))]],
  ['another protocol', { protocols: [47] }, [egress(ipv4({ src: POD, dst: PEER, protocol: 47 }))], [plain]],
  [
    'IPv4',
    { ipVersions: [4] },
    [plain, ingress(to4, icmp({ type: 8 }))],
    [egress(from6, web), egress(from6, icmpv6({ type: 128 }))],
  ],
  ['IPv6', { ipVersions: [6] }, [egress(from6, web), egress(from6, icmpv6({ type: 128 }))], [plain]],
  [
    'a destination port',
    { dstPorts: [80, 443] },
    [plain],
    [egress(from4, tcp({ dstPort: 81 })), ingress(to4, webReply)],
  ],
  ['a source port', { srcPorts: [80] }, [ingress(to4, webReply)], [plain, egress(from4, udp({ srcPort: 81 }))]],
  [
    'ports of UDP and SCTP',
    { dstPorts: [53] },
    [egress(from4, udp({ dstPort: 53 })), egress(from4, sctp({ dstPort: 53, chunk: 0 }))],
    [egress(from4, icmp({ type: 8, id: 53 })), egress(ipv4({ src: POD, dst: PEER, protocol: 50 }))],
  ],
  [
    'packets without ports',
    { protocols: [1, 58], dstPorts: [0] },
    [egress(from4, icmp({ type: 8 })), egress(from6, icmpv6({ type: 128 }))],
    [plain],
  ],
  ['egress', { directions: [2] }, [egress(from4, udp())], [ingress(to4, udp({ srcPort: 9001, dstPort: 9002 }))]],
  ['ingress', { directions: [1] }, [ingress(to4, udp({ srcPort: 9003, dstPort: 9004 }))], [egress(from4, udp())]],
  ['the sender', { from: [OWN] }, [plain], [ingress(to4, webReply)]],
  ['the receiver', { to: [OWN] }, [ingress(to4, webReply)], [plain]],
  [
    'both ends',
    { from: [OWN], to: [OTHER] },
    [plain, egress(from6, web)],
    [egress(ipv4({ src: POD, dst: '9.9.9.9' }), web)],
  ],
  [
    'a source range within another',
    { srcCidrs: ['10.1.0.0/24', '10.0.0.0/8'] },
    [plain, egress(ipv4({ src: '10.2.0.1', dst: PEER }), web)],
    [egress(ipv4({ src: '11.1.0.1', dst: PEER }), web), egress(from6, web)],
  ],
  [
    'destination addresses',
    { dstCidrs: ['10.1.0.2/32', 'fd00::2/128'] },
    [plain, egress(from6, web)],
    [egress(ipv4({ src: POD, dst: '10.1.0.3' }), web), ingress(to4, webReply)],
  ],
  ['all IPv4', { dstCidrs: ['0.0.0.0/0'] }, [plain], [egress(from6, web)]],
  ['all IPv6', { dstCidrs: ['::/0'] }, [egress(from6, web)], [plain]],
  [
    'an odd length',
    { dstCidrs: ['fd00::/65', '10.1.0.0/31'] },
    [
      egress(from6, web),
      egress(ipv6({ src: POD6, dst: 'fd00:0:0:0:7fff::2' }), web),
      egress(ipv4({ src: POD, dst: '10.1.0.1' }), web),
    ],
    [plain, egress(ipv6({ src: POD6, dst: 'fd00:0:0:0:8000::2' }), web)],
  ],
  [
    'flags of TCP',
    { kinds: [EventKind.KIND_TCP_FLAG] },
    [egress(from4, tcp({ flags: TcpFlag.SYN })), egress(from4, tcp({ flags: TcpFlag.FIN | TcpFlag.ACK }))],
    [plain, egress(from4, udp()), egress(from4, sctp({ chunk: 1 }))],
  ],
]

describeKernel('filters in the kernel', () => {
  const filtered = sharedDevice()

  it.each(CASES)('take and leave out by %s', async (_, rule, yes, no) => {
    const k = filtered()
    for (const exclude of [false, true]) {
      await k.apply({ rules: [{ consumer: 3, ...rule, exclude }], consumers: new Map([[3, 0xff]]) })
      const { generation } = k.filters.generation()
      const bits = ((1 << 3) | ((generation & 1) << ConsumerFlag.SET)) >>> 0
      const [taken, left] = exclude ? [no, yes] : [yes, no]
      // Twice: by the tables, and by what the flow remembers.
      for (const one of [...taken, ...taken]) expect(k.see(one)).toMatchObject({ consumers: bits })
      for (const one of [...left, ...left]) expect(k.see(one)).toBe('filtered')
    }
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('tell consumers apart, and count what each match has judged by kind', async () => {
    const k = filtered()
    await k.apply({
      rules: [
        { consumer: 0, protocols: [6] },
        { consumer: 0, kinds: [EventKind.KIND_TCP_FLAG], exclude: true },
        { consumer: 7, dstPorts: [80] },
        { consumer: 29, protocols: [17] },
      ],
      consumers: new Map([
        [0, 0xff],
        [7, 1 << EventKind.KIND_TCP_FLAG],
        [29, 0xff],
      ]),
    })
    const consumersOf = (seen: Seen) => {
      const record = k.see(seen)
      return record === 'filtered' ? record : (record.consumers & ~FLAGS) >>> 0
    }
    const syn = egress(from4, tcp({ srcPort: 40000, dstPort: 80, flags: TcpFlag.SYN }))
    expect(
      [plain, syn, ingress(to4, webReply), egress(from4, udp()), egress(from4, icmp({ type: 8 }))].map(consumersOf),
    ).toEqual([1 << 0, 1 << 7, 1 << 0, 1 << 29, 'filtered'])
    const matches = await k.filters.readMatches(k.set)
    const events = Array.from({ length: matches.count }, (_, i) => [...matches.events.subarray(8 * i, 8 * i + 2)])
    // Undecided; TCP to port 80; TCP to another; UDP; neither.
    expect(events).toEqual([
      [0, 0],
      [1, 1],
      [1, 0],
      [1, 0],
      [1, 0],
    ])
    expect([...matches.consumers.subarray(8, 10)]).toEqual(
      [1 << 0, 1 << 7].map((bit) => (bit | (k.set << ConsumerFlag.SET)) >>> 0),
    )
  })

  it('leave records as they were while nothing is in force', async () => {
    using k = new FilteredDevice({ default_consumers: 5 })
    await k.reset()
    expect(k.see(plain)).toMatchObject({ consumers: 5, srcIdentity: 0, dstIdentity: 0 })
    await k.apply({ rules: [{ consumer: 0, protocols: [17] }] })
    expect(k.see(plain)).toBe('filtered')
    await k.filters.flip(k.filters.generation().generation + 1, false)
    expect(k.see(plain)).toMatchObject({ consumers: 5 })
  })
})

describeKernel('filters of L7 messages', () => {
  const query = Buffer.from('12340100000100000000000003777777076578616d706c6503636f6d0000010001', 'hex')
  const dns = (srcPort: number, dst: string) =>
    packet(ethernet(), ipv4({ src: POD, dst }), udp({ srcPort, dstPort: 53 }), query).subarray()

  it('judge them as a kind of their own, and spend no token of the rate on what nobody wants', async () => {
    // One token a tenth of a second.
    using k = new FilteredDevice({ per_packet: 0, l7_rate_per_cpu: 10 }, ['pod_egress', 'flow_sweep'])
    await k.reset()
    k.captureL7(53, L7Kind.DNS)
    await k.apply({ rules: [{ consumer: 1, kinds: [EventKind.KIND_DNS], to: [OTHER] }] })
    for (let i = 0; i < 20; i++) k.run('pod_egress', dns(2000 + i, '10.9.9.9'))
    k.run('pod_egress', dns(3000, PEER))
    const records = k.records()
    expect(records.map((r) => [r.type, r.dst, r.consumers & ~FLAGS])).toEqual([[EventType.DNS, PEER, 1 << 1]])
    const l = k.ledger()
    expect([l.EVENTS_WANTED, l.EVENTS_FILTERED, l.EVENTS_L7_LIMITED]).toEqual([42, 41, 0])
    const { events } = await k.filters.readMatches(k.set)
    const sum = (kind: number) => events.filter((_, i) => i % 8 === kind).reduce((a, b) => a + b, 0)
    expect([sum(EventKind.KIND_FLOW), sum(EventKind.KIND_DNS)]).toEqual([21, 21])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })
})
