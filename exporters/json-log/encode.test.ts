import { Session } from 'node:inspector'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parseFieldMask } from '../../model/field-mask.ts'
import { L7Type } from '../../model/l7.ts'
import { EventType, FLOW_EVENT, FlowState } from '../../model/layouts.gen.ts'
import { flowLine } from '../../test/helpers/flow-json.ts'
import { type FlowSpec, TestFlowStore } from '../../test/helpers/flow-store.ts'
import { LineBuffer } from './bytes.ts'
import { MAX_LINE_BYTES } from './config.ts'
import { FlowEncoder } from './encode.ts'

const CART = {
  id: 77,
  identity: 20001,
  namespace: 'shop',
  podName: 'cart-0',
  podUid: 'b6c1',
  labels: ['k8s:app=cart', 'k8s:io.kubernetes.pod.namespace=shop'],
  workloads: [{ name: 'cart', kind: 'StatefulSet' }],
  isLocal: true,
}
const DB = { identity: 20002, namespace: 'shop', podName: 'db-0', labels: ['k8s:app=db'] }
const TIME = 1_790_000_000_123_456_789n

const textOf = (out: LineBuffer, from: number, to: number) => Buffer.from(out.bytes.subarray(from, to)).toString()

/** Encodes each flow and returns the lines, without the newline that each must end with. */
function linesOf(store: TestFlowStore, mask?: readonly string[]): string[] {
  const encoder = new FlowEncoder({ fieldMask: mask && parseFieldMask(mask) })
  const view = store.createView()
  const out = new LineBuffer(2 * MAX_LINE_BYTES)
  const lines: string[] = []
  for (let sequence = store.first; sequence < store.end; sequence++) {
    store.seek(view, sequence)
    const end = encoder.encode(view, out, 5)
    const line = textOf(out, 5, end)
    expect(line).toBe(flowLine(view, mask && parseFieldMask(mask)))
    lines.push(line.slice(0, -1))
  }
  return lines
}

function lineOf(spec: FlowSpec, mask?: readonly string[]): string {
  const store = new TestFlowStore(4)
  store.push({ time: TIME, ...spec })
  return linesOf(store, mask)[0]!
}

