import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { ApiServer } from '../../api/server.ts'
import { until } from '../helpers/api-server.ts'
import type { TestFlowStore } from '../helpers/flow-store.ts'
import { build, Hubble, missing, type Program } from './hubble-cli.ts'
import { flowNumber, START_SECS, scenario } from './scenario.ts'

const skipped = missing ? ` (skipped: ${missing})` : ''

/** The lines of the scenario as `hubble observe` prints them. */
const COMPACT = [
  'Sep 21 14:13:20.000: shop/cart-0:40000 (ID:20001) -> data/db-5d8f-x1:80 (ID:20002) to-stack FORWARDED (TCP Flags: SYN)',
  'Sep 21 14:13:21.000: shop/cart-0:40000 (ID:20001) <- data/db-5d8f-x1:80 (ID:20002) to-endpoint FORWARDED (TCP Flags: SYN, ACK)',
  'Sep 21 14:13:22.000: shop/cart-0:40000 (ID:20001) -> 203.0.113.53:53 (world) dns-request proxy FORWARDED (DNS Query api.example.com. A)',
  'Sep 21 14:13:23.000: shop/cart-0:40000 (ID:20001) <- 203.0.113.53:53 (world) dns-response proxy FORWARDED (DNS Answer "203.0.113.9" TTL: 30 (Proxy api.example.com. A))',
  'Sep 21 14:13:24.000: shop/cart-0:40000 (ID:20001) -> data/db-5d8f-x1:80 (ID:20002) http-request FORWARDED (HTTP/1.1 GET http://db.data/items?id=1)',
  'Sep 21 14:13:25.000: shop/cart-0:40000 (ID:20001) <- data/db-5d8f-x1:80 (ID:20002) http-response FORWARDED (HTTP/1.1 503 7ms (GET http://db.data/items?id=1))',
  'Sep 21 14:13:26.000: shop/cart-0:40000 (ID:20001) <> api.example.com:443 (world) Policy denied DROPPED (TCP Flags: SYN)',
  'Sep 21 14:13:27.000: 10.0.0.1 (host) -> shop/cart-0 (ID:20001) to-stack FORWARDED (ICMPv4 EchoRequest)',
  'Sep 21 14:13:28.000: shop/cart-0 (ID:20001) -> data/db-5d8f-x1 (ID:20002) to-stack FORWARDED (ICMPv6 EchoRequest)',
  'Sep 21 14:13:29.000: shop/cart-0:40000 (ID:20001) -> data/db-5d8f-x1:80 (ID:20002) to-stack FORWARDED (SCTP)',
  'Sep 21 14:13:30.000: shop/cart-0:40000 (ID:20001) <> data/db-5d8f-x1:80 (ID:20002) to-stack FORWARDED (TCP Flags: SYN)',
  'Sep 21 14:13:31.000: shop/cart-0:40000 (ID:20001) <> 10.0.0.2:9999 (host) Success DROPPED (UDP)',
]
const ALL = COMPACT.map((_, i) => i)

