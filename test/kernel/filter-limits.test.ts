import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { FilterMaps } from '../../collector/kernel/index.ts'
import {
  ConsumerFlag,
  EndpointKind,
  EventCause,
  EventKind,
  FilterLimit,
  FilterMatchId,
} from '../../model/layouts.gen.ts'
import { type TableRule, type TableSet, writeTables } from '../helpers/filter-tables.ts'
import { gapsNow, KernelPrograms, NO_GAPS, type ProgramsOptions } from '../helpers/kernel-programs.ts'
import { TestNet, type TestPod } from '../helpers/netns-pair.ts'
import { ethernet, ipv4, packet, TcpFlag, tcp, udp } from '../helpers/packets.ts'
import { describeKernel } from '../helpers/privileged.ts'

const FLAGS = ((1 << ConsumerFlag.UNDECIDED) | (1 << ConsumerFlag.SET)) >>> 0
const programs = ['pod_egress', 'pod_ingress', 'flow_sweep']
const datagram = (srcPort: number, dstPort: number) => packet(ethernet(), ipv4(), udp({ srcPort, dstPort }))
const segment = (srcPort: number, flags: number) => packet(ethernet(), ipv4(), tcp({ srcPort, dstPort: 80, flags }))
const NOTHING: TableSet = { rules: [{ consumer: 0, protocols: [47] }] }
const NEVER_NS = 1n << 62n
const AT_ONCE = { tcpIdleNs: 0n, otherIdleNs: 0n, closedIdleNs: 0n }

async function open(tables: TableSet, options: ProgramsOptions = {}): Promise<[KernelPrograms, FilterMaps]> {
  const k = new KernelPrograms({ programs, ...options })
  const maps = new FilterMaps(k)
  k.watch(1, 1, EndpointKind.POD)
  maps.setDevice(1, { identity: 1004, classes: [4, 4], flags: 0 })
  await writeTables(maps, 1, tables)
  await maps.flip(1, true)
  return [k, maps]
}

async function counted(maps: FilterMaps): Promise<number> {
  return (await maps.readMatches(1)).events.reduce((a, b) => a + b, 0)
}

