import { describe, expect, test } from 'vitest'
import type { Exporter, FlowStore, LostRecords } from '../model/contracts.ts'
import { EventType, FlowState } from '../model/layouts.gen.ts'
import { StageLedger } from '../model/ledger.ts'
import { MemoryReader, type RecordSpec } from '../test/helpers/record-reader.ts'
import { RecordClock } from './clock.ts'
import { BLOCK_FLOWS, Collector, type CollectorOptions } from './pipeline.ts'
import { CollectorState, type CollectorStateOptions } from './state.ts'

/** Notes blocks; settles when told to. */
class TestExporter implements Exporter {
  readonly name = 'test'
  readonly ledger = new StageLedger('test')
  settled = 0
  readonly blocks: [number, number][] = []
  autoSettle = false
  flushed = 0
  async start(): Promise<void> {}
  accept(_store: FlowStore, first: number, end: number): void {
    this.blocks.push([first, end])
    if (this.autoSettle) this.settled = end
  }
  async flush(): Promise<void> {
    this.flushed++
    this.settled = this.blocks.at(-1)?.[1] ?? 0
  }
  async [Symbol.asyncDispose](): Promise<void> {}
}

function setUp(options: Partial<CollectorOptions> = {}, stateOptions: Partial<CollectorStateOptions> = {}) {
  const time = { ms: 0 }
  const state = new CollectorState({
    nodeName: 'node-1',
    uuidSeed: new Uint32Array(4),
    history: { capacity: 10_000 },
    ...stateOptions,
  })
  const reader = new MemoryReader(1 << 22)
  const exporter = new TestExporter()
  const clock = new RecordClock({ readOffset: () => 1_790_000_000_000_000_000n })
  const collector = new Collector({
    state,
    clock,
    sources: [{ name: 'kernel', reader }],
    exporters: [exporter],
    monotonicMs: () => time.ms,
    wallMs: () => 1_000_000 + time.ms,
    ...options,
  })
  const flow = (sequence: number) => {
    const view = state.history.createView()
    state.history.seek(view, sequence)
    return view
  }
  return { state, reader, exporter, collector, time, flow }
}

const many = (count: number, spec: RecordSpec = {}) => Array.from({ length: count }, () => spec)

function dns(name: string, fields: { id?: number; answer?: string } = {}): Uint8Array {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)])
  const isAnswer = fields.answer !== undefined
  const header = [0, fields.id ?? 7, isAnswer ? 0x81 : 1, 0, 0, 1, 0, isAnswer ? 1 : 0, 0, 0, 0, 0]
  const question = [...labels, 0, 0, 1, 0, 1]
  const answer = isAnswer ? [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...fields.answer!.split('.').map(Number)] : []
  return Uint8Array.from([...header, ...question, ...answer])
}

