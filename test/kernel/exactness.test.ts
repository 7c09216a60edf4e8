import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { KernelPrograms, ledgerGaps, NO_GAPS, type SweepResult } from '../helpers/kernel-programs.ts'
import type { KernelRecord } from '../helpers/kernel-records.ts'
import { TestNet, type TestPod } from '../helpers/netns-pair.ts'
import { describeKernel } from '../helpers/privileged.ts'

const programs = ['pod_egress', 'pod_ingress', 'flow_sweep']

const sink = (family: 'AF_INET' | 'AF_INET6', type: 'tcp' | 'udp', address: string) =>
  type === 'tcp'
    ? `
import socket, threading
s = socket.socket(socket.${family}); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('${address}', 7000)); s.listen(256); print('ready')
def serve(c):
    n = 0
    while True:
        d = c.recv(1 << 18)
        if not d: break
        n += len(d)
    c.send(b'%d' % n); c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],)).start()
`
    : `
import socket
s = socket.socket(socket.${family}, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
s.bind(('${address}', 7001)); print('ready')
while True:
    d, a = s.recvfrom(65536)
    s.sendto(b'ok', a)
`

/** Connects `connections` times and sends `bytes` each time; the server says how many it got. */
const tcpClient = (family: string, address: string, bytes: number, connections: number) => `
import socket
b = b'x' * min(${bytes}, 1 << 16)
for i in range(${connections}):
    c = socket.socket(socket.${family}); c.connect(('${address}', 7000))
    left = ${bytes}
    while left:
        left -= c.send(b[:left])
    c.shutdown(socket.SHUT_WR)
    got = int(c.recv(64)); assert got == ${bytes}, got
    c.close()
`

const udpClient = (family: string, address: string, datagrams: number, size: number) => `
import socket
for port in range(4):
    c = socket.socket(socket.${family}, socket.SOCK_DGRAM); c.connect(('${address}', 7001)); c.settimeout(5)
    c.setsockopt(socket.SOL_SOCKET, 33, 1 << 24) # SO_RCVBUFFORCE
    for i in range(${datagrams} // 4):
        c.send(b'y' * ${size})
    for i in range(${datagrams} // 4):
        assert c.recv(64) == b'ok'
`

interface Sums {
  packets: number
  bytes: number
}

/** Without what IPv6 sends by itself: multicast listener reports, neighbour discovery. */
const driven = (records: readonly KernelRecord[]) =>
  records.filter((r) => r.dst.startsWith('10.77.') || (r.dst.startsWith('fd77:') && r.l4Info >> 8 < 130))

/** What left and reached an endpoint, by the records of its interface. */
function sumsOf(records: readonly KernelRecord[], pod: TestPod) {
  const from: Sums = { packets: 0, bytes: 0 }
  const to: Sums = { packets: 0, bytes: 0 }
  for (const r of records) {
    if (r.ifindex !== pod.ifindex) continue
    const [mine, other] = r.state & 16 ? [from, to] : [to, from]
    mine.packets += r.packets
    mine.bytes += r.bytes
    other.packets += r.replyPackets
    other.bytes += r.replyBytes
  }
  return { rxPackets: from.packets, rxBytes: from.bytes, txPackets: to.packets, txBytes: to.bytes }
}

/** Drives traffic, then compares records, endpoint counters, device counters and ledger: all equal, to the byte. */
async function exactly(name: string, traffic: (net: TestNet, a: TestPod, b: TestPod) => Promise<void> | void) {
  using net = new TestNet(name, 2)
  using k = new KernelPrograms({ programs, maxEntries: { events: 8 << 20 } })
  net.watch(k)
  net.up()
  const [a, b] = net.pods as [TestPod, TestPod]
  const records: KernelRecord[] = []
  await traffic(net, a, b)
  const times = { tcpIdleNs: 0n, otherIdleNs: 0n, closedIdleNs: 0n }
  const state = () => JSON.stringify([net.pods.map((pod) => net.counters(pod)), k.ledger().PACKETS_SEEN])
  let open: SweepResult
  let before: string
  do {
    await quiet(net)
    before = state()
    // Everything that is still open leaves with the flows.
    k.sweep(times)
    open = k.sweep(times)
    records.push(...k.records())
    // IPv6 repeats its listener reports when it likes: then once more.
  } while (state() !== before)
  expect(open).toMatchObject({ entries: 0, openPackets: 0, openBytes: 0 })
  const l = k.ledger()
  expect(ledgerGaps(l, open)).toEqual(NO_GAPS)
  expect([l.EVENTS_RING_FULL, l.PACKETS_TABLE_FULL, l.PACKETS_CLOSING, l.PACKETS_NON_IP]).toEqual([0, 0, 0, 0])
  let packets = 0
  let bytes = 0
  for (const pod of net.pods) {
    const device = net.counters(pod)
    const counts = k.endpointCounts(pod.slot)
    expect(sumsOf(records, pod)).toEqual(device)
    expect(counts).toEqual({
      egressPackets: device.rxPackets,
      egressBytes: device.rxBytes,
      ingressPackets: device.txPackets,
      ingressBytes: device.txBytes,
    })
    packets += device.rxPackets + device.txPackets
    bytes += device.rxBytes + device.txBytes
  }
  expect([l.PACKETS_SEEN, l.BYTES_SEEN]).toEqual([packets, bytes])
  return { records, a, b }
}

