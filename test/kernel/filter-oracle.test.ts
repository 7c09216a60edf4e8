import { expect, it } from 'vitest'
import { RecordClock } from '../../collector/clock.ts'
import { KernelFilter } from '../../collector/filtering/index.ts'
import { Collector } from '../../collector/pipeline.ts'
import { CollectorState } from '../../collector/state.ts'
import { Judge } from '../../filters/judge.ts'
import { compileKernelPlan } from '../../filters/kernel/index.ts'
import { ALL_KINDS, type RuleSet } from '../../filters/rules.ts'
import type { FlowView } from '../../model/flow-view.ts'
import {
  EndpointKind,
  EventKind,
  EventType,
  FILTER_MATCH,
  FilterLimit,
  FilterMatchId,
  FLOW_ENTRY,
  L7Kind,
} from '../../model/layouts.gen.ts'
import { makeConsumer, makePopulation, type Population, ruleSetOf } from '../helpers/filter-cases.ts'
import {
  ORACLE_NODE,
  ORACLE_NODE_LABELS,
  type OracleEnd,
  type OracleFlow,
  oracleTakes,
} from '../helpers/filter-oracle.ts'
import { KernelPrograms } from '../helpers/kernel-programs.ts'
import { ethernet, icmp, icmpv6, ipv4, ipv6, packet, sctp, TcpFlag, tcp, udp } from '../helpers/packets.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { Random } from '../interop/filters-oracle/random.ts'

const SEED = Number(process.env['FILTER_SEED'] ?? 11)
const SETS = 60
const FLOWS = 40
/** Test runs are on the loopback device unless told otherwise. */
const IFINDEX = 1
/** Takes everything, so that there is always a record to look at. */
const WITNESS = 29
const PORTS = [53, 80, 443, 8080, 40000]

const NOBODY = { port: 0, namespace: '', pod: '', labels: {}, workload: undefined }
/** Ends that are no pods: what the collector's tables make of them is in the identity. */
const OTHERS: readonly OracleEnd[] = [
  { ...NOBODY, ip: '169.254.1.1', identity: 1 },
  { ...NOBODY, ip: 'fe80::1', identity: 1 },
  { ...NOBODY, ip: '10.9.0.1', identity: 1 },
  { ...NOBODY, ip: '10.9.0.2', identity: 6 },
]

interface World {
  readonly k: KernelPrograms
  readonly state: CollectorState
  readonly collector: Collector
  readonly judge: Judge
  readonly filter: KernelFilter
  readonly population: Population
}

function makeWorld(random: Random): World & AsyncDisposable {
  const k = new KernelPrograms({ programs: ['pod_egress', 'pod_ingress', 'flow_sweep'] })
  k.watch(IFINDEX, 1, EndpointKind.POD)
  k.captureL7(53, L7Kind.DNS)
  k.captureL7(80, L7Kind.HTTP)
  const state = new CollectorState({ nodeName: ORACLE_NODE, uuidSeed: new Uint32Array(4), history: { capacity: 4096 } })
  const judge = new Judge({ historyEnd: () => state.history.end })
  const filter = new KernelFilter({ maps: k, ring: k.ring, state, judge })
  const collector = new Collector({
    state,
    clock: new RecordClock({ readOffset: () => 0n }),
    sources: [{ name: 'kernel', reader: k.ring }],
    exporters: [],
  })
  const population = populate(random, state)
  return {
    ...{ k, state, collector, judge, filter, population },
    async [Symbol.asyncDispose]() {
      await filter[Symbol.asyncDispose]()
      k[Symbol.dispose]()
    },
  }
}

/** Tells the collector of everybody. All pods are behind one device that nobody knows: their addresses tell them apart. */
function populate(random: Random, state: CollectorState): Population {
  const made = makePopulation(random, 12)
  state.endpoints.addInterface({ ifindex: IFINDEX, name: 'veth', ips: [] })
  state.upsertNode({ name: ORACLE_NODE, ips: ['10.9.0.1'], labels: ORACLE_NODE_LABELS })
  state.upsertNode({ name: 'node-2', ips: ['10.9.0.2'], labels: {} })
  state.setCidrs([{ cidr: '198.51.100.0/24', labels: ['cidr-group:partner'] }])
  const byPod = new Map<string, OracleEnd[]>()
  for (const end of made.pods) byPod.set(end.pod, [...(byPod.get(end.pod) ?? []), end])
  for (const [name, ends] of byPod) {
    const { namespace, labels, workload } = ends[0]!
    const { 'io.kubernetes.pod.namespace': _, ...own } = labels
    state.upsertPod({
      ...{ namespace, name, uid: name, labels: own, workload, nodeName: ORACLE_NODE },
      ...{ ips: ends.map(({ ip }) => ip), namespaceLabels: {}, serviceAccount: '', hostNetwork: false },
    })
  }
  const identified = (end: OracleEnd): OracleEnd => ({ ...end, identity: identityOf(state, end.ip) })
  return { pods: made.pods.map(identified), world: [...made.world.map(identified), ...OTHERS] }
}