describe('FlowEncoder.encode()', () => {
  test('writes a TCP SYN between two pods as Hubble does', () => {
    const line = lineOf({
      source: CART,
      destination: DB,
      traceReason: 1,
      rttUs: 250,
      destinationService: { name: 'db', namespace: 'shop' },
    })
    expect(line).toBe(
      '{"flow":{"time":"2026-09-21T14:13:20.123456789Z","uuid":"' +
        JSON.parse(line).flow.uuid +
        '","emitter":{"name":"Sluice","version":"0.1.0"},"verdict":"FORWARDED",' +
        '"ethernet":{"source":"02:00:00:00:00:01","destination":"02:00:00:00:00:02"},' +
        '"IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},' +
        '"l4":{"TCP":{"source_port":40000,"destination_port":80,"flags":{"SYN":true}}},' +
        '"source":{"ID":77,"identity":20001,"namespace":"shop",' +
        '"labels":["k8s:app=cart","k8s:io.kubernetes.pod.namespace=shop"],"pod_name":"cart-0",' +
        '"workloads":[{"name":"cart","kind":"StatefulSet"}]},' +
        '"destination":{"identity":20002,"namespace":"shop","labels":["k8s:app=db"],"pod_name":"db-0"},' +
        '"Type":"L3_L4","node_name":"node-1","event_type":{"type":4,"sub_type":3},' +
        '"destination_service":{"name":"db","namespace":"shop"},"traffic_direction":"EGRESS",' +
        '"trace_observation_point":"TO_STACK","trace_reason":"NEW","is_reply":false,' +
        '"interface":{"index":7,"name":"veth7"},"Summary":"TCP Flags: SYN",' +
        '"extensions":{"@type":"type.googleapis.com/google.protobuf.Struct",' +
        '"value":{"bytes":74,"cause":"NEW","packets":1,"rtt_us":250}}},' +
        '"node_name":"node-1","time":"2026-09-21T14:13:20.123456789Z"}',
    )
  })

  test('writes a drop with Hubble reason, kernel reason and place', () => {
    const { flow } = JSON.parse(lineOf({ verdict: 2, dropReason: 3, dropLocation: 0x5c, drops: 1, hubbleReason: 133 }))
    expect(flow).toMatchObject({
      verdict: 'DROPPED',
      drop_reason: 133,
      drop_reason_desc: 'POLICY_DENIED',
      event_type: { type: 1, sub_type: 133 },
    })
    expect(flow.extensions.value).toMatchObject({
      drop_location: 'kernel_function+0x5c',
      kernel_drop_reason: 'NO_SOCKET',
    })
    expect(flow.trace_observation_point).toBeUndefined()
  })

  test('writes DNS and HTTP messages under l7, 64-bit numbers as text', () => {
    const dns = {
      query: 'api.example.com.',
      ips: ['203.0.113.9'],
      ttl: 30,
      cnames: [],
      observationSource: 'kernel',
      rcode: 0,
      qtypes: ['A'],
      rrtypes: ['A'],
    }
    const http = {
      code: 200,
      method: 'GET',
      url: 'http://shop/?a=1&b=<2>',
      protocol: 'HTTP/1.1',
      headers: [{ key: 'X-Empty', value: '' }],
    }
    const store = new TestFlowStore(4)
    store.push(
      { protocol: 17, l7: { type: L7Type.RESPONSE, latencyNs: 1_200_000, dns, traceId: '' }, isReply: true },
      { l7: { type: L7Type.RESPONSE, latencyNs: 2 ** 50, http, traceId: '4bf92f3577b34da6a3ce929d0e0e4736' } },
      { l7: { type: L7Type.REQUEST, latencyNs: 0, http: { ...http, code: 0, headers: [] }, traceId: '' }, verdict: 2 },
    )
    const lines = linesOf(store)
    expect(lines[0]).toContain(
      '"l7":{"type":"RESPONSE","latency_ns":"1200000","dns":{"query":"api.example.com.","ips":["203.0.113.9"],' +
        '"ttl":30,"observation_source":"kernel","qtypes":["A"],"rrtypes":["A"]}},"reply":true,"event_type":{"type":129}',
    )
    expect(lines[1]).toContain('"latency_ns":"1125899906842624"')
    expect(lines[1]).toContain('"url":"http://shop/?a=1\\u0026b=\\u003c2\\u003e"')
    expect(lines[1]).toContain('"trace_context":{"parent":{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}}')
    for (const line of lines) expect(JSON.parse(line).flow).not.toHaveProperty('ethernet')
  })

  test('writes an L7 flow whose message was forgotten without one', () => {
    const flow = JSON.parse(lineOf({ type: EventType.HTTP })).flow
    expect(flow).toMatchObject({ Type: 'L7', event_type: { type: 129 }, Summary: 'TCP' })
    expect(flow).not.toHaveProperty('l7')
  })

  test.each([
    [0n, '2026-09-21T14:13:20Z'],
    [100_000_000n, '2026-09-21T14:13:20.100Z'],
    [1_000n, '2026-09-21T14:13:20.000001Z'],
    [1n, '2026-09-21T14:13:20.000000001Z'],
    [999_999_999n, '2026-09-21T14:13:20.999999999Z'],
    [123_456_000n, '2026-09-21T14:13:20.123456Z'],
  ])('writes a time %s ns past the second as %s', (nanos, wanted) => {
    const line = JSON.parse(lineOf({ time: 1_790_000_000_000_000_000n + nanos }))
    expect([line.flow.time, line.time]).toEqual([wanted, wanted])
  })

  test.each([
    ['"quotes" and \\', '"\\"quotes\\" and \\\\"'],
    ['<a href=x>&', '"\\u003ca href=x\\u003e\\u0026"'],
    ['tab\tnewline\nbell\u0007delete\u007f', '"tab\\tnewline\\nbell\\u0007delete\u007f"'],
    ['line\u2028paragraph\u2029', '"line\\u2028paragraph\\u2029"'],
    ['half \ud83d pair', '"half \ufffd pair"'],
    ['whole \u{1f600}', '"whole \u{1f600}"'],
  ])('escapes %j as Go does', (name, wanted) => {
    const store = new TestFlowStore(2)
    store.push({ source: { podName: name } })
    const view = store.createView()
    store.seek(view, 0)
    const out = new LineBuffer(MAX_LINE_BYTES)
    expect(textOf(out, 0, new FlowEncoder().encode(view, out, 0))).toContain(`"pod_name":${wanted}`)
  })

  test('writes each protocol with the members that it has', () => {
    const l4 = (spec: FlowSpec) => JSON.parse(lineOf(spec)).flow.l4
    expect(l4({ protocol: 17, srcPort: 53, dstPort: 0 })).toEqual({ UDP: { source_port: 53 } })
    expect(l4({ protocol: 132 })).toEqual({ SCTP: { source_port: 40000, destination_port: 80 } })
    expect(l4({ protocol: 1, l4Info: 8 << 8 })).toEqual({ ICMPv4: { type: 8 } })
    expect(l4({ protocol: 58, l4Info: (1 << 8) | 4, srcIp: 'fd00::1', dstIp: '::1' })).toEqual({
      ICMPv6: { type: 1, code: 4 },
    })
    expect(l4({ protocol: 6, l4Info: 0 })).toEqual({ TCP: { source_port: 40000, destination_port: 80, flags: {} } })
    expect(l4({ protocol: 47 })).toBeUndefined()
  })

  test('gives a reference that gets another meaning another text', () => {
    const store = new TestFlowStore(8)
    store.push({ ifindex: 7 }, { source: { podName: 'a' } })
    const encoder = new FlowEncoder()
    const view = store.createView()
    const out = new LineBuffer(MAX_LINE_BYTES)
    const encode = (sequence: number) => {
      store.seek(view, sequence)
      return JSON.parse(textOf(out, 0, encoder.encode(view, out, 0))).flow
    }
    expect(encode(0).interface.name).toBe('veth7')
    store.context.interfaceName = () => 'eth0'
    expect(encode(0).interface.name).toBe('eth0')
    expect(encode(1).source.pod_name).toBe('a')
    store.endpoints[1] = { ...store.endpoints[1]!, podName: 'b' }
    expect(encode(1).source.pod_name).toBe('b')
  })

  test('refuses a line that hubble could not read back, and writes nothing of it', () => {
    const store = new TestFlowStore(2)
    const labels = Array.from({ length: 900 }, (_, i) => `k8s:label-${i}=${'x'.repeat(60)}`)
    store.push({ source: { labels } })
    const view = store.createView()
    store.seek(view, 0)
    const out = new LineBuffer(MAX_LINE_BYTES)
    expect(new FlowEncoder().encode(view, out, 0)).toBe(-1)
    expect(out.bytes.every((byte) => byte === 0)).toBe(true)
  })

  test('makes no piece twice while the same flows go by', () => {
    const store = new TestFlowStore(64)
    for (let i = 0; i < 32; i++)
      store.push({ source: { ref: 0, podName: `p${i}` }, l4Info: i % 8, verdict: 1 + (i % 2) })
    const encoder = new FlowEncoder()
    const view = store.createView()
    const out = new LineBuffer(MAX_LINE_BYTES)
    const round = () => {
      for (let sequence = 0; sequence < store.end; sequence++) {
        store.seek(view, sequence)
        encoder.encode(view, out, 0)
      }
    }
    round()
    const misses = encoder.misses
    expect(misses).toBeGreaterThan(0)
    round()
    expect(encoder.misses).toBe(misses)
  })
})

