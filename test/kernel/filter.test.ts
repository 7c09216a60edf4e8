import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { FilterMaps } from '../../collector/kernel/index.ts'
import { isLinkScope } from '../../collector/world.ts'
import {
  ConsumerFlag,
  EndpointKind,
  EventKind,
  EventType,
  FilterClassId,
  L7Kind,
  SubjectFlag,
} from '../../model/layouts.gen.ts'
import {
  ipBytes,
  kernelPrefix,
  subjectBytes,
  type TableRule,
  type TableSet,
  writeTables,
} from '../helpers/filter-tables.ts'
import { gapsNow, KernelPrograms, NO_GAPS } from '../helpers/kernel-programs.ts'
import type { KernelRecord } from '../helpers/kernel-records.ts'
import { ethernet, icmp, icmpv6, ipv4, ipv6, packet, sctp, TcpFlag, tcp, udp } from '../helpers/packets.ts'
import { describeKernel } from '../helpers/privileged.ts'

const programs = ['pod_egress', 'pod_ingress', 'uplink_ingress', 'uplink_egress', 'flow_sweep']
const eth = ethernet()
/** Test runs come by the loopback device. */
const DEVICE = 1
const POD = '10.1.0.1'
const PEER = '10.1.0.2'
const POD6 = 'fd00::1'
const PEER6 = 'fd00::2'
const FLAGS = ((1 << ConsumerFlag.UNDECIDED) | (1 << ConsumerFlag.SET)) >>> 0
/** Of the pod itself, and of its peer. */
const OWN = 4
const OTHER = 5

interface Seen {
  readonly program: string
  readonly packet: Buffer
}

/** A pod's device with filters; every packet is an event. */
class Filtered extends KernelPrograms {
  readonly filters: FilterMaps

  constructor(constants: Record<string, number> = {}, names: readonly string[] = ['pod_egress']) {
    super({ programs: names, constants: { per_packet: 1, ...constants } })
    this.filters = new FilterMaps(this)
  }

  /** Two known ends, and nothing else that a test before may have left. */
  async reset(): Promise<void> {
    await this.filters.deleteStaleAddresses(() => false)
    await this.filters.setNetworks([])
    this.watch(DEVICE, 1, EndpointKind.POD)
    this.filters.setDevice(DEVICE, { identity: 1004, classes: [OWN, OWN], flags: 0 })
    this.name(PEER, 1005, OTHER)
    this.name(PEER6, 1005, OTHER)
  }

  /** The set in force. */
  get set(): 0 | 1 {
    return (this.filters.generation().generation & 1) as 0 | 1
  }

  name(ip: string, identity: number, classes: number | readonly [number, number], flags = 0): void {
    this.filters.setAddresses(ipBytes(ip), subjectBytes(identity, classes, flags), 1)
  }

  /** Puts rules into force. */
  async apply(tables: TableSet): Promise<void> {
    const next = this.filters.generation().generation + 1
    await writeTables(this.filters, (next & 1) as 0 | 1, tables)
    await this.filters.flip(next, true)
  }

  /** What became of one packet: its record, without one what was counted. */
  see({ program, packet }: Seen): KernelRecord | 'filtered' {
    this.records()
    const before = this.ledger()
    this.run(program, packet)
    const [record, ...more] = this.records()
    const after = this.ledger()
    expect(more).toEqual([])
    expect(after.EVENTS_WANTED - before.EVENTS_WANTED).toBe(1)
    expect(after.EVENTS_FILTERED - before.EVENTS_FILTERED).toBe(record ? 0 : 1)
    return record ?? 'filtered'
  }
}

const egress = (...layers: Parameters<typeof packet>): Seen => ({
  program: 'pod_egress',
  packet: packet(eth, ...layers),
})
const ingress = (...layers: Parameters<typeof packet>): Seen => ({ ...egress(...layers), program: 'pod_ingress' })
const from4 = ipv4({ src: POD, dst: PEER })
const to4 = ipv4({ src: PEER, dst: POD })
const from6 = ipv6({ src: POD6, dst: PEER6 })
const web = tcp({ srcPort: 40000, dstPort: 80, flags: TcpFlag.ACK })
const webReply = tcp({ srcPort: 80, dstPort: 40000, flags: TcpFlag.ACK })
const plain = egress(from4, web)

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

/** Loading takes the verifier a second: once for all. */
function shared(): () => Filtered {
  let k: Filtered
  beforeAll(() => {
    k = new Filtered({}, programs)
  })
  beforeEach(() => k.reset())
  afterAll(() => k[Symbol.dispose]())
  return () => k
}

