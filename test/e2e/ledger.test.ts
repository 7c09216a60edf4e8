import { expect, test } from 'vitest'
import { Lab } from '../../lab/index.ts'
import { runSluice, TestAgent } from '../helpers/agent.ts'
import { packetsOf, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { Traffic } from '../helpers/traffic.ts'

const PORT = 7009
const SENDERS = 2

interface Ledger {
  readonly closes: boolean
  readonly kernel: readonly { readonly name: string; readonly value: number }[]
  readonly stages: readonly {
    readonly stage: string
    readonly waiting: number
    readonly lost: Record<string, number>
  }[]
}

describeKernel('sluice ledger', () => {
  test('closes while a flood overflows the smallest ring and after it; what was lost is told everywhere alike', async () => {
    await using lab = await Lab.up({
      pods: [
        { namespace: 'shop', name: 'target' },
        { namespace: 'shop', name: 'flooder' },
      ],
    })
    await using agent = await TestAgent.start({
      name: 'ledger',
      settings: {
        'node.netns': lab.node().netnsPath,
        'metadata.file': lab.metadataPath,
        'kernel.ringSize': '64KiB',
        'kernel.aggregation': 'none',
        'kernel.otherIdleTimeout': '1s',
        'log.maxBackups': 50,
      },
    })
    const ledger = async (): Promise<Ledger> => {
      const { code, stdout } = await runSluice(['ledger', '--server', agent.grpc, '-o', 'json'])
      const read = JSON.parse(stdout) as Ledger
      expect([code, read.closes], stdout).toEqual([0, true])
      return read
    }
    const of = (read: Ledger, name: string) => read.kernel.find((counter) => counter.name === name)!.value

    await ledger()
    const [to] = lab.pod('shop/target').ips
    const config = { to, port: PORT, perSecond: 20_000, bytes: 18, sockets: 4 }
    const floods = await Promise.all(
      Array.from({ length: SENDERS }, () => Traffic.start(lab.pod('shop/flooder'), { ...config, count: 40_000 })),
    )
    await ledger()
    const sent = (await Promise.all(floods.map((flood) => flood.ended()))).reduce((sum, n) => sum + n, 0)
    await ledger()
    await agent.settled()

    const end = await ledger()
    const lost = of(end, 'events_ring_full')
    expect(lost).toBeGreaterThan(1000)
    expect(end.stages[0]).toMatchObject({ stage: 'kernel', lost: { ring_full: lost } })
    expect((await agent.metrics())['sluice_kernel_ledger_total{counter="events_ring_full"}']).toBe(lost)
    // A second passes between two looks at the kernel's counter.
    await expect.poll(() => readFlowLog(agent.logPath).lostEvents, { timeout: 5000 }).toBe(lost)

    // A record that found no room leaves its packets with the flow: the next record, or the last one, carries them.
    const log = readFlowLog(agent.logPath)
    expect(log.torn).toEqual([])
    for (const name of ['flooder', 'target']) {
      const { ifindex } = lab.pod(`shop/${name}`)
      const own = log.flows.filter((flow) => flow.interface?.index === ifindex && portsOf(flow)[1] === PORT)
      expect([name, packetsOf(own)]).toEqual([name, sent])
    }
    expect(of(end, 'packets_unreported')).toBe(0)
  })
})