describe('FlowEncoder.encode() for L3/L4 flows', () => {
  test('allocates nothing once its pieces are made', () => {
    const store = new TestFlowStore(256)
    // The low words of these times lie above 2^31: large unsigned words are what tends to become objects.
    const base = ((TIME >> 32n) << 32n) | 0xf000_0000n
    for (let i = 0; i < 256; i++) {
      store.push({ source: CART, srcPort: 1024 + i, bytes: 1000 + i, time: base + BigInt(i) * 20_011n })
    }
    store.context.interfaceName = () => 'veth7'
    const encoder = new FlowEncoder()
    const view = store.createView()
    const out = new LineBuffer(MAX_LINE_BYTES)
    const run = (lines: number) => {
      for (let i = 0; i < lines; i++) {
        store.seek(view, i % 256)
        encoder.encode(view, out, 0)
      }
    }
    run(60_000)
    const lines = 100_000
    expect(allocatedBytes(() => run(lines)) / lines).toBeLessThan(4)
  })
})

/** Bytes that a function allocates, sampled; what the garbage collector took meanwhile included. */
function allocatedBytes(run: () => void): number {
  const session = new Session()
  session.connect()
  onTestFinished(() => session.disconnect())
  const all = { includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true }
  session.post('HeapProfiler.startSampling', { samplingInterval: 512, ...all })
  run()
  let sum = 0
  session.post('HeapProfiler.stopSampling', (_, result) => {
    const nodes = [result.profile.head]
    for (const node of nodes) {
      sum += node.selfSize
      nodes.push(...node.children)
    }
  })
  return sum
}