describe('Collector', () => {
  test('drain() hands on blocks without gap, and the ledger closes', () => {
    const { reader, exporter, collector, state } = setUp()
    reader.push(...many(2500))
    expect(collector.drain()).toBe(false)
    expect(exporter.blocks).toEqual([
      [0, BLOCK_FLOWS],
      [BLOCK_FLOWS, 2 * BLOCK_FLOWS],
      [2 * BLOCK_FLOWS, 2500],
    ])
    expect(state.history.end).toBe(2500)
    expect(
      collector.ledger().map(({ stage, accepted, delivered, difference }) => [stage, accepted, delivered, difference]),
    ).toEqual([
      ['decode', 2500, 2500, 0],
      ['history', 2500, 2500, 0],
      ['test', 0, 0, 0],
    ])
  })

  test('drain() ends when its budget is spent and says that there is more', () => {
    let ms = 0
    const { reader, exporter, collector } = setUp({ monotonicMs: () => ms++ })
    reader.push(...many(20 * BLOCK_FLOWS))
    expect(collector.drain()).toBe(true)
    expect(exporter.blocks.length).toBeLessThan(8)
    while (collector.drain());
    expect(exporter.blocks.at(-1)?.[1]).toBe(20 * BLOCK_FLOWS)
  })

  test('counts what cannot be read by reason, and goes on', () => {
    const { reader, collector, flow, exporter } = setUp()
    reader.push(
      { version: 99 },
      { type: 0 },
      { type: 5 },
      { size: 100 },
      { type: EventType.FLOW, payload: new Uint8Array(8) },
      { type: EventType.DNS, payload: new Uint8Array(1032) },
      { type: EventType.DNS, payload: new Uint8Array(40).fill(255) },
      { ipVersion: 7 },
      { srcPort: 4242 },
    )
    collector.drain()
    expect(collector.decodeLedger.toJSON()).toEqual({
      stage: 'decode',
      accepted: 9,
      delivered: 1,
      filtered: 1,
      waiting: 0,
      lost: { unknown_version: 1, unknown_type: 2, bad_size: 3, bad_ip_version: 1 },
      difference: 0,
    })
    expect(flow(0).srcPort).toBe(4242)
    exporter.settled = 1
    collector.drain()
    expect(reader.released).toBe(reader.position)
  })

  test('gives back what was skipped in the source, without a flow and in its turn', () => {
    const { reader, collector, exporter } = setUp()
    reader.position = 4096
    collector.drain()
    expect(reader.released).toBe(4096)
    const again = setUp({ exporters: [exporter] })
    again.reader.push({})
    again.collector.drain()
    again.reader.position += 4096
    again.collector.drain()
    expect(again.reader.released).toBe(0)
    exporter.settled = 1
    again.collector.drain()
    expect(again.reader.released).toBe(128 + 4096)
  })

  test('releases the source only as far as every exporter has settled', () => {
    const second = new TestExporter()
    second.autoSettle = true
    const { reader, collector, exporter } = setUp()
    const both = setUp({ exporters: [exporter, second] })
    both.reader.push(...many(BLOCK_FLOWS + 10))
    both.collector.drain()
    expect(both.reader.released).toBe(0)
    exporter.settled = BLOCK_FLOWS - 1
    both.collector.drain()
    expect(both.reader.released).toBe(0)
    exporter.settled = BLOCK_FLOWS
    both.collector.drain()
    expect(both.reader.released).toBe(BLOCK_FLOWS * 128)
    exporter.settled = BLOCK_FLOWS + 10
    both.collector.drain()
    expect(both.reader.released).toBe((BLOCK_FLOWS + 10) * 128)
    expect(both.collector.releasedUnsettled).toBe(0)
    expect([reader.released, collector.heldBytes(0)]).toEqual([0, 0])
  })

  test('an exporter that settles nothing holds the source no further than its bound, counted', () => {
    const reader = new MemoryReader(1 << 22)
    const { collector, exporter } = setUp({ sources: [{ name: 'kernel', reader, holdBytes: 4 * BLOCK_FLOWS * 128 }] })
    reader.push(...many(10 * BLOCK_FLOWS))
    while (collector.drain());
    expect(reader.released).toBe(6 * BLOCK_FLOWS * 128)
    expect(collector.releasedUnsettled).toBe(6 * BLOCK_FLOWS)
    exporter.settled = 8 * BLOCK_FLOWS
    collector.drain()
    expect(reader.released).toBe(8 * BLOCK_FLOWS * 128)
    expect(collector.releasedUnsettled).toBe(6 * BLOCK_FLOWS)
  })

  test('reads several sources in turn and releases each to its own position', () => {
    const a = new MemoryReader()
    const b = new MemoryReader()
    const { collector, exporter, state } = setUp({
      sources: [
        { name: 'a', reader: a },
        { name: 'b', reader: b, clock: 'wall' },
      ],
    })
    a.push(...many(3))
    b.push(...many(5, { timeNs: 1_780_000_000_000_000_000n }))
    collector.drain()
    exporter.settled = state.history.end
    collector.drain()
    expect([a.released, b.released]).toEqual([3 * 128, 5 * 128])
    expect(state.history.end).toBe(8)
  })

  test('tells once a second what the kernel’s ring lost, from its start on', () => {
    const kernel = { lost: 500 }
    const { collector, state, time } = setUp({ kernel: { ringLost: () => kernel.lost, ledger: () => [] } })
    const told: LostRecords[] = []
    state.history.onLost((lost) => told.push(lost))
    kernel.lost = 507
    collector.drain()
    expect(told).toEqual([])
    time.ms = 1000
    collector.drain()
    time.ms = 2100
    collector.drain()
    expect(told).toEqual([{ source: 1, count: 7, cpu: undefined, firstMs: 1_000_000, lastMs: 1_001_000 }])
  })

  test('forgets pods that are gone some in each turn, and all of them within a second', () => {
    const clock = { ms: 0 }
    const { collector, state, time } = setUp({}, { endpoints: { now: () => clock.ms } })
    const pod = { namespace: 'shop', labels: {}, namespaceLabels: {}, serviceAccount: '', workload: undefined }
    const known = state.endpoints.versions.size
    for (let i = 0; i < 1000; i++) {
      const ips = [`10.1.${i >> 8}.${i & 255}`]
      state.upsertPod({ ...pod, name: `p${i}`, uid: `${i}`, ips, nodeName: 'node-2', hostNetwork: false })
      state.deletePod('shop', `p${i}`)
    }
    clock.ms = 61_000
    time.ms = 1000
    collector.drain()
    expect(state.endpoints.podCount).toBeGreaterThan(800)
    for (let turn = 0; turn < 40; turn++) {
      time.ms += 10
      collector.drain()
    }
    expect(state.endpoints.podCount).toBe(0)
    time.ms = 2500
    collector.drain()
    expect(state.endpoints.versions.size).toBe(known)
  })

  test('a stepped clock is right within a second', () => {
    let offset = 1_790_000_000_000_000_000n
    const clock = new RecordClock({ readOffset: () => offset })
    const { collector, reader, time, flow } = setUp({ clock })
    reader.push({ timeNs: 1000n })
    collector.drain()
    offset += 3_600_000_000_000n
    time.ms = 1000
    reader.push({ timeNs: 2000n })
    collector.drain()
    expect([flow(0).timeSecs, flow(0).timeNanos]).toEqual([1_790_000_000, 1000])
    expect([flow(1).timeSecs, flow(1).timeNanos]).toEqual([1_790_003_600, 2000])
  })

  test('a record that is read again has the same uuid, whatever became of the wall clock', () => {
    // Two CPUs in one nanosecond, over a carry into the high half: moved apart, and alike each time.
    const records: RecordSpec[] = [{ timeNs: 0xffff_ffffn }, { timeNs: 0xffff_ffffn }, { timeNs: 5_000_000_000n }]
    const uuids = [1_790_000_000_000_000_000n, 1_790_000_000_000_000_777n, 3n].map((offset) => {
      const { collector, reader, flow } = setUp({ clock: new RecordClock({ readOffset: () => offset }) })
      reader.push(...records)
      collector.drain()
      expect(flow(1).unixNsLow).toBe(Number((offset + 0x1_0000_0000n) & 0xffff_ffffn))
      return [flow(0).uuid, flow(1).uuid, flow(2).uuid]
    })
    expect(new Set(uuids[0]).size).toBe(3)
    expect(uuids[1]).toEqual(uuids[0])
    expect(uuids[2]).toEqual(uuids[0])
  })

  test('an exporter that throws hinders nobody', () => {
    const bad = new TestExporter()
    bad.accept = () => {
      throw new Error('broken')
    }
    const good = new TestExporter()
    const { collector, reader } = setUp({ exporters: [bad, good] })
    reader.push({})
    collector.drain()
    expect(good.blocks).toEqual([[0, 1]])
  })

  test('start() drains by itself and stop() takes the rest, flushes and releases', async () => {
    const { collector, reader, exporter } = setUp({ monotonicMs: () => performance.now(), intervalMs: 1 })
    collector.start()
    reader.push(...many(10))
    await expect.poll(() => exporter.blocks.length).toBe(1)
    reader.push(...many(10))
    await collector.stop()
    expect(exporter.flushed).toBe(1)
    expect(reader.released).toBe(20 * 128)
    reader.push({})
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(exporter.blocks.at(-1)?.[1]).toBe(20)
  })

  test('flowsPerSecond is the mean of the last minute', () => {
    const { collector, reader, time } = setUp()
    expect(collector.flowsPerSecond).toBe(0)
    for (let second = 1; second <= 70; second++) {
      time.ms = second * 1000
      reader.push(...many(second <= 10 ? 100 : 6))
      collector.drain()
    }
    expect(Math.round(collector.flowsPerSecond)).toBe(6)
  })
})

