import { expect, it } from 'vitest'
import { CLASSES, gapsNow, KernelPrograms, type LedgerName, NO_GAPS } from '../helpers/kernel-programs.ts'
import {
  Extension,
  ethernet,
  extension,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  ipv6Fragment,
  packet,
  sctp,
  TcpFlag,
  tcp,
  udp,
  vlan,
} from '../helpers/packets.ts'
import { describeKernel } from '../helpers/privileged.ts'

const eth = ethernet()
const programs = ['pod_egress', 'pod_ingress', 'uplink_ingress', 'flow_sweep']

/** Runs one packet and says which class counted it; everything a packet must never do is checked on the way. */
function classify(k: KernelPrograms, bytes: Buffer, program = 'pod_egress'): LedgerName[] {
  const before = k.ledger()
  const { verdict, packet: after } = k.run(program, bytes)
  expect(verdict).toBe(-1)
  expect(after.equals(bytes)).toBe(true)
  const l = k.ledger()
  expect(l.PACKETS_SEEN - before.PACKETS_SEEN).toBe(1)
  expect(l.BYTES_SEEN - before.BYTES_SEEN).toBe(bytes.length)
  k.records()
  return CLASSES.filter((name) => {
    const more = l[name] - before[name]
    expect([0, 1]).toContain(more)
    return more === 1
  })
}

const payload = Buffer.alloc(24, 0x61)
const good: Record<string, Buffer> = {
  'tcp over ipv4': packet(eth, ipv4(), tcp(), payload),
  'tcp with options': packet(eth, ipv4(), tcp({ dataOffset: 15 }), payload),
  'ipv4 options': packet(eth, ipv4({ ihl: 15 }), udp(), payload),
  'udp over ipv4': packet(eth, ipv4(), udp(), payload),
  'icmp echo': packet(eth, ipv4(), icmp({ type: 8, id: 7 }), payload),
  'icmp unreachable': packet(eth, ipv4(), icmp({ type: 3, code: 1 }), payload),
  'sctp init': packet(eth, ipv4(), sctp({ chunk: 1 })),
  'another protocol (GRE)': packet(eth, ipv4({ protocol: 47 }), payload),
  'ipv4 without payload': packet(eth, ipv4({ protocol: 59 })),
  'tcp over ipv6': packet(eth, ipv6(), tcp(), payload),
  'udp over ipv6': packet(eth, ipv6(), udp(), payload),
  'icmpv6 echo': packet(eth, ipv6(), icmpv6({ type: 128, id: 7 }), payload),
  'icmpv6 neighbour solicitation': packet(eth, ipv6(), icmpv6({ type: 135 }), payload),
  'sctp over ipv6': packet(eth, ipv6(), sctp({ chunk: 1 })),
  'ipv6 without next header': packet(eth, ipv6({ nextHeader: 59 })),
  'padded to the least length of Ethernet': packet(eth, ipv4(), udp(), Buffer.alloc(2), Buffer.alloc(0)),
}

/** Puts a VLAN tag in: test runs refuse untagged frames whose IP header is cut, and take them behind a tag. */
function tag(bytes: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, 12), Buffer.from([0x81, 0, 0, 9]), bytes.subarray(12)])
}