describeKernel('flows that nobody wants', () => {
  it('leave the table uncounted by no equation, as filtered', async () => {
    const [k, maps] = await open(NOTHING)
    using _ = k
    for (let i = 0; i < 50; i++) for (let n = 0; n < 3; n++) k.run('pod_egress', datagram(1000 + i, 53))
    expect(k.sweep()).toMatchObject({ entries: 50, openPackets: 150 })
    expect(gapsNow(k)).toEqual(NO_GAPS)
    k.sweep(AT_ONCE)
    expect(k.sweep(AT_ONCE)).toMatchObject({ entries: 0, removed: 50, openPackets: 0, reported: 0 })
    const l = k.ledger()
    expect([l.PACKETS_FILTERED, l.PACKETS_UNREPORTED, l.PACKETS_REPORTED]).toEqual([150, 0, 0])
    expect(l.BYTES_FILTERED).toBe(l.BYTES_FLOW)
    expect([k.records(), await counted(maps)]).toEqual([[], l.EVENTS_WANTED])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('are no events again as long as nothing comes', async () => {
    const [k] = await open(NOTHING, { constants: { aggregation_interval_ns: 20_000_000 } })
    using _ = k
    k.run('pod_egress', datagram(1000, 53))
    await sleep(30)
    k.run('pod_egress', datagram(1000, 53))
    k.run('pod_egress', datagram(1000, 53))
    expect(k.ledger().EVENTS_FILTERED).toBe(2)
    for (let i = 0; i < 4; i++) {
      await sleep(30)
      k.sweep()
    }
    // A flow that is wanted would have had one more record, for the third datagram, if its tick was another one.
    expect(k.ledger().EVENTS_FILTERED).toBeLessThanOrEqual(3)
    k.sweep(AT_ONCE)
    k.sweep(AT_ONCE)
    const l = k.ledger()
    expect([l.FLOWS_REMOVED, l.PACKETS_FILTERED]).toEqual([1, 3])
    expect(l.EVENTS_FILTERED).toBeLessThanOrEqual(3)
  })

  it('are told by the sweep like by packets, when an interval has passed with something new', async () => {
    const constants = { aggregation_interval_ns: 400_000_000 }
    const [k, maps] = await open({ rules: [{ consumer: 2, dstPorts: [53] }] }, { constants })
    using _ = k
    for (const port of [53, 54]) k.run('pod_egress', datagram(1000, port))
    await sleep(30) // another tick
    for (const port of [53, 54]) k.run('pod_egress', datagram(1000, port))
    expect(k.sweep()).toMatchObject({ reported: 0, openPackets: 3 })
    await sleep(500)
    expect(k.sweep()).toMatchObject({ reported: 1, openPackets: 2 })
    const told = k.records()
    expect(told.map((r) => [r.cause, r.dstPort, r.packets, r.consumers & ~FLAGS])).toEqual([
      [EventCause.NEW, 53, 1, 1 << 2],
      [EventCause.INTERVAL, 53, 1, 1 << 2],
    ])
    expect([k.ledger().EVENTS_WANTED, k.ledger().EVENTS_FILTERED, await counted(maps)]).toEqual([4, 2, 4])
  })

  it('do not stay for want of room in the ring', async () => {
    const wanted: TableRule = { consumer: 0, dstPorts: [53] }
    const [k] = await open({ rules: [wanted] }, { maxEntries: { events: 4096 } })
    using _ = k
    // 30 records fill the ring; one more wanted flow waits for room.
    for (let i = 0; i < 31; i++) k.run('pod_egress', datagram(1000 + i, 53))
    for (let i = 0; i < 10; i++) k.run('pod_egress', datagram(2000 + i, 54))
    const keep = { ...AT_ONCE, keepUnreported: true }
    k.sweep(keep)
    expect(k.sweep(keep)).toMatchObject({ entries: 1, removed: 40, openPackets: 1 })
    expect(k.ledger()).toMatchObject({ PACKETS_FILTERED: 10, PACKETS_UNREPORTED: 0 })
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('give their packets to the next record that is wanted', async () => {
    const [k] = await open({ rules: [{ consumer: 0, kinds: [EventKind.KIND_TCP_FLAG] }] })
    using _ = k
    const { ACK, FIN } = TcpFlag
    for (let i = 0; i < 5; i++) k.run('pod_egress', segment(1000, ACK))
    expect(k.records()).toEqual([])
    k.run('pod_egress', segment(1000, FIN | ACK))
    expect(k.records().map((r) => [r.cause, r.packets])).toEqual([[EventCause.TCP_FLAG, 6]])
    expect(k.ledger()).toMatchObject({ PACKETS_FILTERED: 0, PACKETS_REPORTED: 6 })
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('lose no packet when they outgrow their counters', async () => {
    const [k] = await open(NOTHING, { constants: { aggregation_interval_ns: NEVER_NS } })
    using _ = k
    // More than 24 bits of packets.
    const repeat = 1_700_000
    for (let i = 0; i < 10; i++) k.program('pod_egress').testRun({ dataIn: datagram(1000, 53), repeat })
    const { openPackets } = k.sweep()
    const l = k.ledger()
    expect(l.PACKETS_FLOW).toBe(10 * repeat)
    expect(l.PACKETS_FILTERED).toBe(10 * repeat - openPackets)
    // First packet, and once for each 2^22: not for each packet in between.
    expect(l.EVENTS_FILTERED).toBe(1 + Math.floor((10 * repeat) / 2 ** 22))
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('are judged again when the rules change, and those that are wanted then are told with all they had', async () => {
    const [k, maps] = await open(NOTHING, { constants: { per_packet: 1 } })
    using _ = k
    for (let i = 0; i < 3; i++) k.run('pod_egress', datagram(1000, 53))
    await writeTables(maps, 0, { rules: [{ consumer: 9, protocols: [17] }] })
    await maps.flip(2, true)
    k.run('pod_egress', datagram(1000, 53))
    expect(k.records().map((r) => [r.packets, r.consumers])).toEqual([[4, 1 << 9]])
    await maps.flip(3, true)
    k.run('pod_egress', datagram(1000, 53))
    expect(k.records()).toEqual([])
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })
})

describeKernel('what a flow remembers of its rules', () => {
  it('is forgotten before a number comes again', async () => {
    const [k, maps] = await open(NOTHING, { constants: { per_packet: 1 } })
    using _ = k
    k.run('pod_egress', datagram(1000, 53))
    expect(k.records()).toEqual([])
    k.sweep()
    const entryOf = () => k.flows()[0]!.entry.readUInt32LE(56)
    expect(entryOf()).not.toBe(0)
    await writeTables(maps, 0, { rules: [{ consumer: 1 }] })
    await maps.flip(2, true)
    k.sweep()
    expect(k.flows()[0]!.entry.subarray(56, 64).equals(Buffer.alloc(8))).toBe(true)
    // 2^18 further it has the low bits that the flow was judged under; its rules are other ones.
    await writeTables(maps, 1, { rules: [{ consumer: 5 }] })
    await maps.flip(2 ** 18 + 1, true)
    k.run('pod_egress', datagram(1000, 53))
    expect(k.records().map((r) => r.consumers & ~FLAGS)).toEqual([1 << 5])
    await maps.flip(2 ** 18 + 2, false)
    k.sweep()
    expect(k.flows()[0]!.entry.subarray(56, 64).equals(Buffer.alloc(8))).toBe(true)
  })
})

describeKernel('the table of matches', () => {
  it('leaves events to user space when it is full, counts them, and starts anew with the next rules', async () => {
    // A rule for each of 65 source ports and each of 64 destination ports: a match for each pair.
    const [rows, columns] = [65, 64]
    const bySource = Array.from({ length: rows }, (_, i): TableRule => ({ consumer: 0, srcPorts: [1000 + i] }))
    const byDestination = Array.from({ length: columns }, (_, i): TableRule => ({ consumer: 1, dstPorts: [2000 + i] }))
    const [k, maps] = await open({ rules: [...bySource, ...byDestination] }, { maxEntries: { events: 2 << 20 } })
    using _ = k
    const room = FilterLimit.MATCHES - FilterMatchId.FIRST
    const runAll = () => {
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < columns; c++) k.run('pod_egress', datagram(1000 + r, 2000 + c))
      }
    }
    runAll()
    const undecided = (consumers: number) => (consumers & (1 << ConsumerFlag.UNDECIDED)) !== 0
    const told = k.records()
    expect(told.map((r) => r.consumers & ~FLAGS)).toEqual(told.map(() => 0b11))
    expect(told.map((r) => undecided(r.consumers))).toEqual(told.map((_, i) => i >= room))
    expect(maps.matchesUsed(1)).toBe(room)
    expect(k.ledger().FILTER_MATCHES_FULL).toBe(rows * columns - room)
    const { events, consumers, count } = await maps.readMatches(1)
    expect([count, events[0]]).toEqual([room + 1, rows * columns - room])
    expect(events.reduce((a, b) => a + b, 0)).toBe(rows * columns)
    expect([consumers[0], consumers[8]]).toEqual([(0b11 | FLAGS) >>> 0, (0b11 | (1 << 31)) >>> 0])

    await writeTables(maps, 0, { rules: [{ consumer: 4, protocols: [17] }] })
    await maps.flip(2, true)
    await maps.resetMatches(1)
    expect([maps.matchesUsed(1), (await maps.readMatches(1)).events[0]]).toEqual([0, 0])
    await maps.flip(3, true)
    k.sweep(AT_ONCE)
    k.sweep(AT_ONCE)
    k.records()
    runAll()
    expect(maps.matchesUsed(1)).toBe(room)
    expect(k.records().filter((r) => !undecided(r.consumers)).length).toBe(room)
  })

  it('leaves an event to user space while another CPU makes its match, and the next one no more', async () => {
    const [k, maps] = await open({ rules: [{ consumer: 0, protocols: [17] }] }, { constants: { per_packet: 1 } })
    using _ = k
    k.run('pod_egress', datagram(1000, 53))
    const ids = k.map('filter_match_ids')
    const key = new Uint8Array(ids.info.keySize)
    expect(ids.nextKey(null, key)).toBe(true)
    const made = new Uint8Array(4)
    ids.lookup(key, made)
    ids.update(key, new Uint8Array(4)) // its place, without an id
    maps.reevaluate()
    k.run('pod_egress', datagram(1000, 53))
    ids.update(key, made)
    k.run('pod_egress', datagram(1000, 53))
    const undecided = k.records().map((r) => (r.consumers & (1 << ConsumerFlag.UNDECIDED)) !== 0)
    expect([undecided, maps.matchesUsed(1)]).toEqual([[false, true, false], 1])
  })

  it('holds no more ids than there are matches when many CPUs meet the same rules at once', async () => {
    using net = new TestNet('filtids', 2)
    using k = new KernelPrograms({ programs, constants: { per_packet: 1 }, maxEntries: { events: 1 << 20 } })
    net.watch(k)
    net.up()
    const maps = new FilterMaps(k)
    const [a, b] = net.pods as [TestPod, TestPod]
    await net.serve(a, pingPong(b.ip))
    await net.serve(b, pingPong(a.ip))
    for (let generation = 1; generation < 40; generation++) {
      const set = (generation & 1) as 0 | 1
      await writeTables(maps, set, { rules: [{ consumer: 0, protocols: [17] }] })
      await maps.flip(generation, true)
      await sleep(5)
      // UDP, and whatever else there may be.
      expect(maps.matchesUsed(set)).toBeLessThanOrEqual(2)
      k.records()
    }
  })
})

/** Floods the other pod with datagrams that nobody answers. */
const pingPong = (address: string) => `
import socket, time
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sink.bind(('', 7000))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print('ready')
while True:
    for i in range(50): s.sendto(b'x', ('${address}', 7000))
    time.sleep(0.002)
`
