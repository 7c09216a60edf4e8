import { setTimeout as sleep } from 'node:timers/promises'
import type { TestNet, TestPod } from '../helpers/netns-pair.ts'
import { ethernet, extension, ipv4, ipv6, packet, TcpFlag, tcp, udp } from '../helpers/packets.ts'
import { TestingPrograms } from '../helpers/testing-programs.ts'

/** A way to have the kernel drop packets, and how the drop must be told. */
export interface DropCase {
  /** Accepted names: kernels differ in how finely they tell reasons apart. */
  readonly reason: RegExp
  /** Whose drop it is, and which way the packet was going, seen from that pod. */
  readonly at: 'a' | 'b'
  readonly direction: 'from' | 'to'
  readonly src: string
  readonly dst: string
  readonly ports: readonly [src: number, dst: number]
  readonly protocol: number
  /** Packets dropped; `some` = at least one, the kernel decides how many. */
  readonly packets: number | 'some'
  readonly provoke: (net: TestNet, a: TestPod, b: TestPod) => unknown
}

const A = '10.77.1.2'
const B = '10.77.2.2'
const A6 = 'fd77:1:0:0:0:0:0:2'
const B6 = 'fd77:2:0:0:0:0:0:2'
const eth = ethernet({ src: '02:77:00:00:00:01', dst: '02:77:00:00:01:01' })
const times = <T>(n: number, make: (i: number) => T) => Array.from({ length: n }, (_, i) => make(i))
/** Sends datagrams from a socket of pod a. */
export const send = (net: TestNet, a: TestPod, dst: string, port: number, n: number) =>
  net.python(
    a,
    `
import socket
s = socket.socket(socket.${dst.includes(':') ? 'AF_INET6' : 'AF_INET'}, socket.SOCK_DGRAM); s.bind(('', 4444))
for i in range(${n}):
    try: s.sendto(b'x' * 64, ('${dst}', ${port}))
    except OSError: pass
`,
  )
const udpCase = { src: A, dst: B, protocol: 17 }

