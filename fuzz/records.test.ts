import fc from 'fast-check'
import { afterAll, describe, expect } from 'vitest'
import { parseMaskTree } from '../api/field-mask.ts'
import { FlowEncoder as GrpcEncoder } from '../api/flow-encoder.ts'
import { GetFlowsResponse } from '../api/gen/observer/observer.ts'
import { WireWriter } from '../api/wire.ts'
import { silentLogger } from '../base/logger.ts'
import { RecordClock } from '../collector/clock.ts'
import { checkRecord } from '../collector/decode.ts'
import { Collector } from '../collector/pipeline.ts'
import { parseFlowLine } from '../collector/replay/flow-line.ts'
import { CollectorState } from '../collector/state.ts'
import { LineBuffer } from '../exporters/json-log/bytes.ts'
import { MAX_LINE_BYTES } from '../exporters/json-log/config.ts'
import { FlowEncoder as JsonEncoder } from '../exporters/json-log/encode.ts'
import { PrometheusExporter } from '../exporters/prometheus/index.ts'
import { compileFlowFilters } from '../filters/hubble/index.ts'
import type { FlowView } from '../model/flow-view.ts'
import { EVENT_VERSION, EventType, FLOW_EVENT, L7_PAYLOAD_MAX } from '../model/layouts.gen.ts'
import { flowSummary } from '../model/summary.ts'
import { flowLine } from '../test/helpers/flow-json.ts'
import { fuzz, mutationsOf, readCorpus } from '../test/helpers/fuzz.ts'
import { RawReader } from '../test/helpers/raw-reader.ts'

const METRICS =
  'dns:query;labelsContext=source_ip,destination_ip,traffic_direction drop flow flows-to-world httpV2 icmp ' +
  'port-distribution tcp sctp policy'
/** Series stay few, so that the runner's bound on memory says something. */
const MAX_SERIES = 2000
/** Of those who read more slowly than records come: every n-th record is rendered, or asked for by filters. */
const SCRAPE_EVERY = 512