/** Flags of `hubble observe`, and the flows of the scenario that they find. */
const filters: [flags: string[], flows: number[]][] = [
  [
    ['--last', '3'],
    [9, 10, 11],
  ],
  [
    ['--first', '2'],
    [0, 1],
  ],
  [['--all'], ALL],
  [
    ['--since', iso(9)],
    [9, 10, 11],
  ],
  [
    ['--until', iso(2), '--since', iso(1)],
    [1, 2],
  ],
  [['--since', '100000h'], ALL],
  [
    ['--verdict', 'DROPPED'],
    [6, 11],
  ],
  [
    ['--not', '--verdict', 'FORWARDED'],
    [6, 11],
  ],
  [['--drop-reason-desc', 'POLICY_DENIED'], [6]],
  [
    ['--type', 'l7'],
    [2, 3, 4, 5],
  ],
  [['--type', 'trace:to-endpoint'], [1]],
  [
    ['--type', 'drop'],
    [6, 11],
  ],
  [['--type', 'drop:133'], [6]],
  [
    ['--protocol', 'tcp'],
    [0, 1, 4, 5, 6, 10],
  ],
  [
    ['--protocol', 'udp', '--protocol', 'sctp'],
    [2, 3, 9, 11],
  ],
  [
    ['--protocol', 'icmp'],
    [7, 8],
  ],
  [
    ['--protocol', 'dns'],
    [2, 3],
  ],
  [
    ['--protocol', 'http'],
    [4, 5],
  ],
  [
    ['--from-pod', 'shop/cart'],
    [0, 2, 4, 6, 8, 9, 10, 11],
  ],
  [
    ['--to-pod', 'shop/'],
    [1, 3, 5, 7],
  ],
  [
    ['--pod', 'data/db-5d8f'],
    [0, 1, 4, 5, 8, 9, 10],
  ],
  [['--pod', 'cart-0'], []],
  [
    ['-n', 'data'],
    [0, 1, 4, 5, 8, 9, 10],
  ],
  [
    ['-A', '--pod', 'db'],
    [0, 1, 4, 5, 8, 9, 10],
  ],
  [
    ['--from-namespace', 'shop', '--to-namespace', 'data'],
    [0, 4, 8, 9, 10],
  ],
  [
    ['--from-label', 'app=db'],
    [1, 5],
  ],
  [
    ['--label', 'tier in (back, front)'],
    [0, 1, 4, 5, 8, 9, 10],
  ],
  [['--to-label', 'reserved:host'], [11]],
  [
    ['--to-label', '!app'],
    [2, 6, 11],
  ],
  [['--from-ip', '203.0.113.0/24'], [3]],
  [['--ip', 'fd00::2'], [8]],
  [['--to-fqdn', '*.example.com'], [6]],
  [['--to-port', '443'], [6]],
  [
    ['--port', '53'],
    [2, 3],
  ],
  [['--to-service', 'data/db-main'], [10]],
  [
    ['--from-workload', 'StatefulSet/cart'],
    [0, 2, 4, 6, 8, 9, 10, 11],
  ],
  [
    ['--to-workload', 'db'],
    [0, 4, 8, 9, 10],
  ],
  [
    ['--identity', 'world'],
    [2, 3, 6],
  ],
  [
    ['--from-identity', '20002'],
    [1, 5],
  ],
  [['--to-identity', 'host'], [11]],
  [['--http-status', '5+'], [5]],
  [
    ['--http-method', 'get'],
    [4, 5],
  ],
  [
    ['--http-path', '^/items'],
    [4, 5],
  ],
  [
    ['--http-url', 'id=[0-9]$'],
    [4, 5],
  ],
  [
    ['--http-header', 'User-Agent:curl'],
    [4, 5],
  ],
  [['--tcp-flags', 'SYN,ACK'], [1]],
  [
    ['--trace-id', '0af7651916cd43dd8448eb211c80319c'],
    [4, 5],
  ],
  [['--traffic-direction', 'ingress'], [7]],
  [['--interface', 'veth9'], [7]],
  [['--node-name', 'node-*'], ALL],
  [['--node-name', 'other/node-1'], []],
  [['--node-label', 'zone=a'], ALL],
  [
    ['--cluster', 'default'],
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
  ],
  [['-6'], [8]],
  [['-4', '--protocol', 'icmp'], [7]],
  [['--cel-expression', '_flow.l4.TCP.destination_port == uint(443)'], [6]],
  [
    ['--allowlist', '{"reply":[true]}'],
    [1, 3, 5],
  ],
  [
    ['--allowlist', '{"dns_query":["example"]}'],
    [2, 3],
  ],
  [
    ['--denylist', '{"protocol":["tcp"]} {"verdict":["DROPPED"]}'],
    [2, 3, 7, 8, 9],
  ],
]

const NAMESPACES = ['data', 'shop'].map((namespace) => ({ cluster: '', namespace }))

function iso(i: number): string {
  return new Date((START_SECS + i) * 1000).toISOString().replace('Z', `${String(i).padStart(6, '0')}Z`)
}

/** Filters that only 1.19 knows. */
const filters119: [flags: string[], flows: number[]][] = [
  [['--encrypted'], [9]],
  [['--unencrypted', '--protocol', 'sctp'], []],
]

const programs: Program[] = ['hubble-1.19', 'hubble-1.18']

