import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { EventCause, EventType, FlowState, ObservationPoint, Verdict } from '../../model/layouts.gen.ts'
import { dropReasonNames, KernelSymbols } from '../helpers/kernel-names.ts'
import { gapsNow, type KernelLedger, KernelPrograms, NO_GAPS } from '../helpers/kernel-programs.ts'
import type { KernelRecord } from '../helpers/kernel-records.ts'
import { TestNet, type TestPod } from '../helpers/netns-pair.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { DROP_CASES, type DropCase, send } from './drop-cases.ts'

const symbols = new KernelSymbols()
const reasons = dropReasonNames()

describeKernel('drops told by bpf/kfree_skb.bpf.c', () => {
  let net: TestNet
  let k: KernelPrograms
  let a: TestPod
  let b: TestPod

  beforeAll(async () => {
    net = new TestNet('drops', 2)
    ;[a, b] = net.pods as [TestPod, TestPod]
    k = new KernelPrograms({
      programs: [
        'pod_egress',
        'pod_ingress',
        'flow_sweep',
        'packet_dropped',
        'segment_retransmitted',
        'tcp_state_changed',
      ],
      constants: { kernel_base: symbols.base, node_netns_cookie: net.node.cookie() },
    })
    net.watch(k)
    k.attachTracing()
    net.up()
    await net.serve(
      b,
      `
import socket, time
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 7100))
t = socket.socket(); t.bind(('', 7200)); t.listen(8)
r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); r.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048); r.bind(('', 7300))
print('ready'); time.sleep(600)
`,
    )
  })
  afterAll(() => {
    k?.[Symbol.dispose]()
    net?.[Symbol.dispose]()
  })

  for (const [name, wanted] of Object.entries(DROP_CASES)) {
    it(`name reason, place, flow, pod and direction of ${name}`, async () => {
      const before = k.dropCounts()
      k.records()
      await wanted.provoke(net, a, b)
      // The kernel drops some of them later: a neighbour's answer is waited for, timers run.
      const drops: KernelRecord[] = []
      const isMine = (r: KernelRecord) => wanted.reason.test(nameOf(r.dropReason))
      for (let waited = 0; waited < 3000 && drops.filter(isMine).length < enough(wanted); waited += 20) {
        await sleep(20)
        drops.push(...k.records().filter((r) => r.type === EventType.DROP))
      }
      const pod = wanted.at === 'a' ? a : b
      const mine = drops.filter(isMine)
      expect(mine.length, told(drops)).toBeGreaterThan(0)
      if (wanted.packets !== 'some') expect(mine.length, told(drops)).toBe(wanted.packets)
      for (const r of mine) expect(shape(r)).toEqual(expectedShape(wanted, pod))
      // The exact counter of this pod and reason moved by as many.
      const direction = wanted.direction === 'to' ? 1 : 2
      const row = (rows: typeof before) =>
        rows
          .filter((d) => d.slot === pod.slot && d.direction === direction && wanted.reason.test(nameOf(d.reason)))
          .reduce((n, d) => n + d.packets, 0)
      expect(row(k.dropCounts()) - row(before)).toBe(mine.length)
    })
  }

  it('are none where nothing is wrong', async () => {
    await net.serve(b, HEALTHY_SERVER)
    // On a slow machine segments are sent again, and one of them may find its socket gone: a real drop. Then once more.
    let rounds = 0
    let drops: KernelRecord[]
    let before: KernelLedger
    let l: KernelLedger
    do {
      k.records()
      before = k.ledger()
      for (const address of [b.ip, b.ip6]) {
        net.python(a, healthyClient(address))
        net.exec(a, 'ping', ['-q', '-c', '3', '-i', '0.01', address])
      }
      await sleep(50)
      drops = k.records().filter((r) => r.type === EventType.DROP)
      l = k.ledger()
    } while (l.PACKETS_RETRANSMITTED !== before.PACKETS_RETRANSMITTED && ++rounds < 10)
    expect(drops.length, told(drops)).toBe(0)
    expect(l.PACKETS_DROPPED - before.PACKETS_DROPPED).toBe(0)
    // What the kernel freed in the course of things is counted apart.
    expect(l.PACKETS_DROPPED_CONSUMED - before.PACKETS_DROPPED_CONSUMED).toBeGreaterThan(0)
  })

  it('leave out packets of namespaces that nobody watches, and count them', () => {
    using other = new TestNet('foreign', 2)
    other.up()
    const before = k.ledger()
    const [x] = other.pods as [TestPod, TestPod]
    k.records()
    send(other, x, '10.77.2.2', 7, 5)
    const l = k.ledger()
    expect(l.PACKETS_DROPPED_FOREIGN - before.PACKETS_DROPPED_FOREIGN).toBeGreaterThanOrEqual(5)
    expect(l.PACKETS_DROPPED).toBe(before.PACKETS_DROPPED)
    expect(k.records()).toEqual([])
  })

  it('keep the ledger closed', () => {
    const l = k.ledger()
    expect(gapsNow(k)).toEqual(NO_GAPS)
    const counted = k.dropCounts().reduce((n, d) => n + d.packets, 0)
    expect([counted, l.DROP_COUNTER_FULL]).toEqual([l.PACKETS_DROPPED, 0])
  })
})