function identityOf(state: CollectorState, ip: string): number {
  const range = state.endpoints.cluster.cidrs()[0]!
  if (ip.startsWith('198.51.100.')) return state.endpoint(range.ref).identity
  const pod = [...state.endpoints.localEndpoints()].find((one) => hasIp(state, one.ref, ip))
  return pod?.identity ?? 2
}

function hasIp(state: CollectorState, ref: number, ip: string): boolean {
  let found = false
  state.endpoints.addresses.forEach((words, at, known) => {
    if (known === ref && textOf(words, at) === ip) found = true
  })
  return found
}

function textOf(words: Uint32Array, at: number): string {
  const bytes = new Uint8Array(words.slice(at, at + 4).buffer)
  if (words[at] === 0 && words[at + 1] === 0) return bytes.subarray(12).join('.')
  const last = (bytes[14]! << 8) | bytes[15]!
  return `fd00::${last.toString(16)}`
}

interface Sent {
  readonly program: 'pod_egress' | 'pod_ingress'
  readonly bytes: Buffer
  readonly source: OracleEnd
  readonly destination: OracleEnd
  readonly protocol: OracleFlow['protocol']
  readonly flags: number
  readonly dns?: { query: string }
  readonly http?: { method: string; code: number }
}

/** A first packet of a flow, from or to a pod. The destination's port says first what a message is. */
function makePacket(random: Random, { pods, world }: Population): Sent {
  const local = random.pick(pods)
  const is6 = local.ip.includes(':')
  const others = (random.chance(0.5) ? pods : world).filter(({ ip }) => ip.includes(':') === is6 && ip !== local.ip)
  const peer = random.pick(others)
  const isFromPod = random.chance(0.5)
  const protocol = random.pick(['tcp', 'tcp', 'tcp', 'udp', 'udp', 'sctp', is6 ? 'icmpv6' : 'icmp'] as const)
  const hasPorts = !protocol.startsWith('icmp')
  const ended = (end: OracleEnd): OracleEnd => ({ ...end, port: hasPorts ? random.pick(PORTS) : 0 })
  const source = ended(isFromPod ? local : peer)
  const destination = ended(isFromPod ? peer : local)
  const flags =
    protocol === 'tcp'
      ? random.pick([TcpFlag.SYN, TcpFlag.SYN | TcpFlag.ACK, TcpFlag.ACK, TcpFlag.FIN | TcpFlag.ACK])
      : 0
  const ports = { srcPort: source.port, dstPort: destination.port }
  const l7Port = [destination.port, source.port].find((port) => port === 53 || port === 80)
  const isDns = protocol === 'udp' && l7Port === 53
  const isHttp = protocol === 'tcp' && flags === TcpFlag.ACK && l7Port === 80
  const dns = isDns ? { query: random.pick(['api.example.com.', 'db.shop.svc.', 'x.']) } : undefined
  const method = random.pick(['GET', 'POST'])
  const l4 = {
    tcp: () => tcp({ ...ports, flags, seq: 7 }),
    udp: () => udp(ports),
    sctp: () => sctp({ ...ports, chunk: 1 }),
    icmp: () => icmp({ type: random.pick([8, 0]), id: 5 }),
    icmpv6: () => icmpv6({ type: random.pick([128, 129]), id: 5 }),
  }[protocol]()
  const l3 = is6 ? ipv6({ src: source.ip, dst: destination.ip }) : ipv4({ src: source.ip, dst: destination.ip })
  const payload = dns
    ? dnsQuery(dns.query)
    : isHttp
      ? Buffer.from(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`)
      : Buffer.alloc(8)
  return {
    program: isFromPod ? 'pod_egress' : 'pod_ingress',
    bytes: packet(ethernet(), l3, l4, payload),
    ...{ source, destination, protocol, flags },
    ...(dns && { dns }),
    ...(isHttp && { http: { method, code: 0 } }),
  }
}

function dnsQuery(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '')
  const question = labels.flatMap((label) => [label.length, ...Buffer.from(label)])
  return Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...question, 0, 0, 1, 0, 1])
}

/** What the kernel would say of a drop of the flow: its match says it for every kind. */
function dropBits(k: KernelPrograms): number {
  const [flow] = k.flows() as [{ key: Buffer; entry: Buffer }]
  const words = [0, 1].map((i) => flow.entry.readUInt32LE(FLOW_ENTRY.filter + 4 * i))
  const word = words.find((one) => one !== 0) ?? 0
  const id = word & (FilterLimit.MATCHES - 1)
  expect(id, 'the flow was judged').toBeGreaterThanOrEqual(FilterMatchId.FIRST)
  const set = (word >>> (FilterLimit.MATCH_BITS + 2)) & 1
  const value = Buffer.alloc(FILTER_MATCH.SIZE)
  const key = Buffer.alloc(4)
  key.writeUInt32LE(set * FilterLimit.MATCHES + id)
  k.map('filter_matches').lookup(key, value)
  return value.readUInt32LE(FILTER_MATCH.consumers + 4 * EventKind.KIND_DROP)
}

function forgetFlows(k: KernelPrograms): void {
  for (const { key } of k.flows()) k.map('flows').delete(key)
}

/** The plain flow of a record. Who opened it, and so direction and reply, is the flow table's to say. */
function oracleFlowOf(sent: Sent, view: FlowView): OracleFlow {
  const { source, destination, protocol } = sent
  const isMessage = view.type === EventType.DNS || view.type === EventType.HTTP
  const isTcpFlag = protocol === 'tcp' && (sent.flags & 7) !== 0
  const kind = isMessage
    ? view.type === EventType.DNS
      ? 'KIND_DNS'
      : 'KIND_HTTP'
    : isTcpFlag
      ? 'KIND_TCP_FLAG'
      : 'KIND_FLOW'
  return {
    ...{ source, destination, protocol, kind, dropReason: 0 },
    family: source.ip.includes(':') ? 6 : 4,
    direction: (['unknown', 'ingress', 'egress'] as const)[view.trafficDirection]!,
    isReply: view.isReply === true,
    flags: isMessage ? 0 : sent.flags,
    ...(isMessage && sent.dns && { dns: sent.dns }),
    ...(isMessage && sent.http && { http: sent.http }),
  }
}

function withWitness(set: RuleSet): RuleSet {
  return {
    consumers: [...set.consumers, { name: 'witness', bit: WITNESS, kinds: ALL_KINDS, isOn: true, rules: [] }],
  }
}

describeKernel('filters: oracle, judge and kernel', () => {
  it('give three equal answers of random rules and flows', async () => {
    const random = new Random(SEED)
    await using world = makeWorld(random)
    const { k, state, collector, judge, filter, population } = world
    const view = state.history.createView()
    const asked = { records: 0, pairs: 0, exact: 0, wanted: 0, messages: 0, drops: 0 }
    for (let round = 0; round < SETS; round++) {
      const consumers = random.list(1, 6, () => makeConsumer(random))
      const set = withWitness(ruleSetOf(consumers))
      await filter.apply(set)
      collector.drain()
      const { exactBits, filtersNothing } = compileKernelPlan(set, {
        nodeName: ORACLE_NODE,
        nodeLabels: state.nodeLabels,
      })
      for (let i = 0; i < FLOWS; i++) {
        const sent = makePacket(random, population)
        const first = state.history.end
        k.run(sent.program, sent.bytes)
        collector.drain()
        const drop = filtersNothing ? undefined : dropBits(k)
        forgetFlows(k)
        const wantedRecords = sent.dns || sent.http ? 2 : 1
        expect(state.history.end - first, JSON.stringify(sent)).toBe(wantedRecords)
        for (let sequence = first; sequence < state.history.end; sequence++) {
          state.history.seek(view, sequence)
          const flow = oracleFlowOf(sent, view)
          asked.records++
          if (view.isL7) asked.messages++
          consumers.forEach((consumer, bit) => {
            const taken = oracleTakes(consumer, flow)
            const inKernel = ((view.consumers >>> bit) & 1) === 1
            const isExact = ((exactBits >>> bit) & 1) === 1
            const said = () => JSON.stringify({ round, i, bit, taken, inKernel, isExact, flow, consumer })
            // What nobody need judge has all bits.
            if (isExact && !filtersNothing ? inKernel !== taken : taken && !inKernel) expect.fail(`kernel: ${said()}`)
            if (judge.wants(bit, view) !== taken) expect.fail(`judge: ${said()}`)
            asked.pairs++
            if (isExact) asked.exact++
            if (taken) asked.wanted++
          })
          if (view.isL7 || drop === undefined) continue
          // A drop of the same packet, for rules that do not ask for its reason.
          const dropped: OracleFlow = { ...flow, kind: 'KIND_DROP', dropReason: 0 }
          consumers.forEach((consumer, bit) => {
            const inKernel = ((drop >>> bit) & 1) === 1
            const taken = oracleTakes(consumer, dropped)
            if (((exactBits >>> bit) & 1) === 1 ? inKernel !== taken : taken && !inKernel) {
              expect.fail(`kernel, of a drop: ${JSON.stringify({ round, i, bit, taken, inKernel, dropped, consumer })}`)
            }
            asked.drops++
          })
        }
      }
    }
    expect(asked.pairs).toBeGreaterThan(5000)
    expect(asked.exact).toBeGreaterThan(asked.pairs * 0.3)
    expect(asked.wanted).toBeGreaterThan(asked.pairs * 0.2)
    expect(asked.messages).toBeGreaterThan(100)
  })
})