describe('FlowEncoder.encode() with a field mask', () => {
  test('writes the masked fields, and time and node_name of the envelope always', () => {
    expect(lineOf({ source: CART, destination: DB }, ['verdict', 'source.namespace', 'l4.TCP.destination_port'])).toBe(
      '{"flow":{"verdict":"FORWARDED","l4":{"TCP":{"destination_port":80}},"source":{"namespace":"shop"}},' +
        '"node_name":"node-1","time":"2026-09-21T14:13:20.123456789Z"}',
    )
  })

  test('leaves l4 empty when the mask takes another protocol', () => {
    expect(JSON.parse(lineOf({ protocol: 17 }, ['l4.TCP'])).flow).toEqual({ l4: {} })
  })

  test('writes an empty flow when the flow has none of the masked fields', () => {
    expect(lineOf({}, ['tunnel', 'l7.http.code'])).toContain('{"flow":{},"node_name"')
  })
})

describe('random flows', () => {
  /** mulberry32: a fixed seed makes a failure repeatable. */
  function random(seed: number): (below: number) => number {
    let state = seed
    return (below) => {
      state = (state + 0x6d2b79f5) | 0
      let t = Math.imul(state ^ (state >>> 15), 1 | state)
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
      return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below)
    }
  }

  const MASKS: (readonly string[] | undefined)[] = [
    undefined,
    ['time', 'verdict', 'source.namespace', 'source.pod_name', 'l4', 'IP', 'node_name'],
    [
      'uuid',
      'ethernet.source',
      'IP.destination',
      'IP.encrypted',
      'l4.UDP.source_port',
      'l4.ICMPv6.code',
      'event_type.type',
    ],
    [
      'l4.TCP.flags.SYN',
      'l7.dns.rcode',
      'l7.http',
      'interface.name',
      'emitter.version',
      'source_service.name',
      'extensions',
    ],
    [
      'destination',
      'drop_reason_desc',
      'is_reply',
      'reply',
      'Summary',
      'trace_context',
      'node_labels',
      'destination_names',
    ],
  ]

  test.each(MASKS.map((mask, i) => [i, mask] as const))('equal the plain way, mask %i', (index, mask) => {
    const r = random(index + 1)
    const pick = <T>(...values: T[]): T => values[r(values.length)]!
    const word = () => pick('a', 'web-0', 'x<y>&z', 'ünïcödé', '"', 'k8s:app=\\', '\u2028', '')
    const u32 = () => pick(0, 1, 9, 10, 99, 100, 65_535, 4_294_967_295, r(4_294_967_296))
    const ip = (v6: boolean) =>
      v6
        ? pick('fd00::1', '::', '::1', '2001:db8:0:0:1::1', '1:2:3:4:5:6:7:8', 'fe80::a00:27ff:fe4e:66a1')
        : `${r(256)}.${r(256)}.${r(256)}.${r(256)}`
    const endpoint = () => ({
      id: r(3) * 1000,
      identity: u32(),
      namespace: word(),
      podName: word(),
      labels: Array.from({ length: r(4) }, word),
      workloads: pick([], [{ name: word(), kind: word() }]),
      clusterName: pick('', 'c1'),
    })
    const l7 = () => ({
      type: r(4),
      latencyNs: pick(0, 1, 5_000_000_000, 2 ** 52),
      traceId: pick('', 'abc'),
      ...pick(
        {
          dns: {
            query: word(),
            ips: pick([], ['1.2.3.4']),
            ttl: u32(),
            cnames: pick([], [word()]),
            observationSource: 'kernel',
            rcode: r(4),
            qtypes: ['A'],
            rrtypes: [],
          },
        },
        {
          http: {
            code: pick(0, 200),
            method: 'GET',
            url: word(),
            protocol: 'HTTP/1.1',
            headers: pick([], [{ key: 'k', value: word() }]),
          },
        },
      ),
    })
    const store = new TestFlowStore(512, { nodeName: 'c1/<node>', nodeLabels: ['a=b'] })
    for (let i = 0; i < 400; i++) {
      const v6 = r(2) === 0
      const message = r(4) === 0 ? l7() : undefined
      store.push({
        srcIp: ip(v6),
        dstIp: ip(v6),
        srcPort: r(65_536),
        dstPort: pick(0, 53, r(65_536)),
        protocol: pick(6, 6, 17, 1, 58, 132, 47, 112, 2),
        ipVersion: pick(v6 ? 6 : 4, v6 ? 6 : 4, 0),
        l4Info: r(65_536),
        ifindex: pick(0, 7, u32()),
        verdict: r(10),
        point: pick(0, 3, 13, 101, 60, 200),
        isReply: pick(true, false, undefined),
        direction: pick('ingress', 'egress', 'unknown'),
        cause: r(12),
        packets: u32(),
        replyPackets: u32(),
        bytes: u32(),
        replyBytes: u32(),
        dropReason: pick(0, 3, 77),
        hubbleReason: pick(0, 133, 181, 250),
        dropLocation: pick(0, u32()),
        rttUs: u32(),
        srttUs: u32(),
        retransmits: r(65_536),
        drops: r(3),
        vlan: pick(0, 100),
        srcMac: pick('00:00:00:00:00:00', '0a:ff:00:10:9f:01'),
        dstMac: pick('00:00:00:00:00:00', '0a:ff:00:10:9f:02'),
        traceReason: r(9),
        encrypted: r(2) === 0,
        time:
          1_790_000_000_000_000_000n +
          BigInt(r(4)) * 1_000_000_000n +
          BigInt(pick(0, 1000, 1_000_000, r(1_000_000_000))),
        ...(r(3) > 0 ? { source: endpoint(), destination: endpoint() } : {}),
        ...(r(3) === 0 ? { sourceNames: ['a.example'], destinationNames: [word(), word()] } : {}),
        ...(r(3) === 0
          ? { sourceService: { name: word(), namespace: 'n' }, destinationService: { name: 's', namespace: '' } }
          : {}),
        ...(message ? { l7: message as never } : {}),
      })
    }
    const lines = linesOf(store, mask)
    expect(lines).toHaveLength(400)
    for (const line of lines) JSON.parse(line)
  })

  test('carry the bits of the record that tests cannot set through a spec', () => {
    const store = new TestFlowStore(2)
    store.push({ vlan: 5 })
    const view = store.createView()
    store.seek(view, 0)
    view.bytesArray[view.byteOffset + FLOW_EVENT.state]! |= FlowState.GUESSED | FlowState.FRAGMENT
    const [line] = linesOf(store)
    expect(JSON.parse(line!).flow.extensions.value).toMatchObject({ direction_guessed: true, fragment: true, vlan: 5 })
  })
})

describe('the room that encode() reserves', () => {
  test('holds the longest of everything that is not added up', () => {
    const store = new TestFlowStore(2)
    const max = 4_294_967_295
    const address = 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'
    store.push({
      srcIp: address,
      dstIp: address,
      srcPort: 65_535,
      dstPort: 65_535,
      l4Info: 0x1ff,
      verdict: 2,
      dropReason: 65_535,
      hubbleReason: 165,
      dropLocation: max,
      isReply: false,
      ifindex: max,
      ...{ packets: max, replyPackets: max, bytes: max, replyBytes: max, rttUs: max, srttUs: max },
      ...{ retransmits: 65_535, drops: 65_535, vlan: 4095, encrypted: true },
    })
    store.context.dropLocation = () => `${'f'.repeat(511)}+0xffffffff`
    store.context.kernelDropReason = () => ({ name: 'R'.repeat(64), hubble: 0 })
    store.context.interfaceName = () => '&'.repeat(15)
    const [line] = linesOf(store)
    expect(line!.length).toBeGreaterThan(1500)
    expect(line!.length).toBeLessThan(4096)
  })
})
