/**
 * What filters save, and what they cost: an event that is left out in the kernel against one that is kept, 256 rules against
 * one, and a change of rules on a large cluster.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { configSchema } from '../agent/config.ts'
import { silentLogger } from '../base/logger.ts'
import { JsonLogExporter, resolveJsonLogOptions } from '../exporters/json-log/index.ts'
import { PrometheusExporter } from '../exporters/prometheus/index.ts'
import { not, type Predicate } from '../filters/predicate.ts'
import type { RuleSet } from '../filters/rules.ts'
import { CONSUMER_BITS } from '../filters/rules.ts'
import type { Exporter } from '../model/contracts.ts'
import { EndpointKind, FLOW_EVENT } from '../model/layouts.gen.ts'
import { type BpfProgram, enableStats } from '../native/index.ts'
import { KernelPrograms } from '../test/helpers/kernel-programs.ts'
import { TestNet, type TestPod } from '../test/helpers/netns-pair.ts'
import { ethernet, ipv4, packet, TcpFlag, tcp } from '../test/helpers/packets.ts'
import { TestingPrograms } from '../test/helpers/testing-programs.ts'
import { type Figure, figure, median } from './figure.ts'
import { FilterNode, makeConsumer, makeRule, PEER_IP, POD_IP, podFacts, rulesOf } from './support/filter-node.ts'
import { LoopWatch } from './support/loop-watch.ts'
import { load } from './support/processes.ts'

const RATE = 50_000
const SECONDS = 4
const TURN_MS = 20
const FLOWS = 50
const ROUNDS = 7
const REPEAT = 100_000
const NEW_FLOWS = 10_000
const IDENTITIES = 40_000

const segment = (port: number, flags: number = TcpFlag.ACK) =>
  packet(
    ethernet(),
    ipv4({ src: POD_IP, dst: PEER_IP }),
    tcp({ flags, srcPort: 1024 + port, dstPort: 80 }),
    Buffer.alloc(64),
  )
const packets = Array.from({ length: FLOWS }, (_, i) => segment(i))

/** CPU nanoseconds for each of RATE events a second, in the kernel and behind it; of an empty program where it is given. */
async function perEvent(node: FilterNode, program: BpfProgram): Promise<number> {
  const turn = (RATE * TURN_MS) / 1000
  const each = turn / FLOWS
  const before = process.cpuUsage()
  const began = performance.now()
  for (let done = 0; done < RATE * SECONDS; done += turn) {
    for (const bytes of packets) program.testRun({ dataIn: bytes, repeat: each })
    while (node.collector!.drain()) await new Promise((resolve) => setImmediate(resolve))
    const wait = began + ((done + turn) / RATE) * 1000 - performance.now()
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, wait)))
  }
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1000) / (RATE * SECONDS)
}

