import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { Collector, CollectorState, RecordClock, ReplaySource } from '../collector/index.ts'
import { FlowEncoder, LineBuffer } from '../exporters/json-log/index.ts'
import type { FlowStore } from '../model/contracts.ts'
import { type FlowSpec, TestFlowStore } from './helpers/flow-store.ts'

/** The log's lines of all flows of a store, but for what a replay gives anew. */
function linesOf(store: FlowStore): string[] {
  const encoder = new FlowEncoder()
  const out = new LineBuffer(256 * 1024)
  const view = store.createView()
  const lines: string[] = []
  for (let sequence = store.first; sequence < store.end; sequence++) {
    store.seek(view, sequence)
    const end = encoder.encode(view, out, 0)
    const line = Buffer.from(out.bytes.buffer, 0, end).toString('utf8')
    lines.push(line.replace(/"uuid":"[^"]*"/, '"uuid":"-"'))
  }
  return lines
}

const ip4 = fc.ipV4()
const ip6 = fc
  .tuple(fc.integer({ min: 1, max: 0xffff }), fc.integer({ min: 1, max: 0xffff }))
  .map(([a, b]) => `fd00::${a.toString(16)}:${b.toString(16)}`)
const addresses = fc.oneof(fc.tuple(ip4, ip4), fc.tuple(ip6, ip6))
const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/)
const peer = fc.record({
  id: fc.nat(65_535),
  identity: fc.integer({ min: 1, max: 70_000 }),
  namespace: word,
  podName: word,
  labels: fc.array(
    word.map((text) => `k8s:app=${text}`),
    { maxLength: 2 },
  ),
  workloads: fc.array(fc.record({ name: word, kind: fc.constant('Deployment') }), { maxLength: 1 }),
  clusterName: fc.constantFrom('', 'c1'),
})
const transport = fc.oneof(
  fc.record({ protocol: fc.constant(6), srcPort: fc.nat(65_535), dstPort: fc.nat(65_535), l4Info: fc.nat(511) }),
  fc.record({ protocol: fc.constant(17), srcPort: fc.nat(65_535), dstPort: fc.nat(65_535) }),
)
const counts = fc.record({
  packets: fc.nat(0xffff_ffff),
  replyPackets: fc.nat(1000),
  bytes: fc.nat(0xffff_ffff),
  replyBytes: fc.nat(1000),
  rttUs: fc.nat(1_000_000),
  srttUs: fc.nat(1_000_000),
  retransmits: fc.nat(65_535),
  drops: fc.nat(65_535),
  vlan: fc.nat(4095),
})
const l7 = fc.oneof(
  fc.record({
    type: fc.constantFrom(1, 2),
    latencyNs: fc.nat(2_000_000_000),
    traceId: fc.constant(''),
    dns: fc.record({
      query: word.map((text) => `${text}.example.`),
      ips: fc.array(ip4, { maxLength: 2 }),
      ttl: fc.nat(86_400),
      cnames: fc.array(
        word.map((text) => `${text}.`),
        { maxLength: 1 },
      ),
      observationSource: fc.constant('kernel'),
      rcode: fc.nat(23),
      qtypes: fc.constant(['A']),
      rrtypes: fc.constantFrom([], ['A']),
    }),
  }),
  fc.record({
    type: fc.constantFrom(1, 2),
    latencyNs: fc.nat(2_000_000_000),
    traceId: fc.constantFrom('', '0af7651916cd43dd8448eb211c80319c'),
    http: fc.record({
      code: fc.constantFrom(0, 200, 503),
      method: fc.constantFrom('GET', ''),
      url: fc.webUrl(),
      protocol: fc.constant('HTTP/1.1'),
      headers: fc.array(fc.record({ key: word, value: fc.string({ maxLength: 10 }) }), { maxLength: 2 }),
    }),
  }),
)
const traceFlow: fc.Arbitrary<FlowSpec> = fc
  .record({
    addresses,
    transport,
    counts,
    source: peer,
    destination: peer,
    isReply: fc.constantFrom(true, false, undefined),
    direction: fc.constantFrom('ingress' as const, 'egress' as const, 'unknown' as const),
    point: fc.constantFrom(3, 5, 10, 11, 101),
    traceReason: fc.integer({ min: 1, max: 4 }),
    cause: fc.integer({ min: 1, max: 8 }),
    encrypted: fc.boolean(),
    destinationNames: fc.array(
      word.map((text) => `${text}.example`),
      { minLength: 1, maxLength: 2 },
    ),
  })
  .map(({ addresses: [srcIp, dstIp], transport, counts, ...rest }) => ({
    srcIp,
    dstIp,
    ...transport,
    ...counts,
    ...rest,
  }))
const dropFlow: fc.Arbitrary<FlowSpec> = traceFlow.map((flow) => ({
  ...flow,
  verdict: 2,
  hubbleReason: 133,
  dropReason: 3,
  dropLocation: 0x5c,
  drops: 1,
}))
const l7Flow: fc.Arbitrary<FlowSpec> = fc.tuple(traceFlow, l7).map(([flow, l7]) => {
  const { vlan: _, isReply: __, ...rest } = flow
  const none = { packets: 0, replyPackets: 0, bytes: 0, replyBytes: 0, rttUs: 0, srttUs: 0, retransmits: 0, drops: 0 }
  return { ...rest, ...none, protocol: 'dns' in l7 ? 17 : 6, isReply: l7.type === 2, cause: 9, l7, l4Info: 0 }
})

test('a replay of the agent’s own log gives the same log again', async () => {
  const flows = fc.sample(fc.oneof(traceFlow, dropFlow, l7Flow), { seed: 23, numRuns: 400 })
  const recorded = new TestFlowStore(1000)
  recorded.push(...flows)
  const lines = linesOf(recorded)

  const directory = mkdtempSync(join(tmpdir(), 'sluice-round-trip-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'events.log')
  writeFileSync(path, lines.join(''))
  const state = new CollectorState({ nodeName: 'node-1', uuidSeed: new Uint32Array(4), history: { capacity: 1000 } })
  const source = new ReplaySource({ path, speed: Number.POSITIVE_INFINITY, times: 'original' }, state)
  const clock = new RecordClock({ readOffset: () => 0n })
  await using collector = new Collector({ state, clock, sources: [source], exporters: [] })
  collector.start()
  await source.start()

  expect(source.mistakes).toEqual([])
  const again = linesOf(state.history)
  expect(again.length).toBe(lines.length)
  again.forEach((line, i) => {
    expect(JSON.parse(line)).toEqual(JSON.parse(lines[i]!))
  })
})
