import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { FlowView } from '../model/flow-view.ts'
import { EventType, FlowState } from '../model/layouts.gen.ts'
import { flowSummary } from '../model/summary.ts'
import { type FlowSpec, TestFlowStore } from '../test/helpers/flow-store.ts'
import { flowExtensions } from './client.ts'
import { parseMaskTree } from './field-mask.ts'
import { FlowEncoder, type FlowEncoderOptions } from './flow-encoder.ts'
import { Flow } from './gen/flow/flow.ts'
import { GetFlowsResponse } from './gen/observer/observer.ts'
import { WireWriter } from './wire.ts'

const POD = {
  id: 77,
  identity: 20001,
  namespace: 'shop',
  podName: 'cart-0',
  podUid: '1b4e',
  labels: ['k8s:app=cart', 'k8s:io.kubernetes.pod.namespace=shop'],
  workloads: [{ name: 'cart', kind: 'StatefulSet' }],
  clusterName: 'blue',
  isLocal: true,
}
const WORLD = { identity: 2, labels: ['reserved:world'] }

/** Encodes the flow of a spec and decodes it with generated code. */
function roundTrip(spec: FlowSpec, options: Partial<FlowEncoderOptions> = {}, nodeLabels: string[] = []) {
  const store = new TestFlowStore(8, { nodeName: 'blue/node-1', nodeLabels })
  const view = store.createView()
  store.seek(view, store.push(spec))
  return { view, response: encode(view, options) }
}

function encode(view: FlowView, options: Partial<FlowEncoderOptions> = {}): GetFlowsResponse {
  const out = new WireWriter(64)
  new FlowEncoder(view.context, { version: '0.1.0', ...options }).write(out, view)
  return GetFlowsResponse.decode(out.slice(0))
}

type FlowParts = Parameters<typeof Flow.fromPartial>[0]

/** The whole flow, with what the table leaves out at protobuf's defaults. */
function flow(parts: FlowParts): Flow {
  return Flow.fromPartial(parts)
}