export const DROP_CASES: Record<string, DropCase> = {
  'a UDP port that nobody listens on': {
    ...udpCase,
    reason: /^NO_SOCKET$/,
    at: 'b',
    direction: 'to',
    ports: [4444, 7],
    packets: 3,
    provoke: (net, a) => send(net, a, B, 7, 3),
  },
  'a UDP port that nobody listens on, IPv6': {
    reason: /^NO_SOCKET$/,
    at: 'b',
    direction: 'to',
    src: A6,
    dst: B6,
    protocol: 17,
    ports: [4444, 7],
    packets: 3,
    provoke: (net, a) => send(net, a, 'fd77:2::2', 7, 3),
  },
  'a TCP port that nobody listens on': {
    reason: /^NO_SOCKET$/,
    at: 'b',
    direction: 'to',
    src: A,
    dst: B,
    protocol: 6,
    ports: [4445, 8],
    packets: 1,
    provoke: (net, a) =>
      void net.python(
        a,
        `
import socket
s = socket.socket(); s.bind(('', 4445))
try: s.connect(('${B}', 8))
except OSError: pass
`,
      ),
  },
  'a UDP checksum that is wrong': {
    ...udpCase,
    reason: /^UDP_CSUM$/,
    at: 'b',
    direction: 'to',
    ports: [40000, 7100],
    packets: 4,
    provoke: (net, a) =>
      net.inject(
        a,
        times(4, () =>
          packet(eth, ipv4({ src: A, dst: B }), udp({ dstPort: 7100, checksum: 0x1234 }), Buffer.alloc(20)),
        ),
      ),
  },
  'a TCP checksum that is wrong': {
    ...udpCase,
    protocol: 6,
    reason: /^TCP_CSUM$/,
    at: 'b',
    direction: 'to',
    ports: [40000, 7200],
    packets: 2,
    provoke: (net, a) =>
      net.inject(
        a,
        times(2, () => packet(eth, ipv4({ src: A, dst: B }), tcp({ dstPort: 7200, checksum: 0x1234 }))),
      ),
  },
  'an IP checksum that is wrong': {
    ...udpCase,
    reason: /^IP_CSUM$/,
    at: 'a',
    direction: 'from',
    ports: [40000, 9000],
    packets: 2,
    provoke: (net, a) =>
      net.inject(
        a,
        times(2, () => packet(eth, ipv4({ src: A, dst: B, checksum: 0x1234 }), udp())),
      ),
  },
  'an IP header length that cannot be': {
    ...udpCase,
    reason: /^IP_INHDR$/,
    at: 'a',
    direction: 'from',
    ports: [0, 0],
    packets: 2,
    provoke: (net, a) =>
      net.inject(
        a,
        times(2, () => packet(eth, ipv4({ src: A, dst: B, ihl: 4 }), udp(), Buffer.alloc(20))),
      ),
  },
  'an IP packet longer than its frame': {
    ...udpCase,
    reason: /^PKT_TOO_SMALL$/,
    at: 'a',
    direction: 'from',
    ports: [0, 0],
    packets: 2,
    provoke: (net, a) =>
      net.inject(
        a,
        times(2, () => packet(eth, ipv4({ src: A, dst: B, totalLength: 900 }), udp())),
      ),
  },
  'a TTL that runs out': {
    ...udpCase,
    reason: /^IP_INHDR$/,
    at: 'a',
    direction: 'from',
    ports: [40000, 9001],
    packets: 2,
    provoke: (net, a) =>
      net.inject(
        a,
        times(2, () => packet(eth, ipv4({ src: A, dst: B, ttl: 1 }), udp({ dstPort: 9001 }))),
      ),
  },
  'a source that belongs elsewhere': {
    ...udpCase,
    reason: /^IP_RPFILTER$/,
    at: 'a',
    direction: 'from',
    src: '10.77.2.99',
    ports: [40000, 9002],
    packets: 2,
    provoke: (net, a) => {
      net.exec('node', 'sh', ['-c', `echo 1 > /proc/sys/net/ipv4/conf/${a.hostDevice}/rp_filter`])
      net.inject(
        a,
        times(2, () => packet(eth, ipv4({ src: '10.77.2.99', dst: B }), udp({ dstPort: 9002 }))),
      )
      net.exec('node', 'sh', ['-c', `echo 0 > /proc/sys/net/ipv4/conf/${a.hostDevice}/rp_filter`])
    },
  },
  'a destination without a route': {
    ...udpCase,
    reason: /^IP_INNOROUTES$/,
    at: 'a',
    direction: 'from',
    dst: '203.0.113.1',
    ports: [4444, 7],
    packets: 3,
    provoke: (net, a) => send(net, a, '203.0.113.1', 7, 3),
  },
  'a neighbour that does not answer': {
    ...udpCase,
    reason: /^NEIGH_(FAILED|QUEUEFULL)$/,
    at: 'b',
    direction: 'to',
    dst: '10.77.2.99',
    ports: [4444, 7],
    packets: 'some',
    provoke: async (net, a, b) => {
      net.exec('node', 'sh', [
        '-c',
        `echo 50 > /proc/sys/net/ipv4/neigh/${b.hostDevice}/retrans_time_ms; echo 1 > /proc/sys/net/ipv4/neigh/${b.hostDevice}/mcast_solicit`,
      ])
      send(net, a, '10.77.2.99', 7, 2)
      await sleep(500)
    },
  },
  'a full receive buffer': {
    ...udpCase,
    reason: /^SOCKET_RCVBUFF$/,
    at: 'b',
    direction: 'to',
    ports: [4444, 7300],
    packets: 'some',
    provoke: (net, a) => send(net, a, B, 7300, 64),
  },
  'an IP protocol that nobody speaks': {
    ...udpCase,
    protocol: 253,
    reason: /^IP_NOPROTO$/,
    at: 'b',
    direction: 'to',
    ports: [0, 0],
    packets: 2,
    provoke: (net, a) =>
      net.inject(
        a,
        times(2, () => packet(eth, ipv4({ src: A, dst: B }), Buffer.alloc(20))),
      ),
  },
  'a destination MAC of somebody else': {
    ...udpCase,
    reason: /^OTHERHOST$/,
    at: 'a',
    direction: 'from',
    ports: [40000, 9003],
    packets: 2,
    provoke: (net, a) =>
      net.inject(
        a,
        times(2, () =>
          packet(ethernet({ dst: '02:99:00:00:00:01' }), ipv4({ src: A, dst: B }), udp({ dstPort: 9003 })),
        ),
      ),
  },
  'a netfilter rule': {
    ...udpCase,
    reason: /^NETFILTER_DROP$/,
    at: 'a',
    direction: 'from',
    ports: [4444, 11],
    packets: 3,
    provoke: (net, a) => {
      net.exec('node', 'nft', [
        'add table ip t; add chain ip t f { type filter hook forward priority 0; }; add rule ip t f udp dport 11 drop',
      ])
      send(net, a, B, 11, 3)
      net.exec('node', 'nft', ['delete table ip t'])
    },
  },
  'a foreign program on the way in': {
    ...udpCase,
    reason: /^TC_INGRESS$/,
    at: 'a',
    direction: 'from',
    ports: [4444, 9],
    packets: 3,
    provoke: (net, a) => {
      using testing = new TestingPrograms()
      using _ = net.attach(testing.program('drop_port_9'), a, 'ingress')
      send(net, a, B, 9, 3)
    },
  },
  'a foreign program on the way out': {
    ...udpCase,
    reason: /^TC_EGRESS$/,
    at: 'b',
    direction: 'to',
    ports: [4444, 9],
    packets: 3,
    provoke: (net, a, b) => {
      using testing = new TestingPrograms()
      using _ = net.attach(testing.program('drop_port_9'), b, 'egress')
      send(net, a, B, 9, 3)
    },
  },
  'a full queue': {
    ...udpCase,
    reason: /^QDISC_(DROP|OVERLIMIT)$/,
    at: 'b',
    direction: 'to',
    ports: [4444, 7100],
    packets: 'some',
    provoke: (net, a, b) => {
      net.exec('node', 'tc', [
        'qdisc',
        'add',
        'dev',
        b.hostDevice,
        'root',
        'tbf',
        'rate',
        '8kbit',
        'burst',
        '1600',
        'limit',
        '1600',
      ])
      send(net, a, B, 7100, 64)
      net.exec('node', 'tc', ['qdisc', 'del', 'dev', b.hostDevice, 'root'])
    },
  },
  'a TCP segment outside the window': {
    ...udpCase,
    protocol: 6,
    reason: /^TCP_(INVALID|OLD)_(END_)?SEQUENCE$/,
    at: 'b',
    direction: 'to',
    ports: [4446, 7200],
    packets: 2,
    provoke: async (net, a) => {
      const client = await net.serve(
        a,
        `
import socket, time
s = socket.socket(); s.bind(('', 4446)); s.connect(('${B}', 7200)); print('connected'); time.sleep(60)
`,
      )
      const far = (seq: number) =>
        packet(
          eth,
          ipv4({ src: A, dst: B }),
          tcp({ srcPort: 4446, dstPort: 7200, flags: TcpFlag.ACK, seq }),
          Buffer.alloc(10),
        )
      // Of two sequence numbers half the space apart at least one is outside; both twice is enough for two.
      net.inject(a, [far(0x10000000), far(0x90000000)])
      client.kill()
    },
  },
  'an IPv6 extension header that is cut': {
    reason: /^(NOT_SPECIFIED|IPV6_BAD_EXTHDR|IP_INHDR|PKT_TOO_SMALL)$/,
    at: 'b',
    direction: 'to',
    src: A6,
    dst: B6,
    protocol: 60,
    ports: [0, 0],
    packets: 2,
    provoke: (net, a) =>
      net.inject(
        a,
        times(2, () =>
          packet(
            eth,
            ipv6({ src: 'fd77:1::2', dst: 'fd77:2::2', nextHeader: 60 }),
            packet(extension(60, 64)).subarray(0, 16),
          ),
        ),
      ),
  },
}