describe.skipIf(missing).each(programs)(`the %s command line${skipped}`, (program) => {
  let binary: string
  let server: ApiServer
  let store: TestFlowStore
  let hubble: Hubble
  let folder: string

  beforeAll(async () => {
    binary = build(program)
    folder = await mkdtemp(join(tmpdir(), 'sluice-interop-'))
    store = scenario()
    server = new ApiServer(
      { store, version: '0.1.0', namespaces: { list: () => NAMESPACES } },
      {
        listen: [
          { kind: 'tcp', host: '127.0.0.1', port: 0 },
          { kind: 'unix', path: join(folder, 'hubble.sock') },
        ],
      },
    )
    await server.start()
    hubble = new Hubble(binary, ['--server', server.addresses[0]!])
  })
  afterAll(async () => {
    await server?.stop(100)
    if (folder) await rm(folder, { recursive: true, force: true })
  })

  /** Numbers of the flows that a run prints. */
  async function flowsOf(...flags: string[]): Promise<number[]> {
    const number = flags.some((flag) => /^--(last|first|all|since)$/.test(flag)) ? [] : ['--last', '100']
    const lines = await hubble.lines('observe', '-o', 'json', ...number, ...flags)
    return lines.map((line) => flowNumber((JSON.parse(line) as { time: string }).time))
  }

  test.each(['compact', 'dict', 'json', 'table'])('prints the status as %s', async (output) => {
    const text = (await hubble.lines('status', '-o', output)).join('\n')
    expect(text).toMatch(output === 'json' ? /"num_flows":"12","max_flows":"64","seen_flows":"12"/ : /12/)
    if (output === 'compact') expect(text).toMatch(/Ok\nCurrent\/Max Flows: 12\/64 \(18\.75%\)\nFlows\/s: /)
    expect(text).not.toMatch(/warn/i)
  })

  test('lists nodes and namespaces', async () => {
    expect((await hubble.lines('list', 'nodes', '-o', 'wide'))[1]).toMatch(
      /^node-1 +Connected .* 12\/64 \( 18\.75%\) +sluice v0\.1\.0 +127\.0\.0\.1:\d+ +Disabled/,
    )
    expect(JSON.parse((await hubble.lines('list', 'nodes', '-o', 'json')).join(''))[0]).toMatchObject({
      name: 'node-1',
      state: 'NODE_CONNECTED',
    })
    expect(await hubble.lines('list', 'namespaces')).toEqual(['NAMESPACE', 'data', 'shop'])
  })

  test('prints every kind of flow in one line', async () => {
    // With identities of the default mask, and names that the command line forgets to ask for.
    expect(await hubble.lines('observe', '--all')).toEqual(COMPACT)
  })

  test('prints flows as dict, table and json', async () => {
    const dict = await hubble.lines('observe', '--first', '1', '-o', 'dict')
    expect(dict.map((line) => line.trim())).toEqual([
      'TIMESTAMP: Sep 21 14:13:20.000',
      'SOURCE: shop/cart-0:40000',
      'DESTINATION: data/db-5d8f-x1:80',
      'TYPE: to-stack',
      'VERDICT: FORWARDED',
      'SUMMARY: TCP Flags: SYN',
    ])
    const [head, row] = await hubble.lines('observe', '--last', '1', '-o', 'table')
    expect(head?.split(/ {2,}/)).toEqual(['TIMESTAMP', 'SOURCE', 'DESTINATION', 'TYPE', 'VERDICT', 'SUMMARY'])
    expect(row?.split(/ {2,}/).slice(1)).toEqual(['shop/cart-0:40000', '10.0.0.2:9999', 'Success', 'DROPPED', 'UDP'])
    const [json] = await hubble.lines('observe', '--first', '1', '-o', 'json')
    expect(JSON.parse(json!)).toEqual({
      flow: {
        time: '2026-09-21T14:13:20Z',
        uuid: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
        // 1.18 does not know who made a flow.
        ...(program === 'hubble-1.18' ? {} : { emitter: { name: 'Sluice', version: '0.1.0' } }),
        verdict: 'FORWARDED',
        ethernet: { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02' },
        IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 'IPv4' },
        l4: { TCP: { source_port: 40000, destination_port: 80, flags: { SYN: true } } },
        source: {
          ID: 77,
          identity: 20001,
          cluster_name: 'default',
          namespace: 'shop',
          labels: ['k8s:app=cart', 'k8s:io.kubernetes.pod.namespace=shop'],
          pod_name: 'cart-0',
          workloads: [{ name: 'cart', kind: 'StatefulSet' }],
        },
        destination: {
          ID: 78,
          identity: 20002,
          cluster_name: 'default',
          namespace: 'data',
          labels: ['k8s:app=db', 'k8s:tier=back'],
          pod_name: 'db-5d8f-x1',
          workloads: [{ name: 'db', kind: 'Deployment' }],
        },
        Type: 'L3_L4',
        node_name: 'node-1',
        node_labels: ['zone=a'],
        event_type: { type: 4, sub_type: 3 },
        traffic_direction: 'EGRESS',
        trace_observation_point: 'TO_STACK',
        trace_reason: 'NEW',
        is_reply: false,
        interface: { index: 7, name: 'veth7' },
        Summary: 'TCP Flags: SYN',
      },
      node_name: 'node-1',
      time: '2026-09-21T14:13:20Z',
    })
  })

  test.each(program === 'hubble-1.19' ? [...filters, ...filters119] : filters)(
    'finds flows with %j',
    async (flags, flows) => {
      expect(await flowsOf(...flags)).toEqual(flows)
    },
  )

  test('finds a flow again by the uuid that it was shown with', async () => {
    const lines = await hubble.lines('observe', '--all', '-o', 'json')
    const { flow } = JSON.parse(lines[5]!) as { flow: { uuid: string } }
    expect(await flowsOf('--uuid', flow.uuid)).toEqual([5])
  })

  test.each([
    ['a bad regular expression', ['--http-path', '('], /http_path/],
    ['a bad CEL expression', ['--cel-expression', '_flow.nope == 1'], /nope|cel/i],
  ])('prints what is wrong with %s, without the words of gRPC', async (_name, flags, text) => {
    const { stdout, stderr, code } = await hubble.run('observe', ...flags)
    expect([stdout, code]).toEqual(['', 1])
    expect(stderr).toMatch(text)
    expect(stderr).not.toMatch(/rpc error/)
  })

  test('reads its own JSON again', async () => {
    const lines = await hubble.lines('observe', '--all', '-o', 'json')
    const file = join(folder, 'flows.json')
    await writeFile(file, `${lines.join('\n')}\n`)
    const offline = new Hubble(binary, [])
    expect(await offline.lines('observe', '--input-file', file, '--verdict', 'DROPPED')).toEqual([
      COMPACT[6],
      COMPACT[11],
    ])
  })

  test('reaches the same flows by the unix socket', async () => {
    const socket = new Hubble(binary, ['--server', server.addresses[1]!])
    expect(await socket.lines('observe', '--last', '2')).toEqual(COMPACT.slice(-2))
    expect((await socket.lines('status'))[0]).toContain('Ok')
  })

  test('follows, and ends at Ctrl-C with success', async () => {
    const run = hubble.start('observe', '--follow', '--last', '1')
    onTestFinished(() => void run.stop())
    await until('the history is printed', () => run.lines.length === 1)
    for (let i = 0; i < 3; i++) store.push({ srcPort: 50_000 + i })
    await until('new flows are printed', () => run.lines.length === 4)
    expect(run.lines.at(-1)).toMatch(/10\.0\.0\.1:50002 \(unknown\) -> 10\.0\.0\.2:80 \(unknown\)/)
    store.loseRecords({ source: 1, count: 42, cpu: 3, firstMs: START_SECS * 1000, lastMs: START_SECS * 1000 })
    await until('lost events are printed', () => run.lines.length === 5)
    expect(run.lines.at(-1)).toMatch(/EVENTS LOST: PERF_EVENT_RING_BUFFER CPU\(3\) 42/)
    expect(await run.stop()).toBe(0)
  })

  test('prints agent events', async () => {
    server.agentEvents.agentStarted()
    server.agentEvents.endpoint({ kind: 'created', endpoint: store.endpoints[1]! })
    const lines = await hubble.lines('observe', 'agent-events')
    expect(lines[0]).toMatch(/: AGENT_STARTED \(start time: /)
    expect(lines[1]).toMatch(/: ENDPOINT_CREATED \(id: 77, namespace: shop, pod name: cart-0\)/)
    expect(await hubble.lines('observe', 'debug-events')).toEqual([])
  })

  test('describes the services by reflection', async () => {
    expect((await hubble.lines('reflect')).join('\n')).toMatch(/"name":"observer\/observer\.proto"/)
  })
})