async function savings(): Promise<Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-filters-'))
  await using node = new FilterNode(true)
  using testing = new TestingPrograms()
  const { metrics } = configSchema.parse({})
  const { judge } = node
  const prometheus = new PrometheusExporter({ metrics: metrics.handlers.join(' ') }, { logger: silentLogger, judge })
  const path = join(directory, 'events.log')
  const log = new JsonLogExporter(resolveJsonLogOptions({ path, maxBackups: 1 }), { judge })
  const exporters: Exporter[] = [prometheus, log]
  try {
    await log.start(new AbortController().signal)
    node.collect(exporters)
    const program = node.k.program('pod_egress')
    const empty = testing.program('empty')
    const consumers = [...Array(CONSUMER_BITS.METRICS).keys(), CONSUMER_BITS.LOG]
    const all = (isKept: boolean): RuleSet => {
      const client: Predicate = { op: 'pod', side: 'source', names: [{ namespace: 'shop', prefix: 'client' }] }
      const wanted = isKept ? client : not(client)
      return {
        consumers: consumers.map((bit) => makeConsumer(`c${bit}`, bit, [makeRule(`r${bit}`, 'include', wanted)])),
      }
    }
    await node.filter.apply(all(true))
    await perEvent(node, program)
    const first = await perEvent(node, empty)
    const keptRaw = await perEvent(node, program)
    await log.flush(60_000)
    await node.filter.apply(all(false))
    const before = node.k.ledger()
    const filteredRaw = await perEvent(node, program)
    const after = node.k.ledger()
    const nothing = (first + (await perEvent(node, empty))) / 2
    const kept = keptRaw - nothing
    const filtered = filteredRaw - nothing
    const conditions = `every packet an event, ${RATE.toLocaleString('en-GB')} a second for ${SECONDS} s by test runs of pod_egress; CPU time of kernel and agent, less an empty program at the same rate; kept: default metrics and the JSON log; ${load()}`
    return [
      figure('filters.event_kept', kept, 'ns/event', '', conditions),
      figure('filters.event_filtered', filtered, 'ns/event', '', conditions),
      figure('filters.filtered_to_kept', filtered / kept, 'ratio', '≤ 0.2', conditions),
      figure(
        'filters.filtered_ring_records',
        after.EVENTS_SUBMITTED - before.EVENTS_SUBMITTED,
        'records',
        '= 0',
        `of ${(after.EVENTS_FILTERED - before.EVENTS_FILTERED).toLocaleString('en-GB')} events that nobody wanted`,
      ),
    ]
  } finally {
    await log[Symbol.asyncDispose]()
    prometheus.registry.clear()
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Nanoseconds of a packet whose event is judged and left out, less an empty program; rounds alternate between nodes. */
function judged(nodes: readonly FilterNode[], empty: BpfProgram): number[] {
  const costs = nodes.map((): number[] => [])
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, node] of nodes.entries()) {
      const run = (program: BpfProgram) => program.testRun({ dataIn: packets[0]!, repeat: REPEAT }).durationNs
      costs[i]!.push(run(node.k.program('pod_egress')) - run(empty))
    }
  }
  return costs.map(median)
}

/** The same of first packets of flows: their ends are looked up and their rules found. */
function newFlows(nodes: readonly FilterNode[], empty: BpfProgram): number[] {
  const costs = nodes.map((): number[] => [])
  for (let round = 0; round < 3; round++) {
    for (const [i, { k }] of nodes.entries()) {
      const program = k.program('pod_egress')
      using stats = enableStats()
      void stats.fd
      const before = [program.info(), empty.info()] as const
      for (let n = 0; n < NEW_FLOWS; n++) {
        const bytes = segment(n + round * NEW_FLOWS, TcpFlag.SYN)
        program.testRun({ dataIn: bytes, repeat: 1 })
        empty.testRun({ dataIn: bytes, repeat: 1 })
      }
      costs[i]!.push(perRun(before[0], program.info()) - perRun(before[1], empty.info()))
      k.records()
    }
  }
  return costs.map(median)
}

function perRun(from: { runTimeNs: bigint; runCount: bigint }, to: { runTimeNs: bigint; runCount: bigint }): number {
  const runs = Number(to.runCount - from.runCount)
  return runs === 0 ? 0 : Number(to.runTimeNs - from.runTimeNs) / runs
}

async function manyRules(): Promise<Figure[]> {
  using testing = new TestingPrograms()
  const empty = testing.program('empty')
  await using one = new FilterNode(true)
  await using many = new FilterNode(true)
  await one.filter.apply(rulesOf(1))
  await many.filter.apply(rulesOf(128))
  const [oneNs, manyNs] = judged([one, many], empty) as [number, number]
  const [oneNewNs, manyNewNs] = newFlows([one, many], empty) as [number, number]
  const how = `1 and 128 rules of each of two consumers by pods, labels and ports, none of which matches; less an empty program; ${load()}`
  return [
    figure('filters.event_1_rule', oneNs, 'ns/packet', '', `established flow, each packet an event; ${how}`),
    figure('filters.event_256_rules', manyNs, 'ns/packet', '', `established flow, each packet an event; ${how}`),
    figure('filters.256_rules_to_1', manyNs / oneNs, 'ratio', '≤ 1.2', `established flow; ${how}`),
    figure('filters.new_flow_1_rule', oneNewNs, 'ns/packet', '', `first packets of ${NEW_FLOWS} flows; ${how}`),
    figure('filters.new_flow_256_rules', manyNewNs, 'ns/packet', '', `first packets of ${NEW_FLOWS} flows; ${how}`),
    figure('filters.new_flow_256_rules_to_1', manyNewNs / oneNewNs, 'ratio', '≤ 1.2', `first packets; ${how}`),
  ]
}

