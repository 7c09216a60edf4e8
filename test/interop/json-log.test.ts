import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { JsonLogExporter, type JsonLogOptions, resolveJsonLogOptions } from '../../exporters/json-log/index.ts'
import { type FlowSpec, TestFlowStore } from '../helpers/flow-store.ts'

const missing = spawnSync('go', ['version']).status === 0 ? undefined : 'needs Go 1.25 or later'
const HUBBLE = fileURLToPath(new URL('./bin/hubble-1.19', import.meta.url))

const POD = {
  id: 77,
  identity: 20001,
  clusterName: 'c1',
  namespace: 'shop',
  podName: 'cart-0',
  labels: ['k8s:app=<cart>&co', 'k8s:io.kubernetes.pod.namespace=shop'],
  workloads: [{ name: 'cart', kind: 'StatefulSet' }],
}
const WORLD = { identity: 2, labels: ['reserved:world'] }
const DNS = { ttl: 30, cnames: ['b.example.'], observationSource: 'kernel', qtypes: ['A'], rrtypes: ['CNAME', 'A'] }
const HTTP = { method: 'GET', url: 'http://shop/?a=1&b=\u2028"', protocol: 'HTTP/1.1' }

/** At least one flow with each member that the log can have. */
const FLOWS: FlowSpec[] = [
  {
    source: POD,
    destination: WORLD,
    destinationNames: ['a.example', 'b.example'],
    traceReason: 1,
    rttUs: 250,
    srttUs: 300,
  },
  { source: WORLD, destination: POD, isReply: true, direction: 'ingress', point: 101, traceReason: 3, l4Info: 18 },
  { verdict: 2, dropReason: 3, dropLocation: 0x5c, drops: 1, isReply: undefined, direction: 'unknown' },
  { verdict: 2, hubbleReason: 133, vlan: 100, encrypted: true, retransmits: 3 },
  { srcIp: 'fd00::1', dstIp: '2001:db8::2', protocol: 58, l4Info: 128 << 8, ifindex: 0 },
  { protocol: 1, l4Info: (3 << 8) | 3 },
  {
    protocol: 132,
    l4Info: 1,
    sourceService: { name: 'a', namespace: 'x' },
    destinationService: { name: 'b', namespace: 'y' },
  },
  { protocol: 17, packets: 4_294_967_295, bytes: 4_294_967_295, replyPackets: 9, replyBytes: 800 },
  { protocol: 47, srcMac: '00:00:00:00:00:00', dstMac: '00:00:00:00:00:00', time: 1_790_000_000_000_000_000n },
  { protocol: 17, l7: { type: 1, latencyNs: 0, traceId: '', dns: { ...DNS, query: 'a.example.', ips: [], rcode: 0 } } },
  {
    protocol: 17,
    isReply: true,
    time: 1_790_000_000_120_000_000n,
    l7: {
      type: 2,
      latencyNs: 1_234_567,
      traceId: '',
      dns: { ...DNS, query: 'a.example.', ips: ['203.0.113.9'], rcode: 3 },
    },
  },
  {
    l7: {
      type: 2,
      latencyNs: 2 ** 40,
      traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
      http: {
        ...HTTP,
        code: 200,
        headers: [
          { key: 'X-A', value: '' },
          { key: 'X-B', value: '\u0007' },
        ],
      },
    },
  },
]

async function logOf(options: JsonLogOptions = {}): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-interop-log-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'events.log')
  const exporter = new JsonLogExporter(resolveJsonLogOptions({ path, ...options }))
  await exporter.start(new AbortController().signal)
  const store = new TestFlowStore(64, { nodeName: 'c1/node-1', nodeLabels: ['zone=a'] })
  store.push(...FLOWS)
  exporter.accept(store, 0, store.end)
  store.loseRecords({ source: 1, count: 42, cpu: 1, firstMs: 1_790_000_000_000, lastMs: 1_790_000_001_500 })
  await exporter.flush(5000)
  await exporter[Symbol.asyncDispose]()
  return path
}

function hubble(...args: string[]): string {
  const { stdout, stderr, status } = spawnSync(HUBBLE, ['observe', ...args], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout
}

describe.skipIf(missing)(`the log, read by hubble${missing ? ` (skipped: ${missing})` : ''}`, () => {
  beforeAll(() => {
    const cwd = fileURLToPath(new URL('./hubble-1.19/', import.meta.url))
    execFileSync('go', ['build', '-o', HUBBLE, 'github.com/cilium/cilium/hubble'], {
      cwd,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  })

  test.each<[string, JsonLogOptions]>([
    ['all fields', {}],
    [
      'a mask',
      { fieldMask: ['time', 'verdict', 'IP.source', 'l4.TCP.flags.SYN', 'source.namespace', 'l7.dns', 'extensions'] },
    ],
    ['a mask that takes nothing of most flows', { fieldMask: ['trace_context'] }],
  ])('comes out of `-o json` as it went in, byte for byte: %s', async (_, options) => {
    const path = await logOf(options)
    const lines = readFileSync(path, 'utf8')
    expect(lines.split('\n')).toHaveLength(FLOWS.length + 2)
    expect(hubble('--input-file', path, '-o', 'json')).toBe(lines)
  })

  test('prints in compact form what happened', async () => {
    const out = hubble('--input-file', await logOf(), '--time-format', 'RFC3339Nano')
    expect(out).toContain(
      'shop/cart-0:40000 (ID:20001) -> a.example,b.example:80 (world) to-stack FORWARDED (TCP Flags: SYN)',
    )
    expect(out).toContain('Policy denied DROPPED')
    expect(out).toContain('dns-response kernel FORWARDED')
    expect(out).toContain('EVENTS LOST: PERF_EVENT_RING_BUFFER CPU(1) 42')
  })

  test('is filtered by hubble', async () => {
    const path = await logOf()
    const dropped = hubble('--input-file', path, '--verdict', 'DROPPED', '-o', 'json').trimEnd().split('\n')
    expect(dropped.filter((line) => line.startsWith('{"flow"'))).toHaveLength(2)
    const http = hubble('--input-file', path, '--http-status', '200', '-o', 'json').trimEnd().split('\n')
    expect(http.filter((line) => line.startsWith('{"flow"'))).toHaveLength(1)
  })
})