const TIME = 1_790_000_000_123_456_789n
const SHARED = {
  time: { seconds: 1_790_000_000n, nanos: 123_456_789 },
  emitter: { name: 'Sluice', version: '0.1.0' },
  node_name: 'blue/node-1',
}
const NOBODY = { source: { identity: 0 }, destination: { identity: 0 } }
const ETHERNET = { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02' }
const V4 = { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 1 as const }

const table: [name: string, spec: FlowSpec, expected: FlowParts][] = [
  [
    'a TCP SYN between pods',
    { source: POD, destination: { identity: 20002, namespace: 'shop', podName: 'db-0' }, traceReason: 1 },
    {
      verdict: 1,
      ethernet: ETHERNET,
      IP: V4,
      l4: { TCP: { source_port: 40000, destination_port: 80, flags: { SYN: true } } },
      source: {
        ID: 77,
        identity: 20001,
        namespace: 'shop',
        pod_name: 'cart-0',
        pod_uid: '1b4e',
        labels: POD.labels,
        workloads: [...POD.workloads],
        cluster_name: 'blue',
      },
      destination: { identity: 20002, namespace: 'shop', pod_name: 'db-0' },
      Type: 1,
      event_type: { type: 4, sub_type: 3 },
      traffic_direction: 2,
      trace_observation_point: 3,
      trace_reason: 1,
      is_reply: false,
      interface: { index: 7, name: 'veth7' },
      Summary: 'TCP Flags: SYN',
    },
  ],
  [
    'a reply to an endpoint, every flag, encrypted',
    { isReply: true, point: 101, direction: 'ingress', l4Info: 511, encrypted: true, ifindex: 0, srcPort: 0 },
    {
      ...NOBODY,
      verdict: 1,
      ethernet: ETHERNET,
      IP: { ...V4, encrypted: true },
      l4: {
        TCP: {
          destination_port: 80,
          flags: { FIN: true, SYN: true, RST: true, PSH: true, ACK: true, URG: true, ECE: true, CWR: true, NS: true },
        },
      },
      Type: 1,
      event_type: { type: 4 },
      reply: true,
      traffic_direction: 1,
      trace_observation_point: 101,
      is_reply: true,
      Summary: 'TCP Flags: SYN, ACK, RST, FIN, PSH, URG, ECE, CWR, NS',
    },
  ],
  [
    'a drop with a DNS name behind the address, direction of the connection unknown',
    {
      verdict: 2,
      dropReason: 3,
      hubbleReason: 133,
      isReply: undefined,
      direction: 'unknown',
      source: POD,
      destination: WORLD,
      destinationNames: ['api.example.com', 'alias.example.com'],
      sourceNames: ['cart.shop'],
      protocol: 17,
    },
    {
      verdict: 2,
      drop_reason: 133,
      drop_reason_desc: 133,
      ext_drop_reason_desc: 'NO_SOCKET',
      ethernet: ETHERNET,
      IP: V4,
      l4: { UDP: { source_port: 40000, destination_port: 80 } },
      source: {
        ID: 77,
        identity: 20001,
        namespace: 'shop',
        pod_name: 'cart-0',
        pod_uid: '1b4e',
        labels: POD.labels,
        workloads: [...POD.workloads],
        cluster_name: 'blue',
      },
      destination: { identity: 2, labels: ['reserved:world'] },
      Type: 1,
      source_names: ['cart.shop'],
      destination_names: ['api.example.com', 'alias.example.com'],
      event_type: { type: 1, sub_type: 133 },
      interface: { index: 7, name: 'veth7' },
      Summary: 'UDP',
    },
  ],
  [
    'ICMPv6 with services',
    {
      srcIp: 'fd00::1',
      dstIp: '2001:db8::ff:0:1',
      protocol: 58,
      srcPort: 0,
      dstPort: 0,
      l4Info: (128 << 8) | 3,
      sourceService: { name: 'web', namespace: 'shop' },
      destinationService: { name: 'dns', namespace: 'kube-system' },
      srcMac: '00:00:00:00:00:00',
    },
    {
      ...NOBODY,
      verdict: 1,
      ethernet: { destination: '02:00:00:00:00:02' },
      IP: { source: 'fd00::1', destination: '2001:db8::ff:0:1', ipVersion: 2 },
      l4: { ICMPv6: { type: 128, code: 3 } },
      Type: 1,
      source_service: { name: 'web', namespace: 'shop' },
      destination_service: { name: 'dns', namespace: 'kube-system' },
      event_type: { type: 4, sub_type: 3 },
      traffic_direction: 2,
      trace_observation_point: 3,
      is_reply: false,
      interface: { index: 7, name: 'veth7' },
      Summary: 'ICMPv6 EchoRequest(Code: 3)',
    },
  ],
  [
    'SCTP by its first chunk, a protocol without ports, no address at all',
    { protocol: 132, l4Info: 14, dstMac: '00:00:00:00:00:00', srcMac: '00:00:00:00:00:00', ifindex: 0 },
    {
      ...NOBODY,
      verdict: 1,
      IP: V4,
      l4: { SCTP: { source_port: 40000, destination_port: 80, chunk_type: 5 } },
      Type: 1,
      event_type: { type: 4, sub_type: 3 },
      traffic_direction: 2,
      trace_observation_point: 3,
      is_reply: false,
      Summary: 'SCTP',
    },
  ],
  [
    'GRE',
    { protocol: 47, ifindex: 0 },
    {
      ...NOBODY,
      verdict: 1,
      ethernet: ETHERNET,
      IP: V4,
      Type: 1,
      event_type: { type: 4, sub_type: 3 },
      traffic_direction: 2,
      trace_observation_point: 3,
      is_reply: false,
      Summary: 'IPv4',
    },
  ],
  [
    'a DNS answer',
    {
      protocol: 17,
      isReply: true,
      l7: {
        type: 2,
        latencyNs: 1_234_567,
        traceId: '',
        dns: {
          query: 'bücher.example.',
          ips: ['203.0.113.9', '2001:db8::1'],
          ttl: 30,
          cnames: ['a.example.'],
          observationSource: 'kernel',
          rcode: 3,
          qtypes: ['A'],
          rrtypes: ['CNAME', 'A'],
        },
      },
    },
    {
      ...NOBODY,
      verdict: 1,
      IP: V4,
      l4: { UDP: { source_port: 40000, destination_port: 80 } },
      Type: 2,
      l7: {
        type: 2,
        latency_ns: 1_234_567n,
        dns: {
          query: 'bücher.example.',
          ips: ['203.0.113.9', '2001:db8::1'],
          ttl: 30,
          cnames: ['a.example.'],
          observation_source: 'kernel',
          rcode: 3,
          qtypes: ['A'],
          rrtypes: ['CNAME', 'A'],
        },
      },
      reply: true,
      event_type: { type: 129 },
      traffic_direction: 2,
      is_reply: true,
      Summary: 'DNS Answer RCode: Non-Existent Domain TTL: 30 (Query bücher.example. A)',
    },
  ],
  [
    'an HTTP response with headers and a trace',
    {
      l7: {
        type: 2,
        latencyNs: 9_000_000_000_000,
        traceId: '0af7651916cd43dd8448eb211c80319c',
        http: {
          code: 404,
          method: 'GET',
          url: `http://shop/${'x'.repeat(300)}`,
          protocol: 'HTTP/1.1',
          headers: [
            { key: 'A', value: '' },
            { key: 'Content-Length', value: '12' },
          ],
        },
      },
    },
    {
      ...NOBODY,
      verdict: 1,
      IP: V4,
      l4: { TCP: { source_port: 40000, destination_port: 80 } },
      Type: 2,
      l7: {
        type: 2,
        latency_ns: 9_000_000_000_000n,
        http: {
          code: 404,
          method: 'GET',
          url: `http://shop/${'x'.repeat(300)}`,
          protocol: 'HTTP/1.1',
          headers: [
            { key: 'A', value: '' },
            { key: 'Content-Length', value: '12' },
          ],
        },
      },
      event_type: { type: 129 },
      traffic_direction: 2,
      is_reply: false,
      trace_context: { parent: { trace_id: '0af7651916cd43dd8448eb211c80319c' } },
      Summary: `HTTP/1.1 404 9000000ms (GET http://shop/${'x'.repeat(300)})`,
    },
  ],
]

describe('FlowEncoder.write()', () => {
  test.each(table)('encodes %s', (_name, spec, expected) => {
    const { view, response } = roundTrip({ time: TIME, ...spec })
    expect(response.flow).toEqual(flow({ ...SHARED, uuid: view.uuid, ...expected }))
    expect(response.node_name).toBe('blue/node-1')
    expect(response.time).toEqual(SHARED.time)
  })

  test('writes a flow whose L7 message is forgotten as an L7 flow', () => {
    const { response } = roundTrip({ type: EventType.HTTP })
    expect(response.flow).toMatchObject({ Type: 2, event_type: { type: 129 }, l7: { type: 0, latency_ns: 0n } })
  })

  test('repeats node labels in every flow', () => {
    const { response } = roundTrip({}, {}, ['zone=a', 'role=worker'])
    expect(response.flow?.node_labels).toEqual(['zone=a', 'role=worker'])
  })

  test('cuts the labels of an endpoint that has too many for one message', () => {
    const labels = Array.from({ length: 2000 }, (_, i) => `k8s:label-${i}=${'v'.repeat(60)}`)
    const { response } = roundTrip({ source: { identity: 300, labels, podName: 'fat' } })
    const sent = response.flow!.source!.labels
    expect(sent).toEqual(labels.slice(0, sent.length))
    expect(sent.length).toBeGreaterThan(200)
    expect(response.flow!.source!.pod_name).toBe('fat')
  })

  test('keeps the two sides apart, and forgets nothing when many endpoints share cache slots', () => {
    const store = new TestFlowStore(64)
    const view = store.createView()
    const encoder = new FlowEncoder(store.context, { version: '1', slots: 2 })
    const pods = Array.from({ length: 8 }, (_, i) => store.addEndpoint({ identity: 300 + i, podName: `pod-${i}` }))
    for (let i = 0; i < 64; i++) store.push({ source: pods[i % 8]!, destination: pods[(i * 3 + 1) % 8]! })
    for (let i = 0; i < 64; i++) {
      store.seek(view, i)
      const out = new WireWriter(64)
      encoder.write(out, view)
      const { flow: sent } = GetFlowsResponse.decode(out.slice(0))
      expect([sent?.source?.pod_name, sent?.destination?.pod_name]).toEqual([`pod-${i % 8}`, `pod-${(i * 3 + 1) % 8}`])
    }
  })

  test('takes new names of devices and addresses, and new labels of the node, at once', () => {
    const store = new TestFlowStore(8)
    const view = store.createView()
    store.seek(view, store.push({ destinationNames: ['old.example'] }))
    let device = 'veth7'
    let names = ['old.example']
    let nodeLabels = ['zone=a']
    const context = {
      ...store.context,
      get nodeLabels() {
        return nodeLabels
      },
      interfaceName: () => device,
      names: () => names,
    }
    const encoder = new FlowEncoder(context, { version: '1' })
    const look = () => {
      const out = new WireWriter(64)
      encoder.write(out, view)
      const { flow: sent } = GetFlowsResponse.decode(out.slice(0))
      return [sent?.interface?.name, sent?.destination_names, sent?.node_labels]
    }
    expect(look()).toEqual(['veth7', ['old.example'], ['zone=a']])
    device = 'eth0'
    names = ['new.example']
    nodeLabels = ['zone=b', 'role=x']
    expect(look()).toEqual(['eth0', ['new.example'], ['zone=b', 'role=x']])
  })
})

describe('FlowEncoder.write() with extensions', () => {
  test('adds what flow.Flow has no field for', () => {
    const spec = {
      packets: 3,
      bytes: 4000,
      replyPackets: 2,
      replyBytes: 120,
      rttUs: 1500,
      srttUs: 1700,
      retransmits: 1,
      drops: 2,
      verdict: 2,
      dropReason: 3,
      dropLocation: 0x5c,
      cause: 7,
      vlan: 12,
      cpu: 5,
    }
    expect(flowExtensions(roundTrip(spec, { withExtensions: true }).response.flow!)).toEqual({
      packets: 3,
      bytes: 4000,
      reply_packets: 2,
      reply_bytes: 120,
      rtt_us: 1500,
      srtt_us: 1700,
      retransmits: 1,
      drops: 2,
      kernel_drop_reason: 'NO_SOCKET',
      drop_location: 'kernel_function+0x5c',
      cause: 7,
      vlan: 12,
      cpu: 5,
      rule: 0,
      fragment: false,
      opener_guessed: false,
    })
    expect(roundTrip(spec).response.flow!.extensions).toBeUndefined()
  })

  test('adds them whatever the mask', () => {
    const { response } = roundTrip({}, { withExtensions: true, mask: parseMaskTree(['verdict']) })
    expect(Object.keys(Flow.toJSON({ ...response.flow!, extensions: undefined }) as object)).toEqual(['verdict'])
    expect(flowExtensions(response.flow!)).toMatchObject({ packets: 1 })
  })
})

const masks: [paths: string[], expected: FlowParts][] = [
  [['verdict', 'Summary'], { verdict: 1, Summary: 'TCP Flags: SYN' }],
  [['source.pod_name', 'source.identity'], { source: { pod_name: 'cart-0', identity: 20001 } }],
  [['IP.source', 'l4.TCP.destination_port'], { IP: { source: '10.0.0.1' }, l4: { TCP: { destination_port: 80 } } }],
  [['l4.TCP.flags.SYN'], { l4: { TCP: { flags: { SYN: true } } } }],
  // A oneof's other member does not appear, its parent does.
  [['l4.UDP.source_port'], { l4: {} }],
  [['l7.dns.query'], { l7: {} }],
  [['source_service.name'], { source_service: {} }],
  [['source_service'], {}],
  [['tunnel.vni', 'aggregate'], { tunnel: {} }],
  [
    ['interface.name', 'ethernet.source', 'event_type.type', 'time.seconds', 'emitter.version'],
    {
      interface: { name: 'veth7' },
      ethernet: { source: '02:00:00:00:00:01' },
      event_type: { type: 4 },
      time: { seconds: 1_790_000_000n },
      emitter: { version: '0.1.0' },
    },
  ],
  [['is_reply', 'reply', 'node_name', 'uuid'], { is_reply: false, node_name: 'blue/node-1', uuid: 'UUID' }],
  [['destination_names', 'traffic_direction'], { destination_names: ['a.example'], traffic_direction: 2 }],
]

describe('FlowEncoder.write() with a mask', () => {
  test.each(masks)('sends of %j only that', (paths, expected) => {
    const spec = { time: TIME, source: POD, destinationNames: ['a.example'] }
    const { view, response } = roundTrip(spec, { mask: parseMaskTree(paths) })
    const uuid = expected.uuid === undefined ? {} : { uuid: view.uuid }
    expect(response.flow).toEqual(flow({ ...expected, ...uuid }))
    expect(response.time).toEqual(SHARED.time)
    expect(response.node_name).toBe('blue/node-1')
  })
})

/** The same flow read field by field through the view. */
function expectedFlow(view: FlowView): FlowParts {
  const { context } = view
  const endpoint = ({ id, podName, podUid, clusterName, isLocal: _, ref: __, ...same }: FlowView['source']) => ({
    ...same,
    labels: [...same.labels],
    workloads: [...same.workloads],
    ID: id,
    pod_name: podName,
    pod_uid: podUid,
    cluster_name: clusterName,
  })
  const isTrace = !view.isL7 && !view.isDrop
  const ports = { source_port: view.srcPort, destination_port: view.dstPort }
  const icmp = { type: view.icmpType, code: view.icmpCode }
  const bit = (mask: number) => (view.tcpFlags & mask) !== 0
  const flags = {
    FIN: bit(1),
    SYN: bit(2),
    RST: bit(4),
    PSH: bit(8),
    ACK: bit(16),
    URG: bit(32),
    ECE: bit(64),
    CWR: bit(128),
    NS: bit(256),
  }
  const chunks: Record<number, number> = { 1: 1, 2: 2, 6: 6, 7: 3, 8: 4, 14: 5 }
  const l4: Record<number, FlowParts['l4']> = {
    1: { ICMPv4: icmp },
    6: { TCP: { ...ports, flags } },
    17: { UDP: ports },
    58: { ICMPv6: icmp },
    132: { SCTP: { ...ports, chunk_type: (chunks[view.sctpChunk & 255] ?? 0) as 0 } },
  }
  return {
    time: { seconds: BigInt(view.timeSecs), nanos: view.timeNanos },
    uuid: view.uuid,
    emitter: { name: 'Sluice', version: '0.1.0' },
    verdict: view.verdict as 0,
    drop_reason: view.dropReason,
    drop_reason_desc: view.dropReason as 0,
    ext_drop_reason_desc:
      view.isDrop && view.kernelDropReason ? context.kernelDropReason(view.kernelDropReason).name : '',
    ...(view.srcMac || view.dstMac ? { ethernet: { source: view.srcMac, destination: view.dstMac } } : {}),
    IP: {
      source: view.srcIp,
      destination: view.dstIp,
      ipVersion: view.ipVersion === 4 ? 1 : 2,
      encrypted: view.isEncrypted,
    },
    ...(l4[view.protocol] ? { l4: l4[view.protocol]! } : {}),
    source: endpoint(view.source),
    destination: endpoint(view.destination),
    Type: 1,
    node_name: context.nodeName,
    event_type: { type: view.eventType, sub_type: view.eventSubType },
    traffic_direction: view.trafficDirection as 0,
    trace_observation_point: (isTrace ? view.observationPoint : 0) as 0,
    trace_reason: (isTrace ? view.traceReason : 0) as 0,
    reply: view.isReply === true,
    ...(view.isReply === undefined ? {} : { is_reply: view.isReply }),
    ...(view.ifindex === 0 ? {} : { interface: { index: view.ifindex, name: context.interfaceName(view.ifindex) } }),
    Summary: flowSummary(view),
  }
}

const uint = (max: number) => fc.nat({ max })
const address = fc.oneof(
  fc.ipV4(),
  fc.ipV6().filter((ip) => !ip.includes('.')),
)
const spec = fc
  .record({
    ip: fc.tuple(address, address).filter(([a, b]) => a.includes(':') === b.includes(':')),
    srcPort: uint(65535),
    dstPort: uint(65535),
    protocol: fc.constantFrom(0, 1, 2, 6, 17, 47, 58, 112, 132, 255),
    l4Info: uint(65535),
    ifindex: uint(0x7fff_ffff),
    verdict: uint(7),
    point: fc.constantFrom(0, 3, 5, 10, 101),
    isReply: fc.constantFrom(true, false, undefined),
    direction: fc.constantFrom('ingress' as const, 'egress' as const, 'unknown' as const),
    dropReason: uint(65535),
    hubbleReason: fc.constantFrom(0, 133, 181, 205),
    traceReason: uint(4),
    encrypted: fc.boolean(),
    time: fc.bigInt({ min: 1n, max: 4_102_444_799_999_999_999n }),
    mac: fc.constantFrom('00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff', '0a:1b:2c:3d:4e:5f'),
    source: fc.record({
      id: uint(0xffff_ffff),
      identity: uint(0xffff_ffff),
      namespace: fc.string({ unit: 'grapheme' }),
      labels: fc.array(fc.string()),
    }),
  })
  .map(({ ip: [srcIp, dstIp], mac, ...rest }) => ({
    ...rest,
    srcIp,
    dstIp,
    srcMac: mac,
    ipVersion: srcIp.includes(':') ? 6 : 4,
  }))

describe('FlowEncoder', () => {
  test('agrees with the view for any flow', () => {
    fc.assert(
      fc.property(spec, (fields) => {
        const { view, response } = roundTrip(fields as FlowSpec)
        expect(response.flow).toEqual(flow(expectedFlow(view)))
        expect(view.state & FlowState.FRAGMENT).toBe(0)
      }),
      { numRuns: 500 },
    )
  })
})