/** Echoes on TCP 7400 (also ends by RST when told to) and UDP 7401. */
const HEALTHY_SERVER = `
import socket, struct, threading
t = socket.socket(socket.AF_INET6); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
t.bind(('', 7400)); t.listen(64)
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(('', 7401))
print('ready')
def udp():
    while True:
        d, a = u.recvfrom(2048); u.sendto(d, a)
threading.Thread(target=udp).start()
def serve(c):
    while True:
        try: d = c.recv(4096)
        except ConnectionError: break
        if not d: break
        c.send(d)
        if d == b'close': break
    c.close()
while True:
    threading.Thread(target=serve, args=(t.accept()[0],)).start()
`

/** Connections that end in each ordinary way, and datagrams that are answered. */
const healthyClient = (address: string) => `
import socket, struct, time
for i in range(20):
    c = socket.create_connection(('${address}', 7400))
    c.send(b'hello'); c.recv(64)
    if i % 4 == 0: c.shutdown(socket.SHUT_WR); assert c.recv(64) == b''
    if i % 4 == 1: c.send(b'close'); c.recv(64); assert c.recv(64) == b''
    if i == 19: time.sleep(0.1); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)) # RST, when all is acknowledged
    if i % 4 == 2: c.send(b'close'); c.recv(64); time.sleep(0.01)
    c.close()
u = socket.socket(socket.${address.includes(':') ? 'AF_INET6' : 'AF_INET'}, socket.SOCK_DGRAM); u.connect(('${address}', 7401))
for i in range(10):
    u.send(b'hello'); u.recv(64)
`

const enough = (wanted: DropCase): number => (wanted.packets === 'some' ? 1 : wanted.packets)

const nameOf = (reason: number): string => reasons.get(reason) ?? ''

function told(drops: readonly KernelRecord[]): string {
  return drops
    .map(
      (r) =>
        `${reasons.get(r.dropReason)} ${r.src}:${r.srcPort} > ${r.dst}:${r.dstPort} if ${r.ifindex} at ${symbols.at(r.dropLocation)}`,
    )
    .join('\n')
}

function shape(r: KernelRecord) {
  return {
    src: r.src,
    dst: r.dst,
    ports: [r.srcPort, r.dstPort],
    protocol: r.protocol,
    ifindex: r.ifindex,
    fromPod: (r.state & FlowState.FROM_POD) !== 0,
    point: r.point,
    verdict: r.verdict,
    cause: r.cause,
    counted: [r.packets, r.bytes, r.drops],
    place: symbols.at(r.dropLocation) !== '' && r.dropLocation !== 0,
  }
}

function expectedShape(wanted: DropCase, pod: TestPod): ReturnType<typeof shape> {
  const fromPod = wanted.direction === 'from'
  return {
    src: wanted.src,
    dst: wanted.dst,
    ports: [...wanted.ports],
    protocol: wanted.protocol,
    ifindex: pod.ifindex,
    fromPod,
    point: fromPod ? ObservationPoint.FROM_ENDPOINT : ObservationPoint.TO_ENDPOINT,
    verdict: Verdict.DROPPED,
    cause: EventCause.DROP,
    counted: [0, 0, 1],
    place: true,
  }
}
