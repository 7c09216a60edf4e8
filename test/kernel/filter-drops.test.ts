import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { FilterMaps } from '../../collector/kernel/index.ts'
import { EventKind, EventType } from '../../model/layouts.gen.ts'
import { ipBytes, subjectBytes, writeTables } from '../helpers/filter-tables.ts'
import { FLAGS } from '../helpers/filtered-device.ts'
import { gapsNow, KernelPrograms, NO_GAPS } from '../helpers/kernel-programs.ts'
import { TestNet, type TestPod } from '../helpers/netns-pair.ts'
import { describeKernel } from '../helpers/privileged.ts'

const PYTHON = '/usr/bin/python3'

const oneDatagram = (address: string, port: number) => `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('${address}', ${port}))
`

describeKernel('filters of drops', () => {
  it('judge what the kernel drops, of flows it knows and of others', async () => {
    using net = new TestNet('filtdrop', 2)
    using k = new KernelPrograms()
    net.watch(k)
    const maps = new FilterMaps(k)
    const [a, b] = net.pods as [TestPod, TestPod]
    for (const { ifindex, ip, index } of [a, b]) {
      maps.setDevice(ifindex, { identity: 1000 + index, classes: [3 + index, 3 + index], flags: 0 })
      maps.setAddresses(ipBytes(ip), subjectBytes(1000 + index, 3 + index), 1)
    }
    await writeTables(maps, 1, {
      // Drops of what a sends to one port, and nothing else.
      rules: [{ consumer: 6, kinds: [EventKind.KIND_DROP], from: [4], dstPorts: [9001] }],
      consumers: new Map([[6, 0xff]]),
    })
    await maps.flip(1, true)
    net.up()
    k.attachTracing()
    const send = (port: number) => net.exec(a, PYTHON, ['-c', oneDatagram(b.ip, port)])
    // Nobody listens there: b's stack drops them, in a flow that the programs have met.
    send(9001)
    send(9002)
    await sleep(50)
    const told = k.records()
    expect(told.map((r) => [r.type, r.dstPort, r.consumers & ~FLAGS, r.srcIdentity, r.dstIdentity])).toEqual([
      [EventType.DROP, 9001, 1 << 6, 1001, 1002],
    ])
    const { events } = await maps.readMatches(1)
    const drops = events.filter((_, i) => i % 8 === EventKind.KIND_DROP).reduce((x, y) => x + y, 0)
    expect(drops).toBeGreaterThanOrEqual(2)
    expect(events.reduce((x, y) => x + y, 0)).toBe(k.ledger().EVENTS_WANTED)

    // In a's own stack, before it comes to any program: flows that the table has none of.
    net.exec(
      a,
      'nft',
      ['-f', '-'],
      'table ip t { chain c { type filter hook output priority 0; udp dport 9000-9003 drop; }; }',
    )
    const flows = k.sweep().entries
    for (const port of [9003, 9001]) net.tryExec(a, PYTHON, ['-c', oneDatagram(b.ip, port)])
    await sleep(50)
    expect(k.records().map((r) => [r.type, r.srcIdentity, r.dstPort])).toEqual([[EventType.DROP, 1001, 9001]])
    expect(k.sweep().entries).toBe(flows)
    expect(gapsNow(k)).toEqual(NO_GAPS)
  })
})
