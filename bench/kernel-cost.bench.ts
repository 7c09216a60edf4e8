/**
 * What the tc programs cost per packet, less what an empty program costs in the same run: by test runs, where nothing
 * else happens, and by the kernel's own statistics on real traffic between two namespaces.
 */

import { BpfLink, type BpfProgram, enableStats } from '../native/index.ts'
import { gapsNow, KernelPrograms } from '../test/helpers/kernel-programs.ts'
import { TestNet, type TestPod } from '../test/helpers/netns-pair.ts'
import { ethernet, ipv4, ipv6, packet, TcpFlag, tcp } from '../test/helpers/packets.ts'
import { TestingPrograms } from '../test/helpers/testing-programs.ts'
import { type Figure, figure, median } from './figure.ts'

const ROUNDS = 9
const REPEAT = 200_000
/** New flows of one round: each a packet of its own, from its own port. */
const FLOWS = 20_000
const NEW_FLOW_ROUNDS = 5
const PROGRAMS = ['pod_egress', 'pod_ingress', 'flow_sweep']
const SIZES = { events: 16 << 20, flows: 262_144 }

const eth = ethernet()
const segment = packet(eth, ipv4(), tcp({ flags: TcpFlag.ACK }), Buffer.alloc(64))
const segment6 = packet(eth, ipv6(), tcp({ flags: TcpFlag.ACK }), Buffer.alloc(64))

/** Nanoseconds of one run, mean of many. */
function runNs(program: BpfProgram, bytes: Uint8Array, repeat: number): number {
  return program.testRun({ dataIn: bytes, repeat }).durationNs
}

/** Established flows: rounds of ours and of the empty program alternate, so that both see the same machine. */
function established(k: KernelPrograms, empty: BpfProgram, bytes: Uint8Array): number {
  const program = k.program('pod_egress')
  runNs(program, bytes, 1000)
  const costs: number[] = []
  for (let i = 0; i < ROUNDS; i++) {
    costs.push(runNs(program, bytes, REPEAT) - runNs(empty, bytes, REPEAT))
    k.records()
  }
  return median(costs)
}

/**
 * New flows: test runs of one packet say too little of their time, so the kernel's statistics are read over many.
 */
function newFlows(k: KernelPrograms, empty: BpfProgram): number {
  const program = k.program('pod_egress')
  const costs: number[] = []
  const idle = { tcpIdleNs: 0n, otherIdleNs: 0n, closedIdleNs: 0n }
  for (let round = 0; round < NEW_FLOW_ROUNDS; round++) {
    using stats = enableStats()
    void stats.fd
    const before = [program.info(), empty.info()]
    const bytes = Buffer.from(
      packet(eth, ipv4({ src: `10.9.${round}.1` }), tcp({ flags: TcpFlag.SYN }), Buffer.alloc(64)),
    )
    for (let i = 0; i < FLOWS; i++) {
      bytes.writeUInt16BE(1024 + i, 34)
      program.testRun({ dataIn: bytes, repeat: 1 })
      empty.testRun({ dataIn: bytes, repeat: 1 })
    }
    costs.push(perRun(before[0]!, program.info()) - perRun(before[1]!, empty.info()))
    k.records()
    k.sweep(idle)
    k.sweep(idle)
    k.records()
  }
  return median(costs)
}

function perRun(
  before: { runTimeNs: bigint; runCount: bigint },
  after: { runTimeNs: bigint; runCount: bigint },
): number {
  const runs = Number(after.runCount - before.runCount)
  return runs === 0 ? 0 : Number(after.runTimeNs - before.runTimeNs) / runs
}

const SINK = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7000)); print('ready')
while True:
    d, a = s.recvfrom(2048); s.sendto(d, a)
`
/** Request and answer, one after another: no batching, every packet pays for its own run. */
const talker = (address: string, count: number) => `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('${address}', 7000))
for i in range(${count}):
    s.send(b'x' * 64); s.recv(2048)
`

/** Real packets: ours and the empty program hang on the same hooks and see the same packets. */
async function realTraffic(packets: number): Promise<{ cost: number; gaps: number }> {
  using net = new TestNet('cost', 2)
  using testing = new TestingPrograms()
  using k = new KernelPrograms({ programs: PROGRAMS, maxEntries: SIZES })
  const [a, b] = net.pods as [TestPod, TestPod]
  const empty = testing.program('empty')
  const links: BpfLink[] = []
  net.watch(k)
  net.node.run(() => {
    for (const pod of [a, b])
      for (const direction of ['ingress', 'egress'] as const)
        links.push(BpfLink.attachTcx(empty, pod.ifindex, direction))
  })
  net.up()
  await net.serve(b, SINK)
  net.python(a, talker(b.ip, 200))
  using stats = enableStats()
  void stats.fd
  const ours = ['pod_egress', 'pod_ingress'].map((name) => k.program(name))
  const before = [...ours, empty].map((program) => program.info())
  net.python(a, talker(b.ip, packets))
  const after = [...ours, empty].map((program) => program.info())
  const costs = after.map((info, i) => perRun(before[i]!, info))
  for (const link of links) link[Symbol.dispose]()
  const gaps = Object.values(gapsNow(k)).filter((gap) => gap !== 0).length
  return { cost: (costs[0]! + costs[1]!) / 2 - costs[2]!, gaps }
}

export async function run(): Promise<Figure[]> {
  const figures: Figure[] = []
  using testing = new TestingPrograms()
  const empty = testing.program('empty')
  {
    using k = new KernelPrograms({ programs: PROGRAMS, maxEntries: SIZES })
    const how = `pod_egress by test run, median of ${ROUNDS} × ${REPEAT} runs, less an empty program between them`
    figures.push(
      figure(
        'kernel.established_packet',
        established(k, empty, segment),
        'ns/packet',
        '≤ 120',
        `TCP over IPv4, ${how}`,
      ),
    )
    figures.push(
      figure(
        'kernel.established_packet_ipv6',
        established(k, empty, segment6),
        'ns/packet',
        '',
        `TCP over IPv6, ${how}`,
      ),
    )
    figures.push(
      figure(
        'kernel.new_flow',
        newFlows(k, empty),
        'ns/packet',
        '≤ 800',
        `first packets of ${FLOWS} flows, each with its record; bpf_stats, less an empty program, median of ${NEW_FLOW_ROUNDS}`,
      ),
    )
    const gaps = Object.values(gapsNow(k)).filter((gap) => gap !== 0).length
    figures.push(figure('kernel.ledger_gaps', gaps, 'equations', '= 0', 'after the runs above'))
  }
  const packets = 20_000
  const { cost, gaps } = await realTraffic(packets)
  const conditions = `${packets} requests and answers over UDP between two namespaces; bpf_stats of both hooks, less an empty program on the same hooks`
  figures.push(figure('kernel.established_packet_traffic', cost, 'ns/packet', '≤ 120', conditions))
  figures.push(figure('kernel.traffic_ledger_gaps', gaps, 'equations', '= 0', conditions))
  return figures
}

export default run