function addIdentities(node: FilterNode): void {
  for (let i = 0; i < IDENTITIES; i++) {
    const ip = `10.${64 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`
    node.state.upsertPod(podFacts(`ns-${i % 100}`, `web-${i}`, ip, { app: `app-${i % 1000}`, id: String(i) }))
  }
}

const SENDER = (address: string) => `
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 6000)); s.connect(('${address}', 7000)); print('ready')
while True:
    for i in range(50): s.send(b'x')
    time.sleep(0.01)
`

/** Two sets of opposite rules in turn, while another process sends: each record must be of one of the two, as a whole. */
async function changes(): Promise<Figure[]> {
  using net = new TestNet('fltbench', 2)
  const [sender, receiver] = net.pods as [TestPod, TestPod]
  const k = new KernelPrograms({
    programs: ['pod_egress', 'pod_ingress', 'flow_sweep'],
    constants: { per_packet: 1 },
    maxEntries: { events: 16 << 20 },
  })
  await using node = new FilterNode(true, k)
  addIdentities(node)
  for (const pod of net.pods) {
    k.watch(pod.ifindex, pod.slot, EndpointKind.POD)
    node.state.endpoints.addInterface({ ifindex: pod.ifindex, name: pod.hostDevice, ips: [pod.ip] })
  }
  net.watch(k)
  net.up()
  await net.serve(
    receiver,
    `import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7000)); print('ready')\nwhile True: s.recv(64)`,
  )
  await net.serve(sender, SENDER(receiver.ip))
  const port: Predicate = { op: 'port', side: 'destination', ports: [7000] }
  const opposite = [port, not(port)]
  const others = rulesOf(126).consumers[0]!.rules
  const setOf = (turn: number): RuleSet => ({
    consumers: [0, 1].map((bit) =>
      makeConsumer(`c${bit}`, bit, [
        makeRule(`own-${bit}-${turn}`, 'include', opposite[(bit + turn) % 2]!),
        ...others.map((one) => ({ ...one, id: `${one.id}/${bit}` })),
      ]),
    ),
  })
  const took: number[] = []
  let halves = 0
  let records = 0
  const check = () => {
    for (let at = k.ring.next(); at >= 0; at = k.ring.next()) {
      const consumers = k.ring.u32[(at + FLOW_EVENT.consumers) >> 2]!
      if (k.ring.u16[(at + FLOW_EVENT.dstPort) >> 1] !== 7000 || consumers === 0xffff_ffff) continue
      records++
      // Sets of even and odd turns come into force in turn: the first one, of turn 0, is generation 1.
      const turn = consumers >>> 31 === 1 ? 0 : 1
      if ((consumers & 0b11) !== 1 << turn) halves++
    }
    k.ring.release(k.ring.position)
  }
  const drain = setInterval(check, 10)
  const watch = new LoopWatch()
  for (let turn = 0; turn < 8; turn++) {
    const { tookMs } = await node.filter.apply(setOf(turn % 2))
    took.push(tookMs)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  watch[Symbol.dispose]()
  clearInterval(drain)
  check()
  const conditions = `256 rules over ${IDENTITIES.toLocaleString('en-GB')} identities, 8 changes under 5,000 packets a second, each an event; ${load()}`
  return [
    figure('filters.change', median(took), 'ms', '≤ 2000', `from the call until the rules are in force; ${conditions}`),
    figure(
      'filters.change_loop_held',
      watch.worstCpuMs,
      'ms',
      '',
      `CPU time of the process between two ticks; ${conditions}`,
    ),
    figure(
      'filters.events_by_half_a_set',
      halves,
      'events',
      '= 0',
      `of ${records.toLocaleString('en-GB')} records; ${conditions}`,
    ),
  ]
}

export async function run(): Promise<Figure[]> {
  return [...(await savings()), ...(await manyRules()), ...(await changes())]
}

export default run