describe('stamps', () => {
  const pod = (name: string, ip: string) => ({
    namespace: 'shop',
    name,
    uid: name,
    ips: [ip],
    labels: {},
    namespaceLabels: {},
    serviceAccount: '',
    workload: undefined,
    nodeName: 'node-1',
    hostNetwork: false,
  })

  test('the address names the local side while nobody knows what is behind the interface', () => {
    const { state, reader, collector, flow } = setUp()
    state.upsertPod(pod('a', '10.0.0.1'))
    state.upsertPod(pod('b', '10.0.0.2'))
    state.upsertPod({ ...pod('elsewhere', '10.0.0.9'), nodeName: 'node-2' })
    state.endpoints.addInterface({ ifindex: 7, name: 'lxc7', ips: [] })
    state.endpoints.addInterface({ ifindex: 8, name: 'lxc8', ips: ['10.0.0.77'] })
    reader.push(
      { ifindex: 7, state: FlowState.FROM_POD },
      { ifindex: 7, state: 0 },
      // Nobody of this node, and one that does not own the address it sends with.
      { ifindex: 7, state: FlowState.FROM_POD, srcIp: '10.0.0.9' },
      { ifindex: 8, state: FlowState.FROM_POD },
    )
    collector.drain()
    expect([0, 1, 2, 3].map((i) => [flow(i).source.podName, flow(i).destination.podName])).toEqual([
      ['a', 'b'],
      ['a', 'b'],
      ['', 'b'],
      ['', 'b'],
    ])
    state.endpoints.addInterface({ ifindex: 7, name: 'lxc7', ips: ['10.0.0.2'] })
    reader.push({ ifindex: 7, state: FlowState.FROM_POD })
    collector.drain()
    expect(flow(4).source.podName).toBe('b')
  })

  test('the interface names the local side, the address the other', () => {
    const { state, reader, collector, flow } = setUp()
    state.upsertPod(pod('a', '10.0.0.1'))
    state.upsertPod(pod('b', '10.0.0.2'))
    state.upsertPod(pod('router', '10.0.0.3'))
    state.endpoints.addInterface({ ifindex: 7, name: 'lxc7', ips: ['10.0.0.3'] })
    reader.push(
      { ifindex: 7, state: FlowState.FROM_POD },
      { ifindex: 7, state: 0 },
      { ifindex: 8, state: FlowState.FROM_POD },
      { ifindex: 8, dstIp: '8.8.8.8' },
    )
    collector.drain()
    const names = [0, 1, 2, 3].map((i) => [
      flow(i).source.podName,
      flow(i).destination.podName || flow(i).destination.labels[0],
    ])
    expect(names).toEqual([
      ['router', 'b'],
      ['a', 'router'],
      ['a', 'b'],
      ['a', 'reserved:world'],
    ])
    expect(state.interfaceName(7)).toBe('lxc7')
    expect(state.namespaces.list()).toEqual([{ cluster: '', namespace: 'shop' }])
  })

  test('services are named by address, port and protocol', () => {
    const { state, reader, collector, flow } = setUp()
    state.upsertService({ namespace: 'shop', name: 'web', ips: ['10.0.0.2'], ports: [{ port: 80, protocol: 'TCP' }] })
    reader.push(
      {},
      { dstPort: 81 },
      { protocol: 17 },
      { srcIp: '10.0.0.2', srcPort: 80, dstIp: '10.0.0.1', dstPort: 5 },
    )
    collector.drain()
    state.endpoints.addInterface({ ifindex: 9, name: 'lxc9', ips: ['10.0.0.5', '10.0.0.2'] })
    reader.push({ ifindex: 9, state: 0 })
    collector.drain()
    expect(state.service(flow(4).destinationServiceRef)?.name).toBe('web')
    const service = (i: number) => [
      state.service(flow(i).sourceServiceRef)?.name,
      state.service(flow(i).destinationServiceRef)?.name,
    ]
    expect([0, 1, 2, 3].map(service)).toEqual([
      [undefined, 'web'],
      [undefined, undefined],
      [undefined, undefined],
      ['web', undefined],
    ])
  })

  test('DNS messages become L7 flows, with latency, and teach their pod the names of addresses', () => {
    const { state, reader, collector, flow } = setUp()
    state.upsertPod(pod('client', '10.0.0.1'))
    state.upsertPod(pod('other', '10.0.0.5'))
    const query = { type: EventType.DNS, protocol: 17, srcPort: 5000, dstPort: 53, dstIp: '10.0.0.53' }
    const answer = {
      ...query,
      srcIp: '10.0.0.53',
      dstIp: '10.0.0.1',
      srcPort: 53,
      dstPort: 5000,
      state: FlowState.REPLY_KNOWN,
    }
    reader.push(
      { ...query, timeNs: 1_000_000n, payload: dns('Api.example.com') },
      { ...answer, timeNs: 3_500_000n, payload: dns('Api.example.com', { answer: '203.0.113.9' }) },
      { dstIp: '203.0.113.9' },
      { srcIp: '203.0.113.9', dstIp: '10.0.0.1' },
      { srcIp: '10.0.0.5', dstIp: '203.0.113.9' },
    )
    collector.drain()
    expect([flow(0).l7?.type, flow(0).isReply, flow(0).l7?.dns?.query]).toEqual([1, false, 'Api.example.com.'])
    expect([flow(1).l7?.type, flow(1).isReply, flow(1).l7?.latencyNs, flow(1).l7?.dns?.ips]).toEqual([
      2,
      true,
      2_500_000,
      ['203.0.113.9'],
    ])
    expect(state.names(flow(2).destinationNamesRef)).toEqual(['api.example.com'])
    expect(state.names(flow(3).sourceNamesRef)).toEqual(['api.example.com'])
    expect(state.names(flow(4).destinationNamesRef)).toEqual([])
  })

  test('HTTP responses repeat method, url and trace of their request', () => {
    const { reader, collector, flow } = setUp()
    const request = { type: EventType.HTTP, srcPort: 4000, dstPort: 80 }
    const response = { ...request, srcIp: '10.0.0.2', dstIp: '10.0.0.1', srcPort: 80, dstPort: 4000 }
    const head = (text: string) => new TextEncoder().encode(text)
    const trace = '0af7651916cd43dd8448eb211c80319c'
    reader.push(
      {
        ...request,
        timeNs: 10n,
        payload: head(`GET /a HTTP/1.1\r\nHost: shop\r\ntraceparent: 00-${trace}-b7ad6b7169203331-01\r\n\r\n`),
      },
      { ...request, timeNs: 20n, payload: head('POST /b HTTP/1.1\r\nHost: shop\r\n\r\n') },
      { ...response, timeNs: 100n, payload: head('HTTP/1.1 100 Continue\r\n\r\n') },
      { ...response, timeNs: 110n, payload: head('HTTP/1.1 200 OK\r\n\r\n') },
      { ...response, timeNs: 220n, payload: head('HTTP/1.1 404 Not Found\r\n\r\n') },
      { ...response, timeNs: 230n, payload: head('HTTP/1.1 500 Unasked\r\n\r\n') },
    )
    collector.drain()
    const seen = [0, 1, 2, 3, 4, 5].map((i) => {
      const l7 = flow(i).l7!
      return [l7.type, l7.http!.code, l7.http!.method, l7.http!.url, l7.latencyNs, l7.traceId]
    })
    expect(seen).toEqual([
      [1, 0, 'GET', 'http://shop/a', 0, trace],
      [1, 0, 'POST', 'http://shop/b', 0, ''],
      [2, 100, 'GET', 'http://shop/a', 90, trace],
      [2, 200, 'GET', 'http://shop/a', 100, trace],
      [2, 404, 'POST', 'http://shop/b', 200, ''],
      [2, 500, '', '', 0, ''],
    ])
  })
})

test('listeners are told of every drain that brought flows', () => {
  const { state, reader, collector } = setUp()
  let told = 0
  state.history.onAppend(() => told++)
  collector.drain()
  reader.push(...many(3 * BLOCK_FLOWS))
  collector.drain()
  expect(told).toBe(1)
})
