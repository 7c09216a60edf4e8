import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { LostRecords } from '../../model/contracts.ts'
import { ConsumerFlag } from '../../model/layouts.gen.ts'
import { flowSummary } from '../../model/summary.ts'
import { RecordClock } from '../clock.ts'
import { Collector } from '../pipeline.ts'
import { CollectorState } from '../state.ts'
import { parseFlowLine, parseTime } from './flow-line.ts'
import { MAX_LINE_BYTES } from './lines.ts'
import { type ReplayOptions, ReplaySource } from './source.ts'

const trace = {
  time: '2026-11-22T07:15:04.123456789Z',
  uuid: '5b0c6f0e-7b1d-4a53-9d0e-0c1f2a3b4c5d',
  emitter: { name: 'Hubble', version: '1.19.4' },
  verdict: 'FORWARDED',
  ethernet: { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02' },
  IP: { source: '10.1.0.7', destination: '10.1.2.9', ipVersion: 'IPv4', encrypted: true },
  l4: { TCP: { source_port: 40112, destination_port: 8080, flags: { SYN: true, ACK: true } } },
  source: {
    ID: 77,
    identity: 20001,
    cluster_name: 'c1',
    namespace: 'shop',
    labels: ['k8s:app=cart'],
    pod_name: 'cart-0',
    workloads: [{ name: 'cart', kind: 'StatefulSet' }],
  },
  destination: { identity: 20002, namespace: 'db', labels: [], pod_name: 'db-0' },
  Type: 'L3_L4',
  node_name: 'node-1',
  event_type: { type: 4, sub_type: 3 },
  traffic_direction: 'EGRESS',
  trace_observation_point: 'TO_STACK',
  trace_reason: 'ESTABLISHED',
  is_reply: false,
  destination_names: ['db.example'],
  destination_service: { name: 'db', namespace: 'db' },
  interface: { index: 12, name: 'lxc12' },
  extensions: {
    '@type': 'type.googleapis.com/google.protobuf.Struct',
    value: { packets: 7, bytes: 700, reply_packets: 3, reply_bytes: 300, rtt_us: 1500, cause: 'INTERVAL', vlan: 5 },
  },
  Summary: 'TCP Flags: SYN, ACK',
}
const drop = {
  ...trace,
  time: '2026-11-22T07:15:05Z',
  verdict: 'DROPPED',
  drop_reason: 133,
  drop_reason_desc: 'POLICY_DENIED',
  trace_observation_point: undefined,
  is_reply: undefined,
  event_type: { type: 1, sub_type: 133 },
  IP: { source: 'fd00::1', destination: 'fd00::2', ipVersion: 'IPv6' },
  l4: { ICMPv6: { type: 128 } },
  extensions: { value: { kernel_drop_reason: 'NETFILTER_DROP', drop_location: 'nf_hook_slow+0x9', drops: 1 } },
}
const dns = {
  ...trace,
  time: '2026-11-22T07:15:06.5Z',
  l4: { UDP: { source_port: 53, destination_port: 40500 } },
  Type: 'L7',
  is_reply: true,
  l7: {
    type: 'RESPONSE',
    latency_ns: '1200000',
    dns: {
      query: 'a.example.',
      ips: ['203.0.113.9'],
      ttl: 30,
      observation_source: 'proxy',
      qtypes: ['A'],
      rrtypes: ['A'],
    },
  },
  trace_context: { parent: { trace_id: '0af7651916cd43dd8448eb211c80319c' } },
  extensions: undefined,
}
const envelope = (flow: object) => JSON.stringify({ flow, node_name: 'node-1', time: trace.time })

async function replay(content: string | Buffer, options: Partial<ReplayOptions> = {}, suffix = '.jsonl') {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-replay-'))
  const path = join(directory, `flows${suffix}`)
  writeFileSync(path, content)
  const state = new CollectorState({ nodeName: 'n', uuidSeed: new Uint32Array(4), history: { capacity: 20_000 } })
  const lost: LostRecords[] = []
  state.history.onLost((event) => lost.push(event))
  const source = new ReplaySource({ path, speed: Number.POSITIVE_INFINITY, ...options }, state)
  const clock = new RecordClock({ readOffset: () => 0n })
  const collector = new Collector({ state, clock, sources: [source], exporters: [], intervalMs: 1 })
  onTestFinished(async () => {
    await source[Symbol.asyncDispose]()
    await collector.stop(100)
    rmSync(directory, { recursive: true })
  })
  collector.start()
  const flow = (sequence: number) => {
    const view = state.history.createView()
    state.history.seek(view, sequence)
    return view
  }
  return { source, state, flow, lost, collector }
}

describe('ReplaySource', () => {
  test('gives back every fact of a flow that a record can hold', async () => {
    const { source, state, flow } = await replay(`${envelope(trace)}\n${envelope(drop)}\n${envelope(dns)}`)
    await source.start()
    expect([source.flows, state.history.end]).toEqual([3, 3])
    const first = flow(0)
    expect([first.timeSecs, first.timeNanos]).toEqual([Date.parse('2026-11-22T07:15:04Z') / 1000, 123_456_789])
    expect([first.srcIp, first.dstIp, first.srcPort, first.dstPort, first.srcMac, first.dstMac]).toEqual([
      '10.1.0.7',
      '10.1.2.9',
      40112,
      8080,
      '02:00:00:00:00:01',
      '02:00:00:00:00:02',
    ])
    expect([first.verdict, first.eventType, first.eventSubType, first.observationPoint, first.traceReason]).toEqual([
      1, 4, 3, 3, 2,
    ])
    expect([first.isReply, first.trafficDirection, first.isEncrypted, first.vlan, first.cause]).toEqual([
      false,
      2,
      true,
      5,
      4,
    ])
    expect([first.packets, first.bytes, first.replyPackets, first.replyBytes, first.rttUs]).toEqual([
      7, 700, 3, 300, 1500,
    ])
    expect(first.source).toMatchObject({
      id: 77,
      identity: 20001,
      namespace: 'shop',
      podName: 'cart-0',
      clusterName: 'c1',
      labels: ['k8s:app=cart'],
      workloads: [{ name: 'cart', kind: 'StatefulSet' }],
      isLocal: true,
    })
    expect(first.destination).toMatchObject({ id: 0, identity: 20002, podName: 'db-0', isLocal: false })
    expect(state.names(first.destinationNamesRef)).toEqual(['db.example'])
    expect(state.service(first.destinationServiceRef)).toEqual({ name: 'db', namespace: 'db' })
    expect(state.interfaceName(first.ifindex)).toBe('lxc12')
    expect(flowSummary(first)).toBe('TCP Flags: SYN, ACK')

    const second = flow(1)
    expect([second.srcIp, second.dropReason, second.eventType, second.eventSubType, second.isReply]).toEqual([
      'fd00::1',
      133,
      1,
      133,
      undefined,
    ])
    expect(state.kernelDropReason(second.kernelDropReason).name).toBe('NETFILTER_DROP')
    expect([state.dropLocation(second.dropLocation), second.drops, second.packets]).toEqual(['nf_hook_slow+0x9', 1, 1])
    expect(flowSummary(second)).toBe('ICMPv6 EchoRequest')

    const third = flow(2)
    expect(third.l7).toEqual({
      type: 2,
      latencyNs: 1_200_000,
      traceId: '0af7651916cd43dd8448eb211c80319c',
      dns: {
        query: 'a.example.',
        ips: ['203.0.113.9'],
        ttl: 30,
        cnames: [],
        observationSource: 'proxy',
        rcode: 0,
        qtypes: ['A'],
        rrtypes: ['A'],
      },
    })
    expect([third.isReply, third.packets]).toEqual([true, 0])
    expect(state.namespaces.list().map(({ namespace }) => namespace)).toEqual(['db', 'shop'])
  })

  test('leaves to user space who wants a flow: no kernel has judged it', async () => {
    const { source, flow } = await replay(envelope(trace))
    await source.start()
    const { consumers } = flow(0)
    expect((consumers >>> ConsumerFlag.UNDECIDED) & 1).toBe(1)
    expect(consumers & 0x3fff_ffff).toBe(0x3fff_ffff)
  })

  test('counts and names bad lines and goes on', async () => {
    const lines = [
      '{"flow":',
      '[]',
      '{"hello":1}',
      '',
      envelope({ ...trace, time: 'yesterday' }),
      envelope({ ...trace, IP: { ...trace.IP, source: '10.1.0' } }),
      envelope({ ...trace, Type: 'SOCK' }),
      envelope({ ...dns, l7: { type: 'REQUEST', kafka: {} } }),
      'x'.repeat(MAX_LINE_BYTES + 1),
      '{"agent_event":{}}',
      '{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"12"}}',
      JSON.stringify(trace),
    ]
    const { source, state, lost } = await replay(lines.join('\n'))
    await source.start()
    expect(Object.fromEntries(source.failures)).toEqual({
      not_json: 1,
      not_an_event: 2,
      bad_time: 1,
      bad_address: 1,
      unsupported: 2,
      too_long: 1,
    })
    expect(source.mistakes.map(({ line, reason }) => `${line} ${reason}`)).toEqual([
      '1 not_json',
      '2 not_an_event',
      '3 not_an_event',
      '5 bad_time',
      '6 bad_address',
      '7 unsupported',
      '8 unsupported',
      '9 too_long',
    ])
    expect([source.lines, source.flows, state.history.end]).toEqual([12, 1, 1])
    expect(lost.map((event) => [event.source, event.count])).toEqual([[3, 12]])
  })

  test('replays more flows than its ring holds, in order, from a gzip file', async () => {
    const count = 15_000
    const base = BigInt(Date.parse('2026-11-22T00:00:00Z')) * 1_000_000n
    const lines = Array.from({ length: count }, (_, i) => {
      const l4 = { UDP: { source_port: 1 + (i % 65_535), destination_port: 53 } }
      return envelope({ ...trace, l4, time: new Date(Number(base / 1_000_000n) + i).toISOString() })
    })
    const { source, state, flow } = await replay(gzipSync(lines.join('\n')), {}, '.jsonl.gz')
    await source.start()
    expect(state.history.end).toBe(count)
    for (let i = 0; i < count; i += 97) expect(flow(i).srcPort).toBe(1 + (i % 65_535))
    expect(state.endpoints.versions.size).toBeLessThan(20)
  })

  test('paces flows by their times, divided by the speed, and gives them times of now', async () => {
    const line = (ms: number) => envelope({ ...trace, time: new Date(Date.parse(trace.time) + ms).toISOString() })
    const started = Date.now()
    const { source, flow } = await replay([line(0), line(200), line(400)].join('\n'), { speed: 4 })
    await source.start()
    const took = Date.now() - started
    expect(took).toBeGreaterThanOrEqual(95)
    expect(took).toBeLessThan(2000)
    const ms = (i: number) => flow(i).timeSecs * 1000 + flow(i).timeNanos / 1e6
    expect(Math.abs(ms(0) - started)).toBeLessThan(1000)
    expect(Math.round(ms(2) - ms(0))).toBe(100)
  })

  test('begins again when it is told to, with times that go on', async () => {
    const { source, state, flow } = await replay(`${envelope(trace)}\n${envelope(drop)}\n`, { loop: true })
    const done = source.start()
    await expect.poll(() => state.history.end).toBeGreaterThan(10)
    await source[Symbol.asyncDispose]()
    await done
    for (let i = 1; i < 10; i++) {
      expect(flow(i).unixNsHigh * 4294967296 + flow(i).unixNsLow).toBeGreaterThan(
        flow(i - 1).unixNsHigh * 4294967296 + flow(i - 1).unixNsLow,
      )
    }
  })

  test('refuses files that are not there or hold no flow', async () => {
    const empty = await replay('')
    await expect(empty.source.start()).rejects.toThrow('no flow in 0 lines, it is empty')
    const bad = await replay('not json\n')
    await expect(bad.source.start()).rejects.toThrow(/no flow in 1 lines, line 1 is not_json/)
    const missing = new ReplaySource({ path: '/nonexistent/flows.jsonl' }, empty.state)
    await expect(missing.start()).rejects.toMatchObject({ code: 'SLUICE_REPLAY_INVALID' })
    const notGzip = await replay('plain', {}, '.gz')
    await expect(notGzip.source.start()).rejects.toMatchObject({ code: 'SLUICE_REPLAY_INVALID' })
  })
})

describe('parseTime()', () => {
  test.each([
    ['1970-01-01T00:00:00Z', 0n],
    ['1970-01-01T00:00:01.5Z', 1_500_000_000n],
    ['1970-01-01T00:00:00.000000001Z', 1n],
    ['1970-01-01T02:00:00+01:00', 3_600_000_000_000n],
    ['1969-12-31T23:59:59Z', undefined],
    ['2554-07-21T23:34:33.5Z', 18_446_744_073_500_000_000n],
    ['2554-07-22T00:00:00Z', undefined],
    ['2026-13-01T00:00:00Z', undefined],
    ['2026-11-22', undefined],
    ['', undefined],
  ])('%j', (value, expected) => {
    expect(parseTime(value)).toBe(expected)
  })
})

describe('parseFlowLine()', () => {
  test('answers any text, and any damage to a flow', () => {
    const keys = [
      'flow',
      'IP',
      'l4',
      'TCP',
      'source',
      'l7',
      'dns',
      'http',
      'headers',
      'time',
      'Type',
      'verdict',
      'workloads',
      'lost_events',
    ]
    const damaged = fc
      .tuple(
        fc.constantFrom(trace, drop, dns),
        fc.array(fc.tuple(fc.constantFrom(...Object.keys(trace), 'l7'), fc.jsonValue()), { maxLength: 4 }),
      )
      .map(([flow, changes]) => envelope({ ...flow, ...Object.fromEntries(changes) }))
    const nested = fc
      .dictionary(fc.constantFrom(...keys), fc.jsonValue(), { noNullPrototype: true })
      .map((value) => JSON.stringify(value))
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), damaged, nested), (line) => {
        const parsed = parseFlowLine(line)
        if ('failure' in parsed || parsed.kind !== 'flow') return
        for (const value of [parsed.srcPort, parsed.dstPort, parsed.l4Info, parsed.extras.vlan]) {
          expect(Number.isInteger(value) && value >= 0 && value <= 0xffff).toBe(true)
        }
        expect(parsed.source.labels.every((label) => typeof label === 'string')).toBe(true)
      }),
      { seed: 19, numRuns: 4000, interruptAfterTimeLimit: 8000 },
    )
  })
})
