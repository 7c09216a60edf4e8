import { expect, it } from 'vitest'
import { EndpointKind } from '../../model/layouts.gen.ts'
import {
  attachClsact,
  BpfLink,
  type Direction,
  detachClsact,
  ensureClsact,
  queryClsact,
  removeEmptyClsact,
  supportsTcx,
} from '../../native/index.ts'
import { KernelPrograms } from '../helpers/kernel-programs.ts'
import { TestNet, type TestPod } from '../helpers/netns-pair.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { TestingPrograms } from '../helpers/testing-programs.ts'

const programs = ['pod_egress', 'pod_ingress', 'flow_sweep']
const THEIRS = { handle: 1, priority: 1 }
const OURS = { handle: 0x51, priority: 50 }
const DIRECTIONS: readonly Direction[] = ['ingress', 'egress']

const ping = (net: TestNet, a: TestPod, b: TestPod, n = 5) =>
  net.exec(a, 'ping', ['-q', '-c', String(n), '-i', '0.01', '-W', '1', b.ip])

describeKernel('beside programs of others', () => {
  it('lets a foreign clsact filter and a foreign tcx program run on, with ours and without', ({ skip }) => {
    using testing = new TestingPrograms()
    if (!supportsTcx(testing.program('empty'))) skip('this kernel has no tcx')
    using net = new TestNet('beside', 2)
    const [a, b] = net.pods as [TestPod, TestPod]
    const theirs: BpfLink[] = []
    net.node.run(() => {
      ensureClsact(a.ifindex)
      for (const direction of DIRECTIONS) {
        attachClsact(testing.program('count_all'), a.ifindex, direction, THEIRS)
        theirs.push(BpfLink.attachTcx(testing.program('drop_port_9'), a.ifindex, direction))
      }
    })
    const clsactId = net.node.run(() => queryClsact(a.ifindex, 'ingress', THEIRS))
    {
      using k = new KernelPrograms({ programs })
      net.watch(k)
      net.up()
      ping(net, a, b)
      const seen = k.endpointCounts(a.slot)
      expect([seen.egressPackets, seen.ingressPackets]).toEqual([
        expect.toSatisfy((n: number) => n >= 5),
        expect.toSatisfy((n: number) => n >= 5),
      ])
      // Each of theirs saw all that we saw, behind us.
      expect(testing.runs('drop_port_9')).toBe(seen.egressPackets + seen.ingressPackets)
      expect(testing.runs('count_all')).toBe(testing.runs('drop_port_9'))
    }
    const before = testing.runs('count_all')
    ping(net, a, b)
    expect(testing.runs('count_all') - before).toBeGreaterThanOrEqual(10)
    expect(testing.runs('drop_port_9')).toBe(testing.runs('count_all'))
    net.node.run(() => expect(queryClsact(a.ifindex, 'ingress', THEIRS)).toBe(clsactId))
    for (const link of theirs) {
      expect(link.info().ifindex).toBe(a.ifindex)
      link[Symbol.dispose]()
    }
  })

  it('sees packets that a foreign program then drops', () => {
    using net = new TestNet('before', 2)
    using testing = new TestingPrograms()
    using k = new KernelPrograms({ programs })
    const [a, b] = net.pods as [TestPod, TestPod]
    using _ = net.attach(testing.program('drop_port_9'), a, 'ingress')
    net.watch(k)
    net.up()
    net.python(
      a,
      `import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor i in range(4): s.sendto(b'x', ('${b.ip}', 9))`,
    )
    const told = k.records().filter((r) => r.dstPort === 9)
    expect(told.map((r) => [r.ifindex, r.packets])).toEqual([[a.ifindex, 1]])
    expect(k.endpointCounts(a.slot).egressPackets).toBeGreaterThanOrEqual(4)
    expect(testing.runs('drop_port_9')).toBe(k.endpointCounts(a.slot).egressPackets)
  })

  it('works as a clsact filter beside foreign ones and leaves the qdisc to them', () => {
    using net = new TestNet('clsact', 2)
    using testing = new TestingPrograms()
    using k = new KernelPrograms({ programs })
    const [a, b] = net.pods as [TestPod, TestPod]
    k.watch(a.ifindex, a.slot, EndpointKind.POD)
    net.node.run(() => {
      ensureClsact(a.ifindex)
      attachClsact(testing.program('count_all'), a.ifindex, 'ingress', { handle: 1, priority: 60 })
      // Ours in front: its verdict hands the packet on to the next filter.
      attachClsact(k.program('pod_egress'), a.ifindex, 'ingress', OURS)
      attachClsact(k.program('pod_ingress'), a.ifindex, 'egress', OURS)
    })
    net.up()
    ping(net, a, b)
    const device = net.counters(a)
    expect(k.endpointCounts(a.slot)).toEqual({
      egressPackets: device.rxPackets,
      egressBytes: device.rxBytes,
      ingressPackets: device.txPackets,
      ingressBytes: device.txBytes,
    })
    expect(testing.runs('count_all')).toBe(device.rxPackets)
    net.node.run(() => {
      for (const direction of DIRECTIONS) expect(detachClsact(a.ifindex, direction, OURS)).toBe(true)
      expect(removeEmptyClsact(a.ifindex)).toBe(false)
    })
    const before = testing.runs('count_all')
    ping(net, a, b)
    expect(testing.runs('count_all')).toBeGreaterThan(before)
    expect(k.endpointCounts(a.slot).egressPackets).toBe(device.rxPackets)
  })

  it('counts a packet that is redirected to a peer once at each hook that it passes', () => {
    using net = new TestNet('redirect', 2)
    const [a, b] = net.pods as [TestPod, TestPod]
    using testing = new TestingPrograms(b.ifindex)
    using k = new KernelPrograms({ programs })
    using _ = net.attach(testing.program('to_peer'), a, 'ingress')
    net.watch(k)
    net.up()
    const start = testing.runs('to_peer')
    // The program moves frames as they are: addressed to b's device already.
    const program = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(6): s.sendto(b'x', ('${b.ip}', 7000))
`
    net.exec(a, 'ip', ['neigh', 'replace', a.gateway, 'lladdr', b.mac, 'dev', 'eth0'])
    net.python(b, '')
    net.python(a, program)
    expect(testing.runs('to_peer') - start).toBeGreaterThanOrEqual(6)
    const own = (pod: TestPod) =>
      k.flows().filter(({ key }) => key.readUInt32LE(36) === pod.ifindex && key.readUInt8(40) === 17)
    // Seen as it leaves a; it never passes the egress hook of b's host device, and is not told there.
    expect([own(a).length, own(b).length]).toEqual([1, 0])
    const told = k.records().filter((r) => r.dstPort === 7000)
    const open = own(a).map(({ entry }) => Number((entry.readBigUInt64LE(0) + entry.readBigUInt64LE(8)) >> 40n))
    expect(told.reduce((n, r) => n + r.packets, 0) + open[0]!).toBe(6)
  })
})
