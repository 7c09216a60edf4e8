import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ComponentState } from '../../api/gen/sluice/v1/agent.ts'
import { Lab } from '../../lab/index.ts'
import { TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { packetsOf, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { residentBytes } from '../helpers/process-facts.ts'
import { Traffic } from '../helpers/traffic.ts'

const DISK_BYTES = 16 * 1_048_576
const HISTORY_FLOWS = 20_000

describeKernel('an agent in trouble goes on, and says what the trouble is', () => {
  const disk = mkdtempSync(join(tmpdir(), 'sluice-disk-'))
  const logs = join(disk, 'logs')
  let lab: Lab
  let agent: TestAgent

  beforeAll(async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'sluice-e2e', disk])
    lab = await Lab.up({
      pods: [
        { namespace: 'shop', name: 'a' },
        { namespace: 'shop', name: 'b' },
      ],
    })
    agent = await TestAgent.start({
      name: 'hostile',
      settings: {
        'node.netns': lab.node().netnsPath,
        'metadata.file': lab.metadataPath,
        'kernel.aggregation': 'none',
        'kernel.otherIdleTimeout': '1s',
        'log.path': join(logs, 'events.log'),
        'log.maxSize': '1MiB',
        'log.maxBackups': 3,
        'history.flows': HISTORY_FLOWS,
      },
    })
  })

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await lab?.down()
    execFileSync('umount', ['-l', disk])
    rmSync(disk, { recursive: true, force: true })
  })

  /** Datagrams from pod a to pod b, where nobody listens. */
  const send = async (port: number, count: number, perSecond = 2000) => {
    const config = { to: lab.pod('shop/b').ips[0], port, perSecond, bytes: 20, sockets: 1, count }
    expect(await (await Traffic.start(lab.pod('shop/a'), config)).ended()).toBe(count)
  }
  /** Packets of a port in the log, as pod a's device saw them. */
  const logged = (port: number) =>
    packetsOf(
      readFlowLog(agent.logPath).flows.filter(
        (flow) => portsOf(flow)[1] === port && flow.interface?.index === lab.pod('shop/a').ifindex,
      ),
    )
  const logPart = async () => (await agent.parts())['exporter/json-log']!

  test('when somebody removes the log’s directory: it is made again', async () => {
    await send(6001, 10)
    await eventually('first packets in the log', () => logged(6001) === 10)
    rmSync(logs, { recursive: true })
    await send(6002, 10)
    await eventually('packets in a new log', () => existsSync(agent.logPath) && logged(6002) === 10)
    expect(await agent.ready()).toMatchObject({ ok: true })
    expect(await agent.ledger()).toMatchObject({ closes: true })
  })

  test('when the disk is full: status, readyz and metrics tell; every flow is written once there is room', async () => {
    const filler = join(disk, 'filler')
    try {
      writeFileSync(filler, Buffer.alloc(DISK_BYTES))
    } catch {
      // Full: that is the point.
    }
    try {
      await send(6003, 300)
      await expect
        .poll(async () => (await logPart()).message, { timeout: 10_000 })
        .toMatch(/disk_full.* \d+ flows wait/)
      expect((await logPart()).state).toBe(ComponentState.COMPONENT_STATE_FAILED)
      expect(await agent.ready()).toMatchObject({
        ok: false,
        text: expect.stringMatching(/^FAIL exporter\/json-log: .*disk_full/m),
      })
      expect((await agent.metrics())['sluice_log_write_errors_total{reason="disk_full"}']).toBeGreaterThan(0)
      // The API is not concerned.
      using client = await agent.client()
      let seen = 0
      for await (const { flow } of client.getFlows({ number: 20_000n }))
        if (flow?.l4?.UDP?.destination_port === 6003) seen++
      expect(seen).toBeGreaterThanOrEqual(600)
    } finally {
      rmSync(filler)
    }
    await agent.settled()
    expect(logged(6003)).toBe(300)
    expect(await agent.ready()).toMatchObject({ ok: true })
    expect(await logPart()).toEqual({ state: ComponentState.COMPONENT_STATE_OK, message: '' })
    expect(await agent.ledger()).toMatchObject({ closes: true })
  })

  test('when a request has 10 MB: it is refused, the next one is answered', async () => {
    using client = await agent.client()
    const before = residentBytes(agent.pid)
    const hostile = async () => {
      for await (const _ of client.getFlows({ whitelist: [{ source_pod: ['x'.repeat(10 << 20)] }] })) {
        throw new Error('was answered')
      }
    }
    for (let i = 0; i < 5; i++) await expect(hostile()).rejects.toThrow(/larger than max|RESOURCE_EXHAUSTED/)
    expect(await client.health()).toBe('SERVING')
    expect((await client.serverStatus()).num_flows).toBeGreaterThan(0n)
    expect(residentBytes(agent.pid) - before).toBeLessThan(64e6)
  })

  test('when it is flooded with scrapes: some are refused, it is alive meanwhile, and the next one is answered', async () => {
    const scrapes = Array.from({ length: 300 }, () =>
      fetch(agent.metricsUrl).then(
        async (response) => (await response.arrayBuffer()) && response.status,
        () => 'closed' as const, // more connections than are taken
      ),
    )
    const alive = await fetch(`http://${agent.health}/healthz`, { signal: AbortSignal.timeout(5000) })
    expect(alive.status).toBe(200)
    const answers = new Set(await Promise.all(scrapes))
    expect(answers.has(200)).toBe(true)
    expect([...answers].filter((answer) => answer !== 200 && answer !== 503 && answer !== 'closed')).toEqual([])
    expect(Object.keys(await agent.metrics()).length).toBeGreaterThan(100)
  })

  test('when a follower does not read: it alone misses flows, and is told how many', async () => {
    using slowClient = await agent.client()
    using quickClient = await agent.client()
    const stop = new AbortController()
    const slow = slowClient.getFlows({ number: 1n, follow: true }, { signal: stop.signal })[Symbol.asyncIterator]()
    const first = await slow.next()
    expect(first.value?.flow?.uuid).toBeDefined()
    const quick = { flows: new Set<string>(), lost: 0 }
    const following = (async () => {
      for await (const { flow, lost_events: lost } of quickClient.getFlows(
        { number: 1n, follow: true },
        { signal: stop.signal },
      )) {
        if (flow) quick.flows.add(flow.uuid)
        quick.lost += Number(lost?.num_events_lost ?? 0)
      }
    })()
    following.catch(() => {}) // awaited below, unless something else fails first
    const before = residentBytes(agent.pid)
    // Two views and a drop each: three times the history.
    await send(6005, HISTORY_FLOWS, 4000)
    await agent.settled()
    expect(residentBytes(agent.pid) - before).toBeLessThan(100e6)
    expect(quick.lost).toBe(0)
    expect(quick.flows.size).toBeGreaterThan(3 * HISTORY_FLOWS)

    // Now it reads what there is for it: everything that the quick one got was either shown or told as lost.
    let shown = 1
    let lost = 0
    while (shown + lost < quick.flows.size) {
      const { value, done } = await slow.next()
      if (done) break
      if (value.flow) shown++
      lost += Number(value.lost_events?.num_events_lost ?? 0)
    }
    stop.abort()
    await following
    expect(lost).toBeGreaterThan(0)
    expect(shown + lost).toBe(quick.flows.size)
    expect(await agent.ready()).toMatchObject({ ok: true })
  })
})
