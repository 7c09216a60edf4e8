import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { FilterMaps } from '../../collector/kernel/index.ts'
import { ConsumerFlag } from '../../model/layouts.gen.ts'
import { ipBytes, subjectBytes, type TableSet, writeTables } from '../helpers/filter-tables.ts'
import { gapsNow, KernelPrograms, NO_GAPS } from '../helpers/kernel-programs.ts'
import { TestNet, type TestPod } from '../helpers/netns-pair.ts'
import { describeKernel } from '../helpers/privileged.ts'

/** Class of both pods while each of the sets is in force. */
const CLASS = [4, 5] as const
const PORTS = [7400, 7401, 7402, 7403]
const even = PORTS.filter((port) => port % 2 === 0)
const odd = PORTS.filter((port) => port % 2 === 1)

/**
 * Two sets that contradict each other in everything: who takes which ports, and the class that a sender has. Judged by half
 * of each, an event would be for nobody, for both of the first two, or for none of the others.
 */
const SETS: readonly [TableSet, TableSet] = [
  {
    rules: [
      { consumer: 0, protocols: [17], dstPorts: even },
      { consumer: 1, protocols: [17], dstPorts: odd },
      { consumer: 2, protocols: [17], from: [CLASS[0]] },
      { consumer: 20, protocols: [58] },
    ],
  },
  {
    rules: [
      { consumer: 3, protocols: [17], to: [CLASS[1]] },
      { consumer: 1, protocols: [17], dstPorts: even },
      { consumer: 0, protocols: [17], dstPorts: odd },
      { consumer: 20, protocols: [58] }, // what IPv6 says by itself
    ],
  },
]

const UNDECIDED = 1 << ConsumerFlag.UNDECIDED

function expected(set: number, dstPort: number): number {
  const isEven = dstPort % 2 === 0
  const flag = (set << ConsumerFlag.SET) >>> 0
  return ((set === 0 ? 1 << 2 : 1 << 3) | (isEven === (set === 0) ? 1 << 0 : 1 << 1) | flag) >>> 0
}

const sink = `
import socket, time
socks = []
for port in ${JSON.stringify(PORTS)}:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', port)); socks.append(s)
print('ready')
time.sleep(600)
`

/** Old flows and new ones, to all ports in turn, some thousand datagrams a second. */
const sender = (address: string) => `
import socket, time
print('ready')
ports = ${JSON.stringify(PORTS)}
old = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
while True:
    for i in range(20):
        for s, port in zip(old, ports): s.sendto(b'old', ('${address}', port))
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for i in range(5): s.sendto(b'new', ('${address}', port))
    time.sleep(0.01)
`

/** Everything that sets have judged, of sets that were taken out of force one after another. */
class Judged {
  events = 0
  undecided = 0

  async add(maps: FilterMaps, set: 0 | 1): Promise<void> {
    const { events } = await maps.readMatches(set)
    this.undecided += events.subarray(0, 8).reduce((a, b) => a + b, 0)
    this.events += events.reduce((a, b) => a + b, 0)
  }
}

describeKernel('generations of rules', () => {
  it('judge every event by one of them as a whole, while they change under traffic', async () => {
    using net = new TestNet('filtgen', 2)
    using k = new KernelPrograms({
      programs: ['pod_egress', 'pod_ingress', 'flow_sweep'],
      maxEntries: { events: 4 << 20, flows: 65536 },
      constants: { per_packet: 1 },
    })
    net.watch(k)
    const maps = new FilterMaps(k)
    const [a, b] = net.pods as [TestPod, TestPod]
    for (const { ifindex, ip } of [a, b]) {
      maps.setDevice(ifindex, { identity: 1000 + ifindex, classes: CLASS, flags: 0 })
      maps.setAddresses(ipBytes(ip), subjectBytes(1000 + ifindex, CLASS), 1)
    }
    await writeTables(maps, 1, SETS[1])
    await maps.flip(1, true)
    net.up()
    await net.serve(b, sink)
    const traffic = await net.serve(a, sender(b.ip))
    const judged = new Judged()
    const seen = [0, 0]
    let undecided = 0
    const check = () => {
      for (const r of k.records()) {
        const set = r.consumers >>> ConsumerFlag.SET
        if (r.protocol !== 17) continue
        // While another CPU makes a match, user space decides.
        if (r.consumers & UNDECIDED) undecided++
        else if (r.consumers !== expected(set, r.dstPort))
          expect(r.consumers, `set ${set}`).toBe(expected(set, r.dstPort))
        seen[set]!++
      }
    }
    // Under emulation that takes a while.
    while (maps.generation().generation < 100 || Math.min(...seen) < 1000) {
      const { generation } = maps.generation()
      const next = ((generation & 1) ^ 1) as 0 | 1
      await judged.add(maps, next)
      await writeTables(maps, next, SETS[next])
      // Flows look up their ends anew within a generation, too.
      if (generation % 3 === 0) maps.reevaluate()
      await maps.flip(maps.generation().generation + 1, true)
      check()
    }
    traffic.kill('SIGKILL')
    await sleep(100)
    check()
    for (const set of [0, 1] as const) await judged.add(maps, set)
    const l = k.ledger()
    expect([l.EVENTS_FILTERED, l.EVENTS_RING_FULL, judged.undecided]).toEqual([0, 0, undecided])
    expect(undecided).toBeLessThan(20)
    // None was counted twice or by none, though counts were taken and reset all the time.
    expect(judged.events).toBe(l.EVENTS_WANTED)
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })

  it('switch filters on and off under traffic without an event that nobody judged', async () => {
    using net = new TestNet('filtoff', 2)
    using k = new KernelPrograms({
      programs: ['pod_egress', 'pod_ingress', 'flow_sweep'],
      maxEntries: { events: 4 << 20 },
      constants: { per_packet: 1, default_consumers: 0x100 },
    })
    net.watch(k)
    net.up()
    const maps = new FilterMaps(k)
    const [a, b] = net.pods as [TestPod, TestPod]
    await net.serve(b, sink)
    const traffic = await net.serve(a, sender(b.ip))
    // The other set is empty: judged by it, an event would be for nobody.
    const rules: TableSet = { rules: [{ consumer: 0, protocols: [17, 58] }] }
    await writeTables(maps, 1, rules)
    const told = new Map<number, number>()
    const tell = () => {
      for (const r of k.records()) told.set(r.consumers, (told.get(r.consumers) ?? 0) + 1)
    }
    while (maps.generation().generation < 60 || told.size < 2 || Math.min(...told.values()) < 100) {
      const { generation, enabled } = maps.generation()
      await maps.flip(generation + 1, !enabled)
      tell()
    }
    traffic.kill('SIGKILL')
    await sleep(50)
    tell()
    expect([...told.keys()].sort((x, y) => x - y)).toEqual([0x100, 0x80000001])
    expect(k.ledger()).toMatchObject({ EVENTS_FILTERED: 0, EVENTS_RING_FULL: 0 })
  })
})
