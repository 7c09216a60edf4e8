import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { KernelPrograms } from '../helpers/kernel-programs.ts'
import type { KernelRecord } from '../helpers/kernel-records.ts'
import { TestNet, type TestPod } from '../helpers/netns-pair.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { TestingPrograms } from '../helpers/testing-programs.ts'

const programs = [
  'pod_egress',
  'pod_ingress',
  'flow_sweep',
  'packet_dropped',
  'segment_retransmitted',
  'tcp_state_changed',
]

/** Answers each line on a port with the same line. */
const echo = (family: string, port: number) => `
import socket, threading
s = socket.socket(socket.${family}); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', ${port})); s.listen(16); print('ready')
def serve(c):
    while True:
        d = c.recv(4096)
        if not d: break
        c.send(d)
    c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],)).start()
`

/** Connects, waits for a line on its input, sends five times, waits, ends. */
const talker = (family: string, address: string, port: number) => `
import socket, sys
s = socket.socket(socket.${family}); s.connect(('${address}', ${port})); print('connected')
for line in sys.stdin:
    s.send(b'x' * 100); s.recv(4096); print('answered')
s.close(); print('closed')
`

function pods(name: string) {
  const net = new TestNet(name, 2)
  const k = new KernelPrograms({ programs, constants: { node_netns_cookie: net.node.cookie() } })
  net.watch(k)
  k.attachTracing()
  net.up()
  const [a, b] = net.pods as [TestPod, TestPod]
  return {
    net,
    k,
    a,
    b,
    [Symbol.dispose]() {
      k[Symbol.dispose]()
      net[Symbol.dispose]()
    },
  }
}

const of = (records: readonly KernelRecord[], pod: TestPod) =>
  records.filter((r) => r.ifindex === pod.ifindex && r.protocol === 6)

describeKernel('what bpf/tcp.bpf.c knows of local sockets', () => {
  for (const [family, v, address] of [
    ['AF_INET', 4, '10.77.2.2'],
    ['AF_INET6', 6, 'fd77:2::2'],
  ] as const) {
    it(`gives handshake time and smoothed round trip on both ends, IPv${v}`, async () => {
      using world = pods(`rtt${v}`)
      const { net, k, a, b } = world
      await net.serve(b, echo(family, 7000))
      const client = await net.serve(a, talker(family, address, 7000))
      for (let i = 0; i < 5; i++) {
        client.stdin?.write('go\n')
        await sleep(20)
      }
      client.stdin?.end()
      await sleep(100)
      const records = k.records()
      for (const pod of [a, b]) {
        const last = of(records, pod).at(-1)
        // A veth on a loaded machine: microseconds, and far below a second.
        expect([pod.index, last?.rttUs]).toEqual([pod.index, expect.toSatisfy((n: number) => n > 0 && n < 500_000)])
        expect([pod.index, last?.srttUs]).toEqual([pod.index, expect.toSatisfy((n: number) => n > 0 && n < 500_000)])
        expect(of(records, pod).every((r) => r.retransmits === 0)).toBe(true)
      }
      expect(k.ledger().PACKETS_RETRANSMITTED).toBe(0)
    })
  }

  it('counts segments sent again on the flow of the socket that sent them, and the drops in between', async () => {
    using world = pods('retrans')
    const { net, k, a, b } = world
    await net.serve(b, echo('AF_INET', 9))
    const client = await net.serve(a, talker('AF_INET', '10.77.2.2', 9))
    client.stdin?.write('go\n')
    await sleep(50)
    k.records()
    {
      using testing = new TestingPrograms()
      using _ = net.attach(testing.program('drop_port_9'), b, 'egress')
      client.stdin?.write('go\n')
      await sleep(700) // 200 ms, then 400 ms: two or three attempts
    }
    await sleep(900)
    client.stdin?.end()
    await sleep(300)
    const records = k.records()
    const sent = of(records, a).reduce((n, r) => n + r.retransmits, 0)
    expect(sent).toBeGreaterThanOrEqual(2)
    expect(sent).toBe(k.ledger().PACKETS_RETRANSMITTED)
    expect(of(records, b).every((r) => r.retransmits === 0)).toBe(true)
    // The first transmission and each attempt but the last were dropped on their way to b, and told there.
    const dropped = of(records, b).filter((r) => r.verdict === 2 && r.dstPort === 9)
    expect(dropped.length).toBeGreaterThanOrEqual(2)
    expect(dropped.length).toBeLessThanOrEqual(sent + 1)
  })

  it('counts SYNs sent again to a host that does not answer', async () => {
    using world = pods('syn')
    const { net, k, a, b } = world
    using testing = new TestingPrograms()
    using _ = net.attach(testing.program('drop_port_9'), b, 'egress')
    net.tryExec(a, 'timeout', ['2', '/usr/bin/python3', '-c', `import socket; socket.socket().connect(('${b.ip}', 9))`])
    const l = k.ledger()
    expect(l.PACKETS_RETRANSMITTED).toBeGreaterThanOrEqual(1)
    // Two sweeps bring out what no packet told.
    const now = { tcpIdleNs: 0n, otherIdleNs: 0n, closedIdleNs: 0n }
    k.sweep(now)
    k.sweep(now)
    const records = of(k.records(), a).filter((r) => r.dstPort === 9)
    expect(records.reduce((n, r) => n + r.retransmits, 0)).toBe(l.PACKETS_RETRANSMITTED)
    expect(records.reduce((n, r) => n + r.packets, 0)).toBe(1 + l.PACKETS_RETRANSMITTED)
  })
})