/** Waits until no device counter moves: FINs and delayed ACKs are through. */
async function quiet(net: TestNet): Promise<void> {
  let last = ''
  for (let same = 0; same < 3; ) {
    await sleep(60)
    const now = JSON.stringify(net.pods.map((pod) => net.counters(pod)))
    same = now === last ? same + 1 : 0
    last = now
  }
}

describeKernel('sums of flows', () => {
  for (const [family, v, address] of [
    ['AF_INET', '4', '10.77.2.2'],
    ['AF_INET6', '6', 'fd77:2::2'],
  ] as const) {
    it(`equal the device's counters for a TCP transfer in large segments, IPv${v}`, async () => {
      const bytes = 50_000_000
      const { records, a } = await exactly(`big${v}`, async (net, a, b) => {
        await net.serve(b, sink(family, 'tcp', address))
        net.python(a, tcpClient(family, address, bytes, 1))
      })
      const sums = sumsOf(driven(records), a)
      expect(sums.rxBytes).toBeGreaterThan(bytes)
      // Large segments went through as one packet each: what a packet of 1,500 bytes could not do.
      expect(sums.rxPackets).toBeLessThan(bytes / 3000)
    })

    it(`equal the device's counters for many short connections, IPv${v}`, async () => {
      const { records, a } = await exactly(`short${v}`, async (net, a, b) => {
        await net.serve(b, sink(family, 'tcp', address))
        net.python(a, tcpClient(family, address, 100, 300))
      })
      const fresh = driven(records).filter((r) => r.ifindex === a.ifindex && r.cause === 1)
      expect(fresh).toHaveLength(300)
      expect(fresh.every((r) => r.l4Info === 2 && (r.state & 1) === 0 && (r.state & 4) !== 0)).toBe(true)
    })

    it(`equal the device's counters and what was sent for UDP, IPv${v}`, async () => {
      const { records, a, b } = await exactly(`udp${v}`, async (net, a, b) => {
        await net.serve(b, sink(family, 'udp', address))
        net.python(a, udpClient(family, address, 2000, 500))
      })
      const header = v === '4' ? 42 : 62
      const sent = { packets: 2000, bytes: 2000 * (500 + header) }
      const answered = { packets: 2000, bytes: 2000 * (2 + header) }
      expect(sumsOf(driven(records), a)).toEqual({
        rxPackets: sent.packets,
        rxBytes: sent.bytes,
        txPackets: answered.packets,
        txBytes: answered.bytes,
      })
      expect(sumsOf(driven(records), b)).toEqual({
        rxPackets: answered.packets,
        rxBytes: answered.bytes,
        txPackets: sent.packets,
        txBytes: sent.bytes,
      })
    })

    it(`equal the device's counters and what was sent for echoes, IPv${v}`, async () => {
      const { records, a } = await exactly(`ping${v}`, (net, a) => {
        net.exec(a, 'ping', ['-q', '-f', '-c', '300', '-s', '100', address])
        net.exec(a, 'ping', ['-q', '-f', '-c', '20', '-s', '4000', address])
      })
      const sums = sumsOf(driven(records), a)
      const whole = 300 * (100 + 8 + (v === '4' ? 34 : 54))
      // 4,000 bytes go in three fragments, each with headers of its own.
      const fragments = 20 * (4008 + 3 * (v === '4' ? 34 : 62))
      expect(sums).toEqual({ rxPackets: 360, rxBytes: whole + fragments, txPackets: 360, txBytes: whole + fragments })
      // One flow to each run of ping: the later fragments did not make their own.
      expect(driven(records).filter((r) => r.ifindex === a.ifindex && r.cause === 1)).toHaveLength(2)
    })
  }
})