/** Everything that reads flows, as the agent has it, on one history. */
class Readers implements AsyncDisposable {
  readonly reader = new RawReader(FLOW_EVENT.SIZE + L7_PAYLOAD_MAX)
  readonly state = new CollectorState({
    nodeName: 'node-1',
    uuidSeed: new Uint32Array([1, 2, 3, 4]),
    history: { capacity: 64, l7Bytes: 256 * 1024 },
  })
  readonly prometheus = new PrometheusExporter(
    { address: '127.0.0.1:0', metrics: METRICS, maxSeries: MAX_SERIES },
    { logger: silentLogger },
  )
  readonly collector = new Collector({
    state: this.state,
    clock: new RecordClock({ readOffset: () => 1_790_000_000_000_000_000n }),
    sources: [{ name: 'kernel', reader: this.reader }],
    exporters: [this.prometheus],
    redact: {},
  })
  readonly #json = new JsonEncoder()
  readonly #grpc = [
    undefined,
    parseMaskTree(['time', 'l4.TCP.flags', 'IP.source', 'l7.dns.query', 'source.labels']),
  ].map((mask) => new GrpcEncoder(this.state, { version: '0.1.0', mask, withExtensions: true }))
  readonly #filters = compileFlowFilters(
    [
      { source_ip: ['10.0.0.0/8', 'fd00::/8'], http_status_code: ['5+'], dns_query: ['^a'] },
      { source_label: ['k8s:app'], tcp_flags: [{ SYN: true }], event_type: [{ type: 1 }] },
      {
        experimental: { cel_expression: ['_flow.l4.TCP.destination_port > 80u || size(_flow.destination_names) > 0'] },
      },
    ],
    [],
  )
  readonly #lines = new LineBuffer(4 * MAX_LINE_BYTES)
  readonly #wire = new WireWriter(64)
  #records = 0

  constructor() {
    this.state.upsertPod({
      namespace: 'shop',
      name: 'web-1',
      uid: 'u1',
      ips: ['10.0.0.1', 'fd00::1'],
      labels: { app: 'web' },
      namespaceLabels: {},
      serviceAccount: 'default',
      workload: { name: 'web', kind: 'Deployment' },
      nodeName: 'node-1',
      hostNetwork: false,
    })
    this.state.upsertService({
      namespace: 'shop',
      name: 'web',
      ips: ['10.0.0.2'],
      ports: [{ port: 80, protocol: 'TCP' }],
    })
  }

  /** One record through the collector; whatever became a flow is read by everybody. */
  async take(record: Uint8Array): Promise<void> {
    this.reader.set(record)
    const before = this.state.history.end
    const failure = checkRecord(this.reader, 0)
    this.collector.drain()
    const { end } = this.state.history
    expect(end - before).toBeLessThanOrEqual(failure === undefined ? 1 : 0)
    const { lost, difference } = this.collector.decodeLedger.toJSON()
    expect([difference, lost['internal_error']]).toEqual([0, undefined])
    expect(this.prometheus.settled).toBe(end)
    expect(this.prometheus.ledger.toJSON().difference).toBe(0)
    if (end > before) {
      const view = this.state.history.createView()
      this.state.history.seek(view, end - 1)
      this.#read(view)
    }
    if (++this.#records % SCRAPE_EVERY === 0) await this.#scrape()
  }

  #read(view: FlowView): void {
    expect(flowSummary(view)).toBeTypeOf('string')
    expect(this.#filters(view)).toBeTypeOf('boolean')
    const line = this.#jsonLine(view)
    expect(JSON.parse(line)).toEqual(JSON.parse(flowLine(view)))
    expect(line).toBe(flowLine(view))
    const { flow } = JSON.parse(line) as { flow: { uuid: string } }
    expect(flow.uuid).toBe(view.uuid)
    expect(parseFlowLine(line)).not.toHaveProperty('failure', 'not_json')
    for (const encoder of this.#grpc) this.#grpcMessage(encoder, view)
  }

  #jsonLine(view: FlowView): string {
    const at = this.#json.encode(view, this.#lines, 0)
    expect(at).toBeGreaterThan(0)
    const bytes = this.#lines.bytes.subarray(0, at)
    expect(bytes.indexOf(10)).toBe(at - 1)
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  }

  #grpcMessage(encoder: GrpcEncoder, view: FlowView): void {
    this.#wire.at = 0
    encoder.write(this.#wire, view)
    const response = GetFlowsResponse.decode(this.#wire.slice(0))
    expect(response.node_name).toBe('node-1')
    expect(Number(response.time!.seconds)).toBe(view.timeSecs)
    expect(response.flow!.time!.nanos).toBe(view.timeNanos)
  }

  async #scrape(): Promise<void> {
    const text = await this.prometheus.render('openmetrics')
    const lines = text.toString().split('\n')
    text.release()
    expect(lines.at(-2)).toBe('# EOF')
    for (const line of lines.slice(0, -2)) {
      if (!/^(#|[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? \S+)/.test(line)) throw new Error(`Not a line of metrics: ${line}`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.prometheus[Symbol.asyncDispose]()
  }
}

/** What flow.proto has: not used, IPv4, IPv6. */
const FAMILIES = [0, 4, 6]

/** Any bytes with a head that passes the check: type and sizes are right, all else is random. */
function wellFormed(bytes: Uint8Array, type: number, payload: Uint8Array): Uint8Array {
  const record = new Uint8Array(FLOW_EVENT.SIZE + payload.length)
  record.set(bytes.subarray(0, FLOW_EVENT.SIZE))
  record.set(payload, FLOW_EVENT.SIZE)
  const head = new DataView(record.buffer)
  record[FLOW_EVENT.version] = EVENT_VERSION
  record[FLOW_EVENT.type] = type
  const family = record[FLOW_EVENT.ipVersion]!
  if (!FAMILIES.includes(family)) record[FLOW_EVENT.ipVersion] = FAMILIES[family % FAMILIES.length]!
  head.setUint16(FLOW_EVENT.size, record.length, true)
  head.setUint16(FLOW_EVENT.payloadLen, payload.length, true)
  return record
}

const anyHead = fc.uint8Array({ minLength: FLOW_EVENT.SIZE, maxLength: FLOW_EVENT.SIZE, size: 'max' })
const knownHead = mutationsOf(readCorpus('record'))
const payload = fc.oneof(
  fc.uint8Array({ maxLength: L7_PAYLOAD_MAX, size: 'max' }),
  mutationsOf(readCorpus('l7-payload')).map((bytes) => bytes.subarray(0, L7_PAYLOAD_MAX)),
)
const packetRecord = fc
  .tuple(fc.oneof(anyHead, knownHead), fc.constantFrom(EventType.FLOW, EventType.DROP))
  .map(([bytes, type]) => wellFormed(bytes, type, new Uint8Array(0)))
const l7Record = fc
  .tuple(fc.oneof(anyHead, knownHead), fc.constantFrom(EventType.DNS, EventType.HTTP), payload)
  .map(([bytes, type, body]) => wellFormed(bytes, type, body))

describe('fuzz: records', () => {
  const readers = new Readers()
  afterAll(() => readers[Symbol.asyncDispose]())

  fuzz('whatever a record holds, every reader reads it and every ledger closes', {
    corpus: 'record',
    from: (seed) => seed,
    generated: fc.oneof(
      { arbitrary: packetRecord, weight: 4 },
      { arbitrary: l7Record, weight: 4 },
      { arbitrary: fc.uint8Array({ maxLength: 1300, size: 'max' }), weight: 1 },
    ),
    target: (record) => readers.take(record),
  })
})