describeKernel('bpf/lib/parse.h', () => {
  it('counts every well-formed packet on a flow', () => {
    using k = new KernelPrograms({ programs })
    for (const [name, bytes] of Object.entries(good))
      expect([name, classify(k, bytes)]).toEqual([name, ['PACKETS_FLOW']])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('counts a packet that is no IP or malformed under its class', () => {
    const jumbo = Buffer.alloc(64, 0x61)
    const cases: [string, Buffer, LedgerName][] = [
      ['ARP', packet(ethernet({ etherType: 0x0806 }), jumbo), 'PACKETS_NON_IP'],
      ['LLDP', packet(ethernet({ etherType: 0x88cc }), jumbo), 'PACKETS_NON_IP'],
      ['802.3 length instead of a type', packet(ethernet({ etherType: 46 }), jumbo), 'PACKETS_NON_IP'],
      ['ARP in a VLAN', packet(eth, vlan(5, { etherType: 0x0806 }), jumbo), 'PACKETS_NON_IP'],
      ['three tags', packet(eth, vlan(1), vlan(2), vlan(3), ipv4(), udp()), 'PACKETS_MALFORMED_L2'],
      ['ipv4 version 5', packet(eth, ipv4({ version: 5 }), udp(), jumbo), 'PACKETS_MALFORMED_L3'],
      ['ipv4 version 6 in an ipv4 frame', packet(eth, ipv4({ version: 6 }), udp(), jumbo), 'PACKETS_MALFORMED_L3'],
      ['ihl 4', packet(eth, ipv4({ ihl: 4 }), udp(), jumbo), 'PACKETS_MALFORMED_L3'],
      ['ihl 0', packet(eth, ipv4({ ihl: 0 }), udp(), jumbo), 'PACKETS_MALFORMED_L3'],
      ['total length below the header', packet(eth, ipv4({ totalLength: 19 }), udp(), jumbo), 'PACKETS_MALFORMED_L3'],
      ['total length below ihl', packet(eth, ipv4({ ihl: 15, totalLength: 59 }), jumbo), 'PACKETS_MALFORMED_L3'],
      ['total length above the frame', packet(eth, ipv4({ totalLength: 2000 }), udp()), 'PACKETS_MALFORMED_L3'],
      ['ipv6 version 4', packet(eth, ipv6({ version: 4 }), udp(), jumbo), 'PACKETS_MALFORMED_L3'],
      ['ipv6 payload above the frame', packet(eth, ipv6({ payloadLength: 999 }), udp()), 'PACKETS_MALFORMED_L3'],
      ['tcp data offset 4', packet(eth, ipv4(), tcp({ dataOffset: 4 })), 'PACKETS_MALFORMED_L4'],
      [
        'tcp data offset behind the end',
        packet(eth, ipv4({ totalLength: 40 }), tcp({ dataOffset: 6 })),
        'PACKETS_MALFORMED_L4',
      ],
      ['tcp in padding', packet(eth, ipv4({ totalLength: 30 }), tcp(), jumbo), 'PACKETS_MALFORMED_L4'],
      ['udp length 7', packet(eth, ipv4(), udp({ length: 7 }), jumbo), 'PACKETS_MALFORMED_L4'],
      ['icmp of 4 bytes', packet(eth, ipv4({ protocol: 1 }), Buffer.alloc(4)), 'PACKETS_MALFORMED_L4'],
      ['sctp without a chunk', packet(eth, ipv4({ protocol: 132 }), Buffer.alloc(12)), 'PACKETS_MALFORMED_L4'],
      ['ipv6 extension behind the end', packet(eth, ipv6({ nextHeader: 0 }), Buffer.alloc(4)), 'PACKETS_MALFORMED_EXT'],
    ]
    using k = new KernelPrograms({ programs })
    for (const [name, bytes, wanted] of cases) expect([name, classify(k, bytes)]).toEqual([name, [wanted]])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('counts every prefix of every packet in exactly one class', () => {
    using k = new KernelPrograms({ programs })
    const deep = packet(eth, vlan(1), vlan(2), ipv6(), extension(Extension.HOP, 16), ipv6Fragment({ id: 1 }), tcp())
    for (const [name, bytes] of [
      ...Object.entries(good).map(([n, b]) => [n, tag(b)] as const),
      ['deep', deep] as const,
    ]) {
      for (let length = 14; length <= bytes.length; length++) {
        const classes = classify(k, bytes.subarray(0, length))
        expect([name, length, classes.length]).toEqual([name, length, 1])
        // The length fields still say what the whole packet had: only the whole packet is good.
        const cut = length < 18 || (bytes === deep && length < 22) ? 'PACKETS_MALFORMED_L2' : 'PACKETS_MALFORMED_L3'
        if (length < bytes.length) expect([name, length, classes[0]]).toEqual([name, length, cut])
      }
      expect(gapsNow(k)).toEqual(NO_GAPS)
    }
  })

  it('names the header that is cut when the length fields are honest', () => {
    using k = new KernelPrograms({ programs })
    const upto = (whole: Buffer, bytes: number) => Buffer.from(whole.subarray(0, bytes))
    const tcpBytes = packet(tcp({ dataOffset: 8 }))
    for (let n = 0; n <= tcpBytes.length; n++) {
      const wanted = n < 32 ? 'PACKETS_MALFORMED_L4' : 'PACKETS_FLOW'
      expect([n, classify(k, packet(eth, ipv4({ protocol: 6 }), upto(tcpBytes, n)))]).toEqual([n, [wanted]])
      // With padding behind the cut the bytes are there, but they are not the packet's.
      const padded = packet(eth, ipv4({ protocol: 6, totalLength: 20 + n }), upto(tcpBytes, n), Buffer.alloc(40))
      expect(['padded', n, classify(k, padded)]).toEqual(['padded', n, [wanted]])
      if (n > 0)
        expect([n, classify(k, packet(eth, ipv6({ nextHeader: 6 }), upto(tcpBytes, n)))]).toEqual([n, [wanted]])
    }
    for (const [protocol, bytes, least] of [
      [17, packet(udp()), 8],
      [1, packet(icmp({ type: 8 })), 8],
      [58, packet(icmpv6({ type: 128 })), 8],
      [132, packet(sctp({ chunk: 1 })), 13],
    ] as const) {
      for (let n = 0; n <= bytes.length; n++) {
        const wanted = n < least ? 'PACKETS_MALFORMED_L4' : 'PACKETS_FLOW'
        expect([protocol, n, classify(k, packet(eth, ipv4({ protocol }), upto(bytes, n)))]).toEqual([
          protocol,
          n,
          [wanted],
        ])
      }
    }
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('finds the transport header behind each IPv6 extension header and behind a chain', () => {
    const { HOP, ROUTING, AUTH, DESTINATION, MOBILITY } = Extension
    const cases: [string, Buffer][] = [
      ...[HOP, ROUTING, DESTINATION, MOBILITY].flatMap((kind) =>
        [8, 24, 64].map((n): [string, Buffer] => [
          `${kind} of ${n}`,
          packet(eth, ipv6(), extension(kind, n), udp({ dstPort: 777 })),
        ]),
      ),
      ...[12, 24].map((n): [string, Buffer] => [
        `AH of ${n}`,
        packet(eth, ipv6(), extension(AUTH, n), udp({ dstPort: 777 })),
      ]),
      ['whole fragment', packet(eth, ipv6(), ipv6Fragment({ id: 9 }), udp({ dstPort: 777 }))],
      [
        'chain',
        packet(
          eth,
          ipv6(),
          extension(HOP),
          extension(DESTINATION),
          extension(ROUTING, 24),
          ipv6Fragment({ id: 9 }),
          extension(AUTH, 12),
          extension(DESTINATION),
          udp({ dstPort: 777 }),
        ),
      ],
    ]
    using k = new KernelPrograms({ programs, constants: { per_packet: 1 } })
    for (const [name, bytes] of cases) {
      k.run('pod_egress', bytes)
      const [record] = k.records()
      expect([name, record?.protocol, record?.dstPort, record?.packets]).toEqual([name, 17, 777, 1])
    }
  })

  it('counts too many, too deep or cut extension headers under PACKETS_MALFORMED_EXT', () => {
    using k = new KernelPrograms({ programs })
    const six = Array.from({ length: 6 }, () => extension(Extension.DESTINATION))
    expect(classify(k, packet(eth, ipv6(), ...six, udp()))).toEqual(['PACKETS_FLOW'])
    expect(classify(k, packet(eth, ipv6(), ...six, extension(Extension.DESTINATION), udp()))).toEqual([
      'PACKETS_MALFORMED_EXT',
    ])
    const long = [extension(Extension.HOP, 512), extension(Extension.DESTINATION, 512), extension(Extension.ROUTING, 8)]
    expect(classify(k, packet(eth, ipv6(), ...long, udp()))).toEqual(['PACKETS_MALFORMED_EXT'])
    const chain = packet(extension(Extension.HOP, 24), extension(Extension.DESTINATION, 16, 17), udp())
    for (let n = 1; n < 40; n++) {
      const wanted = n < 8 || (n >= 24 && n < 32) ? 'PACKETS_MALFORMED_EXT' : undefined
      const got = classify(k, packet(eth, ipv6({ nextHeader: 0 }), chain.subarray(0, n)))
      expect([n, got.length]).toEqual([n, 1])
      if (wanted) expect([n, got]).toEqual([n, [wanted]])
      expect([n, got[0]]).toEqual([n, expect.stringMatching(/MALFORMED_(EXT|L4)/)])
    }
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('reads the outermost VLAN id and what is behind two tags', () => {
    using k = new KernelPrograms({ programs })
    k.run('uplink_ingress', packet(eth, vlan(42), ipv4({ src: '10.2.0.1' }), udp()))
    k.run('uplink_ingress', packet(eth, vlan(100, { tpid: 0x88a8, priority: 3 }), vlan(7), ipv6(), tcp()))
    expect(k.records().map((r) => [r.vlan, r.protocol, r.bytes])).toEqual([
      [42, 17, 46],
      [100, 6, 82],
    ])
    const l = k.ledger()
    expect([l.PACKETS_VLAN, l.PACKETS_FLOW]).toEqual([2, 2])
  })

  it('adds fragments to the flow of their first one, IPv4', () => {
    using k = new KernelPrograms({ programs, constants: { per_packet: 1 } })
    const ends = { src: '10.3.0.1', dst: '10.3.0.2' }
    const big = Buffer.alloc(1480, 1)
    const more = (id: number, fragmentOffset: number, moreFragments: boolean) =>
      packet(eth, ipv4({ ...ends, id, protocol: 17, fragmentOffset, moreFragments }), big)
    k.run(
      'pod_egress',
      packet(
        eth,
        ipv4({ ...ends, id: 5, moreFragments: true }),
        udp({ srcPort: 5000, dstPort: 6000, length: 4448 }),
        Buffer.alloc(1472),
      ),
    )
    k.run('pod_egress', more(5, 1480, true))
    k.run('pod_egress', more(5, 2960, false))
    k.run('pod_egress', more(6, 1480, false)) // its first one was not met
    const records = k.records()
    expect(records.map((r) => [r.srcPort, r.dstPort, r.bytes, (r.state & 128) !== 0])).toEqual([
      [5000, 6000, 1514, true],
      [5000, 6000, 1514, true],
      [5000, 6000, 1514, true],
      [0, 0, 1514, true],
    ])
    const l = k.ledger()
    expect([l.PACKETS_FRAGMENT, l.PACKETS_FRAGMENT_UNKNOWN, l.PACKETS_FLOW]).toEqual([4, 1, 4])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('adds fragments to the flow of their first one, IPv6 and echo requests', () => {
    using k = new KernelPrograms({ programs, constants: { per_packet: 1 } })
    const ends = { src: 'fd00:3::1', dst: 'fd00:3::2' }
    k.run(
      'pod_egress',
      packet(
        eth,
        ipv6(ends),
        ipv6Fragment({ id: 77, more: true }),
        udp({ srcPort: 5000, dstPort: 6000, length: 2000 }),
        Buffer.alloc(1000),
      ),
    )
    k.run(
      'pod_egress',
      packet(eth, ipv6(ends), ipv6Fragment({ id: 77, offset: 1008, nextHeader: 17 }), Buffer.alloc(500)),
    )
    k.run(
      'pod_egress',
      packet(eth, ipv6(ends), ipv6Fragment({ id: 78, offset: 1008, nextHeader: 17 }), Buffer.alloc(500)),
    )
    k.run(
      'pod_egress',
      packet(eth, ipv4({ id: 3, moreFragments: true }), icmp({ type: 8, id: 99 }), Buffer.alloc(1000)),
    )
    k.run('pod_egress', packet(eth, ipv4({ id: 3, protocol: 1, fragmentOffset: 1008 }), Buffer.alloc(500)))
    expect(k.records().map((r) => [r.protocol, r.srcPort, r.dstPort, r.l4Info])).toEqual([
      [17, 5000, 6000, 0],
      [17, 5000, 6000, 0],
      [17, 0, 0, 0],
      [1, 0, 0, 0x0800],
      [1, 0, 0, 0x0800],
    ])
    // one flow each: UDP, UDP of unknown ports, and the echo with both its fragments
    expect(k.sweep().entries).toBe(3)
    const l = k.ledger()
    expect([l.PACKETS_FRAGMENT, l.PACKETS_FRAGMENT_UNKNOWN]).toEqual([5, 1])
  })

  it('leaves verdict and bytes of every packet as they were at each program', () => {
    const names = [
      'pod_egress',
      'pod_ingress',
      'uplink_ingress',
      'uplink_egress',
      'uplink_ingress_l3',
      'uplink_egress_l3',
    ]
    using k = new KernelPrograms({ programs: [...names, 'flow_sweep'] })
    for (const program of names)
      for (const bytes of Object.values(good)) expect(classify(k, bytes, program)).toHaveLength(1)
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('reads packets without a link header at the programs for such devices', () => {
    using k = new KernelPrograms({ programs: ['uplink_ingress_l3', 'uplink_egress_l3', 'flow_sweep'] })
    // A test run takes the EtherType from bytes 12 and 13: addresses that say the same there.
    k.run('uplink_ingress_l3', packet(ipv4({ src: '8.0.0.1', dst: '10.4.0.1' }), udp({ dstPort: 4789 }), payload))
    k.run(
      'uplink_egress_l3',
      packet(ipv6({ src: 'fd00:1:86dd::1', dst: 'fd00::4' }), tcp({ flags: TcpFlag.SYN }), payload),
    )
    expect(k.records().map((r) => [r.src, r.protocol, r.bytes, r.srcMac])).toEqual([
      ['8.0.0.1', 17, 52, '000000000000'],
      ['fd00:1:86dd:0:0:0:0:1', 6, 84, '000000000000'],
    ])
  })
})
