import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Lab, type LabPod } from '../../lab/index.ts'
import { LedgerCounter } from '../../model/layouts.gen.ts'
import { BpfMap } from '../../native/index.ts'
import { TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { extra, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { Traffic } from '../helpers/traffic.ts'

const WANTED = 7001
const UNWANTED = 7002
const DATAGRAMS = 200

/** Only datagrams to one port are of interest, to the log and to one metric; all other metrics are off. */
const FILTERS = `
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkMetric
metadata: {name: container-network-metric}
spec:
  unlisted: drop
  filters:
    - metric: flow
      includeFilters:
        - to: {namespacedPod: [shop/server], port: [${WANTED}]}
---
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkLog
metadata: {name: wanted}
spec:
  includefilters:
    - to: {namespacedPod: [shop/server], port: [${WANTED}]}
`

describeKernel('an agent that is restarted with filters in force', () => {
  let lab: Lab
  let agent: TestAgent
  let client: LabPod
  let server: LabPod

  beforeEach(async () => {
    const echo = (port: number) => ({ kind: 'udp-echo' as const, port })
    lab = await Lab.up({
      pods: [
        { namespace: 'shop', name: 'server', run: [echo(WANTED), echo(UNWANTED)] },
        { namespace: 'shop', name: 'client' },
      ],
    })
    client = lab.pod('shop/client')
    server = lab.pod('shop/server')
    const directory = join(lab.directory, 'filters')
    mkdirSync(directory)
    writeFileSync(join(directory, 'filters.yaml'), FILTERS)
    agent = await TestAgent.start({
      name: 'frestart',
      settings: {
        'node.netns': lab.node().netnsPath,
        'metadata.file': lab.metadataPath,
        'filters.directory': directory,
        'log.enabled': 'auto',
        'kernel.aggregation': 'none',
        'kernel.otherIdleTimeout': '1s',
      },
    })
  })

  afterEach(async () => {
    await agent?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  const send = async (port: number): Promise<void> => {
    const config = { to: server.ips[0], port, perSecond: 1000, bytes: 64, sockets: 4, count: DATAGRAMS }
    expect(await (await Traffic.start(client, config)).ended()).toBe(DATAGRAMS)
  }
  /** Datagrams to the port that lines of the log tell, as a pod's device saw them. A line of the ring may be there twice. */
  const logged = (pod: LabPod) =>
    [...readFlowLog(agent.logPath).byUuid.values()]
      .filter((flow) => portsOf(flow)[1] === WANTED && flow.interface?.index === pod.ifindex)
      .reduce((sum, flow) => sum + extra(flow, 'packets'), 0)
  /** Events by the kernel's own counters, whether there is an agent or not. */
  const events = (): { filtered: number; told: number } => {
    using map = BpfMap.openPinned(join(agent.pinDirectory, 'ledger'))
    const value = new Uint8Array(map.valueBytes)
    const view = new DataView(value.buffer)
    expect(map.lookup(new Uint8Array(4), value)).toBe(true)
    const of = (counter: number): number => {
      let sum = 0n
      for (let at = 0; at < value.length; at += map.valueStride) sum += view.getBigUint64(at + 8 * counter, true)
      return Number(sum)
    }
    return { filtered: of(LedgerCounter.EVENTS_FILTERED), told: of(LedgerCounter.EVENTS_SUBMITTED) }
  }
  const metric = async (name: string) => (await agent.metrics())[name] ?? 0

  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'by %s: the old rules stay in force meanwhile, nothing wanted is lost, nothing unwanted kept, and the ledger closes',
    async (signal) => {
      await send(WANTED)
      await send(UNWANTED)
      await eventually('the log has what is wanted', () => logged(client) === DATAGRAMS && logged(server) === DATAGRAMS)
      const filteredBefore = await metric('sluice_kernel_ledger_total{counter="events_filtered"}')
      expect(filteredBefore).toBeGreaterThanOrEqual(4 * DATAGRAMS)
      if (signal === 'SIGTERM') expect(await agent.stop()).toBe(0)
      else await agent.kill()

      const before = events()
      expect(before.filtered).toBeGreaterThanOrEqual(filteredBefore)
      await send(UNWANTED)
      const unwanted = events()
      // Each datagram and its echo, at two devices; not one of them is told to anybody.
      expect(unwanted.filtered - before.filtered).toBeGreaterThanOrEqual(4 * DATAGRAMS)
      expect(unwanted.told).toBe(before.told)
      await send(WANTED)
      // Echoes are no packets to the port: they are left out as ever.
      expect(events().told - before.told).toBe(2 * DATAGRAMS)
      const down = events()

      await agent.start()
      await eventually('what was wanted meanwhile is in the log', () => logged(client) === 2 * DATAGRAMS)
      await eventually('at both devices', () => logged(server) === 2 * DATAGRAMS)
      // Counters of the kernel went on where they were, and the new agent puts the same rules into force.
      expect(await metric('sluice_kernel_ledger_total{counter="events_filtered"}')).toBeGreaterThanOrEqual(
        down.filtered,
      )
      await send(UNWANTED)
      await send(WANTED)
      await eventually('wanted ones go on', () => logged(client) === 3 * DATAGRAMS && logged(server) === 3 * DATAGRAMS)
      await agent.settled()
      const { flows, torn } = readFlowLog(agent.logPath)
      expect(torn).toEqual([])
      expect([...new Set(flows.map((flow) => portsOf(flow)[1]))]).toEqual([WANTED])
      const samples = await agent.metrics()
      expect(Object.keys(samples).filter((series) => /^hubble_(tcp|drop|dns|icmp)/.test(series))).toEqual([])
      const report = await agent.ledger()
      expect(report.equations.filter(({ difference }) => difference !== 0n)).toEqual([])
      expect(report.closes).toBe(true)
      expect(agent.noise).toBe('')
    },
  )
})
