import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { Lab } from '../../lab/index.ts'
import { TestAgent } from '../helpers/agent.ts'
import { pod } from '../helpers/api-double-objects.ts'
import { eventually } from '../helpers/eventually.ts'
import { packetsOf, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { type HealthSeen, HealthWatch } from '../helpers/health-watch.ts'
import { LabCluster } from '../helpers/lab-cluster.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { residentBytes } from '../helpers/process-facts.ts'
import { Traffic } from '../helpers/traffic.ts'

const HTTP = 8080
const ECHO = 7000
/** Ports of the two sets that take turns. */
const [PORT_A, PORT_B] = [7001, 7002]
const LOG = 'ContainerNetworkLog'
const METRIC = 'ContainerNetworkMetric'
/** The API server is in this process, and both share two cores with the rest: a stall is longer than that. */
const ANSWER_MS = 1000
/**
 * The heap that the agent has to do with, MB: V8 lets garbage lie as long as it has room, and what is never let go
 * of ends the process.
 */
const HEAP_MB = 160
/** What hostile input may add to the agent's memory: the rest of its heap, and buffers. */
const ADDED_BYTES = 128e6
const FLAPS_PER_SECOND = 20
const FLAP_SECS = 10
const FLAPPING_PODS = 50

const logOf = (name: string, spec: unknown, more: object = {}) => ({
  apiVersion: 'acn.azure.com/v1alpha1',
  kind: LOG,
  metadata: { name },
  spec,
  ...more,
})

/** Values where an object, a list or a text is wanted, in each of the other types. */
const ODD = [null, true, -1, 1e308, '', 'text', [], [[]], [null], {}, { a: { b: [] } }]

describeKernel('hostile filters', () => {
  let lab: Lab
  let cluster: LabCluster
  let agent: TestAgent
  let watch: HealthWatch
  let startBytes = 0

  const status = (kind: string, name: string) => cluster.filterOf(kind, name)?.status
  const stateOf = (name: string) => status(LOG, name)?.state
  const isOff = async () => /no ContainerNetworkLog/.test((await agent.parts())['exporter/json-log']!.message)

  beforeAll(async () => {
    const sends = [PORT_A, PORT_B].map((port) => ({
      kind: 'udp-client' as const,
      ...{ to: '10.244.1.10', port, everyMs: 20, burst: 4 },
    }))
    lab = await Lab.up({
      cluster: 'test',
      pods: [
        {
          ...{ namespace: 'shop', name: 'server' },
          run: [
            { kind: 'http-server', port: HTTP },
            ...[ECHO, PORT_A, PORT_B].map((port) => ({ kind: 'udp-echo' as const, port })),
          ],
        },
        { namespace: 'shop', name: 'client' },
        { namespace: 'shop', name: 'a', run: sends },
        { namespace: 'shop', name: 'b', run: sends },
      ],
    })
    cluster = await LabCluster.start(lab)
    agent = await TestAgent.start({
      name: 'fhostile',
      settings: {
        ...cluster.settings(),
        'kernel.aggregation': 'none',
        'kernel.otherIdleTimeout': '1s',
        // Past versions of endpoints are kept as long as flows name them.
        'history.flows': 10_000,
      },
      env: { NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` },
    })
    await eventually('it leads', () => cluster.api.get('leases', cluster.namespace, 'sluice-agent') !== undefined)
    startBytes = residentBytes(agent.pid)
  })

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await cluster?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  beforeEach(() => {
    watch = new HealthWatch(agent)
  })

  afterEach(async () => {
    cluster.removeFilters()
    const seen = await watch.end()
    await eventually('nothing is left in force', isOff)
    expectWell(seen)
    const report = await agent.ledger()
    expect(report.equations.filter(({ difference }) => difference !== 0n)).toEqual([])
    expect(report.closes).toBe(true)
    expect(agent.noise).toBe('')
  })

  function expectWell({ answers, bad, worstMs, peakBytes }: HealthSeen): void {
    expect(answers).toBeGreaterThan(3)
    expect(bad).toBe(0)
    expect(worstMs).toBeLessThan(ANSWER_MS)
    expect(peakBytes - startBytes).toBeLessThan(ADDED_BYTES)
  }

  test('resources of 10,000 filters, and of more than fit together, are refused, and no packet is the worse for it', async () => {
    const server = lab.pod('shop/server').ips[0]
    cluster.filter(logOf('echoes', { includefilters: [{ to: { port: [ECHO] } }] }))
    await eventually('a good one is in force', () => stateOf('echoes') === 'CONFIGURED')
    const traffic = await Traffic.start(lab.pod('shop/client'), {
      ...{ to: server, port: ECHO, perSecond: 500, bytes: 64, sockets: 4 },
    })
    const begun = performance.now()
    const filters = (count: number, from: number) =>
      Array.from({ length: count }, (_, i) => ({ to: { ip: [`10.9.${(from + i) >> 8}.${(from + i) & 255}`] } }))
    cluster.filter(logOf('huge', { includefilters: filters(10_000, 0) }))
    await eventually('the huge one is refused', () => stateOf('huge') === 'FAILED')
    expect(status(LOG, 'huge')).toMatchObject({ reason: 'Invalid', filters: 0 })
    expect(status(LOG, 'huge')!.message).toMatch(/^spec.*want at most/)
    for (const [i, name] of ['l1', 'l2', 'l3'].entries()) {
      const [include, exclude] = [filters(256, i * 512), filters(256, i * 512 + 256)]
      cluster.filter(logOf(name, { includefilters: include, excludefilters: exclude }))
    }
    await eventually('the last that does not fit is refused', () => stateOf('l3') === 'FAILED')
    expect(status(LOG, 'l3')).toMatchObject({ reason: 'LimitExceeded', filters: 0 })
    expect(['echoes', 'l1'].map(stateOf)).toEqual(['CONFIGURED', 'CONFIGURED'])
    const sent = await traffic.stop()
    // The sender keeps its pace, and each datagram and its echo is in the log, at both devices, with a thousand filters too.
    expect(sent).toBeGreaterThan((500 * (performance.now() - begun)) / 1000 - 250)
    for (const name of ['client', 'server']) {
      const { ifindex } = lab.pod(`shop/${name}`)
      const seen = () =>
        readFlowLog(agent.logPath).flows.filter(
          (flow) => portsOf(flow).includes(ECHO) && flow.interface?.index === ifindex,
        )
      await eventually(`all of it is in the log: ${name}`, () => packetsOf(seen()) >= sent)
      const wanted = seen().filter((flow) => portsOf(flow)[1] === ECHO)
      expect(wanted.length).toBeGreaterThanOrEqual(sent)
    }
  })

  test('wrong types, huge texts and null everywhere are FAILED with the place of the mistake, or harmless', async () => {
    const places: ((odd: unknown) => object)[] = [
      (spec) => logOf('x', spec),
      (includefilters) => logOf('x', { includefilters }),
      (filter) => logOf('x', { includefilters: [filter] }),
      (from) => logOf('x', { includefilters: [{ from }] }),
      (labelSelector) => logOf('x', { includefilters: [{ from: { labelSelector } }] }),
      (matchLabels) => logOf('x', { includefilters: [{ from: { labelSelector: { matchLabels } } }] }),
      (matchExpressions) => logOf('x', { includefilters: [{ to: { labelSelector: { matchExpressions } } }] }),
      (verdict) => logOf('x', { includefilters: [{ verdict: [verdict] }] }),
      (port) => logOf('x', { includefilters: [{ to: { port: [port] } }] }),
      (httpPath) => logOf('x', { excludefilters: [{ httpPath: [httpPath] }] }),
    ]
    const documents = [...places, ...places].flatMap((place) => ODD.map(place))
    // As fast as the API server takes them: what is not the newest need not be looked at.
    for (const [i, document] of documents.entries()) {
      cluster.filter({ ...document, metadata: { name: `odd-${i % 40}` } })
      if (i % 10 === 0) await sleep(5)
    }
    const text = 'x'.repeat(900_000)
    for (const [i, value] of [
      { ip: [text] },
      { namespacedPod: [text] },
      { labelSelector: { matchLabels: { [text]: text.slice(0, 9) } } },
    ].entries()) {
      cluster.filter(logOf(`text-${i}`, { includefilters: [{ from: value }] }))
    }
    await eventually('texts are refused', () => [0, 1, 2].every((i) => stateOf(`text-${i}`) === 'FAILED'))
    for (const i of [0, 1, 2]) expect(status(LOG, `text-${i}`)!.message.length).toBeLessThan(4096)
    const stored = () => Array.from({ length: 40 }, (_, i) => status(LOG, `odd-${i}`))
    await eventually('each has a state', () => stored().every((one) => one !== undefined))
    // Of those that are wrong each says where.
    for (const one of stored()) if (one!.state === 'FAILED') expect(one!.message).toMatch(/spec/)
    expect(stored().filter((one) => one!.state === 'FAILED').length).toBeGreaterThan(20)
  })

  test('expressions that backtrack elsewhere are linear here, and those that are too large are refused', async () => {
    const evil = ['^(a+)+$', '(a|aa)+$', '^(([a-z])+.)+[A-Z]([a-z])+$', '(x+x+)+y', '.*.*.*.*=.*']
    const filters: object[] = evil.flatMap((one) => [{ httpPath: [one] }, { dnsQuery: [one] }, { httpUrl: [one] }])
    filters.push({ httpPath: ['![0-9]+$'] })
    cluster.filter(logOf('evil', { includefilters: filters }))
    await eventually('they are in force', () => stateOf('evil') === 'CONFIGURED')
    cluster.filter(logOf('large', { includefilters: [{ httpPath: ['((a{1,100}){1,100}){1,100}'] }] }))
    await eventually('the large one is refused', () => stateOf('large') === 'FAILED')
    const url = `http://${lab.pod('shop/server').ips[0]}:${HTTP}/${'a'.repeat(180)}`
    const program = `for (let i = 0; i < 20; i++) await (await fetch(${JSON.stringify(url)} + '!' + i)).text()`
    const { code, stderr } = await lab.pod('shop/client').exec(process.execPath, ['--input-type=module', '-e', program])
    expect([code, stderr]).toEqual([0, ''])
    // The last expression matches: whatever is in the log was asked of all the others before.
    await eventually('they are in the log', () => {
      const lines = readFlowLog(agent.logPath).flows.filter((flow) => flow.l7?.http !== undefined)
      return lines.length >= 20
    })
  })

  test('resources and labels that change 20 times a second: each event is judged by a whole set, and memory stays', async () => {
    const flapping = Array.from({ length: FLAPPING_PODS }, (_, i) => `f-${i}`)
    const put = (names: readonly string[], phase: number) => {
      for (const [i, name] of names.entries()) {
        cluster.api.apply(
          'pods',
          pod({ namespace: 'shop', name, ip: `10.244.9.${i + 1}`, labels: { app: `${(i + phase) % 2}` } }),
        )
      }
      for (const name of ['a', 'b']) cluster.putPod(`shop/${name}`, { labels: { phase: `${phase % 2}` } })
    }
    const sets = [
      { includefilters: [{ from: { namespacedPod: ['shop/a'] }, to: { port: [PORT_A] } }] },
      { includefilters: [{ from: { namespacedPod: ['shop/b'] }, to: { port: [PORT_B] } }] },
    ]
    const byLabel = { includeFilters: [{ from: { labelSelector: { matchLabels: { app: '1' } } } }] }
    const metric = (phase: number) => ({
      ...{ apiVersion: 'acn.azure.com/v1alpha1', kind: METRIC, metadata: { name: 'container-network-metric' } },
      spec: { filters: [{ metric: phase % 2 === 0 ? 'flow' : 'drop', ...byLabel }] },
    })
    const flap = async (secs: number): Promise<number> => {
      const begun = performance.now()
      let done = 0
      for (; performance.now() - begun < secs * 1000; done++) {
        put(flapping, done)
        cluster.filter(logOf('flaps', sets[done % 2]))
        cluster.filter(metric(done))
        // Some come and go altogether.
        if (done % 4 === 0) cluster.filter(logOf('comes', sets[0]))
        if (done % 4 === 2) cluster.removeFilter(LOG, 'comes')
        await sleep(Math.max(0, begun + ((done + 1) * 1000) / FLAPS_PER_SECOND - performance.now()))
      }
      return done
    }
    const applies = async () => (await agent.metrics())['sluice_filter_applies_total']!
    const from = readFlowLog(agent.logPath).flows.length
    await flap(2)
    const [appliesBefore, bytesBefore] = [await applies(), residentBytes(agent.pid)]
    expect(await flap(FLAP_SECS)).toBeGreaterThan(0.8 * FLAP_SECS * FLAPS_PER_SECOND)
    const seen = await watch.end()
    expectWell(seen)
    const changes = (await applies()) - appliesBefore
    // Followed all along, and no more than ten times a second.
    expect(changes).toBeGreaterThan(FLAP_SECS)
    expect(changes).toBeLessThan(11 * FLAP_SECS)
    expect(residentBytes(agent.pid) - bytesBefore).toBeLessThan(64e6)
    // Half of one set and half of the other would take a's datagrams to b's port, and b's to a's.
    const taken = readFlowLog(agent.logPath).flows.slice(from)
    const kinds = new Set(taken.map((flow) => `${flow.source?.pod_name} ${portsOf(flow)[1]}`))
    expect([...kinds].sort()).toEqual([`a ${PORT_A}`, `b ${PORT_B}`])
    // When it is over, what is there last is what is in force.
    cluster.filter(logOf('flaps', sets[1]))
    cluster.removeFilter(LOG, 'comes')
    await eventually('the last status is of the last version', () => {
      const { metadata } = cluster.filterOf(LOG, 'flaps')!
      return status(LOG, 'flaps')?.observedGeneration === metadata.generation
    })
    const { length } = readFlowLog(agent.logPath).flows
    await eventually('the last set takes flows', () => readFlowLog(agent.logPath).flows.length > length + 20)
    const last = readFlowLog(agent.logPath).flows.slice(length)
    expect([...new Set(last.slice(10).map((flow) => portsOf(flow)[1]))]).toEqual([PORT_B])
  })
})
