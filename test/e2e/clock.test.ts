import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Lab } from '../../lab/index.ts'
import { TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { type LoggedFlow, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { Traffic } from '../helpers/traffic.ts'
import { TestWallClock } from '../helpers/wall-clock.ts'

const HOUR_NS = 3_600_000_000_000n

describeKernel('a wall clock that is stepped while the agent runs', () => {
  test('is right again within a second, forward and back, and no time is there twice', async () => {
    using clock = new TestWallClock()
    await using lab = await Lab.up({
      pods: [
        { namespace: 'shop', name: 'a' },
        { namespace: 'shop', name: 'b' },
      ],
    })
    await using agent = await TestAgent.start({
      name: 'clock',
      settings: { 'node.netns': lab.node().netnsPath, 'metadata.file': lab.metadataPath, 'kernel.aggregation': 'none' },
      env: clock.env,
    })
    const [a, b] = [lab.pod('shop/a'), lab.pod('shop/b')]
    let port = 7000
    /** Sends a datagram and tells how far its time in the log is from now by the machine's clock, milliseconds. */
    const offset = async (): Promise<number> => {
      port++
      const before = Date.now()
      await (await Traffic.start(a, { to: b.ips[0], port, perSecond: 100, bytes: 10, sockets: 1, count: 1 })).ended()
      let flow: LoggedFlow | undefined
      await eventually(`a flow to port ${port} in the log`, () => {
        flow = readFlowLog(agent.logPath).flows.find((each) => portsOf(each)[1] === port)
        return flow
      })
      const logged = Date.parse(flow!.time)
      const now = Date.now()
      const far = [logged - now, logged - before] as const
      // The datagram left between the two: 0 when its time does too.
      return far[0] <= 0 && far[1] >= 0 ? 0 : Math.abs(far[0]) < Math.abs(far[1]) ? far[0] : far[1]
    }
    const near = (ms: number, wanted: bigint) => expect(Math.abs(ms - Number(wanted / 1_000_000n))).toBeLessThan(5000)

    expect(await offset()).toBe(0)
    clock.set(HOUR_NS)
    await sleep(1000)
    near(await offset(), HOUR_NS)
    clock.set(-HOUR_NS)
    await sleep(1000)
    near(await offset(), -HOUR_NS)
    clock.set(0n)
    await sleep(1000)
    expect(await offset()).toBe(0)
    expect(
      agent.ownLog
        .filter(({ msg }) => msg.startsWith('Wall clock was stepped'))
        .map((l) => Math.round(Number(l['seconds']))),
    ).toEqual([3600, -7200, 3600])
    const { flows, byUuid } = readFlowLog(agent.logPath)
    expect(new Set(flows.map(({ time }) => time)).size).toBe(flows.length)
    expect(byUuid.size).toBe(flows.length)
    using client = await agent.client()
    const since = { seconds: BigInt(Math.floor(Date.now() / 1000)) - 60n, nanos: 0 }
    const found = []
    for await (const { flow } of client.getFlows({ since })) if (flow) found.push(flow)
    // A query for the last minute is not led astray by flows of another hour in between.
    expect(found.filter((flow) => flow.l4?.UDP?.destination_port === port).length).toBeGreaterThan(0)
  })
})
