import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { KernelPrograms, ledgerGaps, NO_GAPS } from '../helpers/kernel-programs.ts'
import { TestNet, type TestPod } from '../helpers/netns-pair.ts'
import { describeKernel } from '../helpers/privileged.ts'

/** Sends datagrams from as many source ports as asked, each the first packet of a new flow at both pods. */
const flood = (address: string, flows: number, each: number) => `
import socket
sent = 0
socks = []
for i in range(${flows}):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(('${address}', 7000)); socks.append(s)
    if len(socks) == 200:
        for j in range(${each}):
            for t in socks: sent += t.send(b'z' * 100) == 100
        for t in socks: t.close()
        socks = []
print(sent)
`

const sink = `
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
s.bind(('', 7000)); print('ready')
while True: s.recv(65536)
`

/** Waits until no device counter has moved for a fifth of a second. */
async function settled(net: TestNet): Promise<void> {
  const counters = () => JSON.stringify(net.pods.map((pod) => net.counters(pod)))
  for (let last = ''; last !== counters(); ) {
    last = counters()
    await sleep(200)
  }
}

/** Packets on the pods' devices, and a sweep and the ledger of a moment in which those did not move. */
async function atRest(net: TestNet, k: KernelPrograms) {
  const counters = () => net.pods.map((pod) => net.counters(pod))
  for (;;) {
    await settled(net)
    const before = counters()
    const open = k.sweep()
    const ledger = k.ledger()
    if (JSON.stringify(before) === JSON.stringify(counters())) return { device: before, open, ledger }
  }
}

describeKernel('a ring that overflows', () => {
  it('loses records, counts each, and no packet goes uncounted; reading makes it whole again', async () => {
    using net = new TestNet('overflow', 2)
    // 32 KiB hold 240 records; nobody reads. Every packet asks for one.
    using k = new KernelPrograms({
      programs: ['pod_egress', 'pod_ingress', 'flow_sweep'],
      maxEntries: { events: 32768, flows: 65536 },
      constants: { per_packet: 1 },
    })
    net.watch(k)
    net.up()
    const [a, b] = net.pods as [TestPod, TestPod]
    await net.serve(b, sink)
    const sent = Number(net.python(a, flood(b.ip, 4000, 5)))
    expect(sent).toBe(20_000)
    const { device, open, ledger: full } = await atRest(net, k)
    expect(full.EVENTS_SUBMITTED).toBe(Math.floor(32768 / 136))
    expect(full.EVENTS_RING_FULL).toBe(full.EVENTS_WANTED - full.EVENTS_SUBMITTED)
    expect(full.EVENTS_RING_FULL).toBeGreaterThan(30_000)
    expect(ledgerGaps(full, open)).toEqual(NO_GAPS)
    // Both pods' devices saw each datagram: their counters and the ledger agree, full ring or not.
    expect(full.PACKETS_SEEN).toBe(device.reduce((n, d) => n + d.rxPackets + d.txPackets, 0))
    expect(device[0]!.rxPackets).toBeGreaterThanOrEqual(sent)

    // Reading between sweeps brings the rest out, record by record.
    let told = k.records().reduce((n, r) => n + r.packets + r.replyPackets, 0)
    net.python(a, flood(b.ip, 200, 1))
    told += k.records().reduce((n, r) => n + r.packets + r.replyPackets, 0)
    const idle = { tcpIdleNs: 0n, otherIdleNs: 0n, closedIdleNs: 0n }
    for (let i = 0; i < 3; i++) {
      k.sweep(idle)
      told += k.records().reduce((n, r) => n + r.packets + r.replyPackets, 0)
    }
    const rest = k.sweep()
    told += k.records().reduce((n, r) => n + r.packets + r.replyPackets, 0)
    const l = k.ledger()
    expect(rest).toMatchObject({ entries: 0, openPackets: 0 })
    expect(told).toBe(l.PACKETS_REPORTED)
    expect(l.PACKETS_REPORTED + l.PACKETS_UNREPORTED).toBe(l.PACKETS_FLOW)
    expect(ledgerGaps(l, rest)).toEqual(NO_GAPS)
  })

  it('counts packets that find a full table under load, on both CPUs', async () => {
    using net = new TestNet('table', 2)
    using k = new KernelPrograms({
      programs: ['pod_egress', 'pod_ingress', 'flow_sweep'],
      maxEntries: { events: 4 << 20, flows: 1024 },
    })
    net.watch(k)
    net.up()
    const [a, b] = net.pods as [TestPod, TestPod]
    await net.serve(b, sink)
    net.python(a, flood(b.ip, 2000, 2))
    const { device, open, ledger: l } = await atRest(net, k)
    expect(open.entries).toBe(1024)
    expect(l.FLOWS_CREATED).toBe(1024)
    expect(l.PACKETS_TABLE_FULL).toBeGreaterThan(1000)
    expect(ledgerGaps(l, open)).toEqual(NO_GAPS)
    expect(l.PACKETS_SEEN).toBe(device.reduce((n, d) => n + d.rxPackets + d.txPackets, 0))
  })
})