describeKernel('filters in the kernel', () => {
  const filtered = shared()

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
    using k = new Filtered({ default_consumers: 5 })
    await k.reset()
    expect(k.see(plain)).toMatchObject({ consumers: 5, srcIdentity: 0, dstIdentity: 0 })
    await k.apply({ rules: [{ consumer: 0, protocols: [17] }] })
    expect(k.see(plain)).toBe('filtered')
    await k.filters.flip(k.filters.generation().generation + 1, false)
    expect(k.see(plain)).toMatchObject({ consumers: 5 })
  })
})

/** Each class of a source is a consumer, and each of a destination: a record says both. */
const CLASSES = 8
const byClass: TableSet = {
  rules: Array.from({ length: CLASSES }, (_, id) => [
    { consumer: id, from: [id] },
    { consumer: CLASSES + id, to: [id] },
  ]).flat(),
  classes: CLASSES,
}

/** `[class, identity]` of source and destination. */
function endsOf(record: KernelRecord | 'filtered') {
  if (record === 'filtered') return record
  const bits = record.consumers & ~FLAGS
  const source = Math.log2(bits & ((1 << CLASSES) - 1))
  return [source, record.srcIdentity, Math.log2(bits >> CLASSES), record.dstIdentity]
}

describeKernel('ends of a flow in the kernel', () => {
  const filtered = shared()
  const world = [FilterClassId.WORLD, 2]
  const host = [FilterClassId.HOST, 1]
  const pod = [OWN, 1004]
  const peer = [OTHER, 1005]

  it('are the pod behind a device, whatever its address, and who has the other address', async () => {
    const k = filtered()
    await k.apply(byClass)
    const at = (seen: Seen) => endsOf(k.see(seen))
    expect(at(plain)).toEqual([...pod, ...peer])
    expect(at(ingress(to4, webReply))).toEqual([...peer, ...pod])
    expect(at(egress(ipv4({ src: '1.2.3.4', dst: '9.9.9.9' }), web))).toEqual([...pod, ...world])
    // The pod's own address on the other side is no one else's.
    k.name(POD, 1006, 6)
    expect(at(egress(ipv4({ src: POD, dst: POD }), udp({ srcPort: 1, dstPort: 2 })))).toEqual([...pod, 6, 1006])
    expect(at(ingress(ipv4({ src: POD, dst: POD }), udp({ srcPort: 1, dstPort: 2 })))).toEqual([6, 1006, ...pod])
  })

  it('are found by the address where nobody knows whose a device is', async () => {
    const k = filtered()
    await k.apply(byClass)
    k.filters.setDevice(DEVICE, { identity: 3, classes: [OWN, OWN], flags: SubjectFlag.ASK_ADDRESS })
    k.name(POD, 1006, 6, SubjectFlag.LOCAL_POD)
    k.name('10.1.0.9', 1007, 7)
    const at = (src: string) => endsOf(k.see(egress(ipv4({ src, dst: PEER }), web)))
    expect(at(POD)).toEqual([6, 1006, ...peer])
    expect(at('10.1.0.9'), 'a pod of another node').toEqual([OWN, 3, ...peer])
    expect(at('10.1.0.8')).toEqual([OWN, 3, ...peer])
  })

  it('are both found by their addresses at an uplink', async () => {
    const k = filtered()
    k.watch(DEVICE, 1, EndpointKind.UPLINK)
    k.name(POD, 1006, 6)
    await k.apply(byClass)
    const at = (src: string, dst: string) =>
      endsOf(k.see({ program: 'uplink_egress', packet: packet(eth, ipv4({ src, dst }), web) }))
    expect(at(POD, PEER)).toEqual([6, 1006, ...peer])
    expect(at('9.9.9.9', PEER)).toEqual([...world, ...peer])
    expect(at('169.254.1.1', '127.0.0.1')).toEqual([...world, ...world])
  })

  it('are of the narrowest range that holds the address', async () => {
    const k = filtered()
    await k.apply(byClass)
    const at = (dst: string) => {
      const layer = dst.includes(':') ? ipv6({ src: POD6, dst }) : ipv4({ src: POD, dst })
      return endsOf(k.see(egress(layer, web)))?.slice(2)
    }
    const range = (cidr: string, identity: number, id: number) => ({
      ...kernelPrefix(cidr),
      identity,
      classes: [id, id] as const,
    })
    expect(at('9.9.9.9')).toEqual(world)
    const ranges = [range('9.0.0.0/8', 91, 6), range('9.9.0.0/16', 92, 7), range('2001:db8::/33', 93, 6)]
    expect(await k.filters.setNetworks(ranges)).toBe(3)
    k.filters.reevaluate()
    expect(['9.9.9.9', '9.8.7.6', '8.8.8.8', PEER, '2001:db8:7fff::1', '2001:db8:8000::1'].map(at)).toEqual([
      [7, 92],
      [6, 91],
      world,
      peer,
      [6, 93],
      world,
    ])
    expect(await k.filters.setNetworks([range('9.9.9.9/32', 94, 6), range('::/0', 95, 7)])).toBe(2)
    k.filters.reevaluate()
    expect(['9.9.9.9', '9.9.9.8', '2001:db8:8000::1', '169.254.0.1'].map(at)).toEqual([[6, 94], world, [7, 95], host])
  })

  it('are the node where an address means something on the link alone', async () => {
    const k = filtered()
    await k.apply(byClass)
    const four = ['0.0.0.0', '255.255.255.255', '127.0.0.1', '127.255.0.1', '169.254.0.1', '169.253.255.255']
    four.push('224.0.0.251', '224.0.1.1', '239.1.1.1', '1.0.0.0', '10.0.0.0', '170.254.0.1')
    const six = [
      '::',
      '::1',
      '::2:1',
      '1::',
      'fe80::1',
      'febf::1',
      'fec0::1',
      'ff02::1',
      'ff01::1',
      'ff05::1',
      'ff12::1',
    ]
    six.push('fe00::1', '0:0:0:1::1', '0:0:0:0:1::1', 'ffff::1', 'ff0f::')
    for (const [addresses, family] of [
      [four, 4],
      [six, 6],
    ] as const) {
      for (const dst of addresses) {
        const layer = family === 4 ? ipv4({ src: POD, dst }) : ipv6({ src: POD6, dst })
        const words = new Uint32Array(ipBytes(dst).buffer)
        const expected = isLinkScope(words, 0, family) ? host : world
        expect([dst, ...endsOf(k.see(egress(layer, web))).slice(2)]).toEqual([dst, ...expected])
      }
    }
  })

  it('change their classes when told so, for flows that live as well', async () => {
    const k = filtered()
    await k.apply(byClass)
    expect(endsOf(k.see(plain))).toEqual([...pod, ...peer])
    k.name(PEER, 1006, 6)
    expect(endsOf(k.see(plain))).toEqual([...pod, ...peer])
    const { generation } = k.filters.generation()
    expect(k.filters.reevaluate()).toBe(generation + 2)
    expect(endsOf(k.see(plain))).toEqual([...pod, 6, 1006])
    k.filters.deleteAddresses(ipBytes(PEER), 1)
    k.filters.reevaluate()
    expect(endsOf(k.see(plain))).toEqual([...pod, ...world])
  })

  it('leave it to user space when a class is not known, or the device is not', async () => {
    const k = filtered()
    await k.apply({
      rules: [{ consumer: 2, protocols: [17] }],
      consumers: new Map([
        [2, 1 << EventKind.KIND_FLOW],
        [4, 0xff],
      ]),
    })
    const flags = (1 << ConsumerFlag.UNDECIDED) | (k.set << ConsumerFlag.SET)
    const undecided = (bits: number) => ({ consumers: (bits | flags) >>> 0 })
    k.name('10.1.0.7', 1007, FilterClassId.UNDECIDED)
    expect(k.see(egress(ipv4({ src: POD, dst: '10.1.0.7' }), web))).toMatchObject(undecided(0b10100))
    const syn = tcp({ flags: TcpFlag.SYN })
    expect(k.see(egress(ipv4({ src: POD, dst: '10.1.0.7' }), syn))).toMatchObject(undecided(0b10000))
    k.map('endpoints').delete(new Uint8Array(new Uint32Array([DEVICE]).buffer))
    k.filters.reevaluate()
    expect(k.see(plain)).toMatchObject(undecided(0b10100))
    const { events, count } = await k.filters.readMatches(k.set)
    expect([count, ...events.subarray(0, 2)]).toEqual([1, 2, 1])
  })

  it('give another answer for a connection that is opened again from the other end', async () => {
    const k = filtered()
    await k.apply({ rules: [{ consumer: 0, directions: [2] }] })
    const there = (flags: number) => egress(from4, tcp({ srcPort: 5000, dstPort: 6000, flags }))
    const back = (flags: number) => ingress(to4, tcp({ srcPort: 6000, dstPort: 5000, flags }))
    expect(k.see(there(TcpFlag.SYN))).toMatchObject({ type: EventType.FLOW })
    expect(k.see(there(TcpFlag.RST))).toMatchObject({ type: EventType.FLOW })
    expect(k.see(back(TcpFlag.SYN))).toBe('filtered')
    expect(k.see(there(TcpFlag.SYN | TcpFlag.ACK))).toBe('filtered')
  })
})

describeKernel('filters of L7 messages', () => {
  const query = Buffer.from('12340100000100000000000003777777076578616d706c6503636f6d0000010001', 'hex')
  const dns = (srcPort: number, dst: string) =>
    packet(eth, ipv4({ src: POD, dst }), udp({ srcPort, dstPort: 53 }), query).subarray()

  it('judge them as a kind of their own, and spend no token of the rate on what nobody wants', async () => {
    // One token a tenth of a second.
    using k = new Filtered({ per_packet: 0, l7_rate_per_cpu: 10 }, ['pod_egress', 'flow_sweep'])
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
