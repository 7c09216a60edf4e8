import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Lab } from '../../lab/index.ts'
import { TestAgent } from '../helpers/agent.ts'
import { packetsOf, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { Traffic } from '../helpers/traffic.ts'
import { TestWallClock } from '../helpers/wall-clock.ts'

const PORT = 7000
const KILLS = 20

describeKernel('an agent that is killed twenty times under load', () => {
  test('tears no line, keeps every flow that a follower had seen, counts every packet once, and closes', async () => {
    // A wall clock that is being disciplined: what is read from the ring again gets another time, and the same uuid.
    using clock = new TestWallClock()
    await using lab = await Lab.up({
      pods: [
        { namespace: 'shop', name: 'echo', run: [{ kind: 'udp-echo', port: PORT }] },
        { namespace: 'shop', name: 'client' },
      ],
    })
    await using agent = await TestAgent.start({
      name: 'crash',
      settings: {
        'node.netns': lab.node().netnsPath,
        'metadata.file': lab.metadataPath,
        'kernel.aggregation': 'none',
        'kernel.otherIdleTimeout': '1s',
        'log.maxBackups': 50,
        'history.flows': 100_000,
      },
      env: clock.env,
    })
    const [client, echo] = [lab.pod('shop/client'), lab.pod('shop/echo')]
    const traffic = await Traffic.start(client, { to: echo.ips[0], port: PORT, perSecond: 600, bytes: 64, sockets: 20 })
    const seen = new Set<string>()
    for (let i = 0; i < KILLS; i++) {
      const follower = follow(agent, seen)
      // Not in step with anything: the drain, the log's writes, the sweep.
      await sleep(250 + ((i * 137) % 400))
      await agent.kill()
      await follower
      clock.set(BigInt(i) * 1777n)
      await agent.start()
    }
    const sent = await traffic.stop()
    await agent.settled()
    expect(await agent.ledger()).toMatchObject({ closes: true })
    await agent.stop()

    const log = readFlowLog(agent.logPath)
    expect(log.torn).toEqual([])
    // Else nothing was killed between a write and the release of the ring, and this shows nothing.
    expect(log.flows.length).toBeGreaterThan(log.byUuid.size)
    expect(seen.size).toBeGreaterThan(KILLS * 100)
    expect([...seen].filter((uuid) => !log.byUuid.has(uuid)).length).toBe(0)
    for (const pod of [client, echo]) {
      const flows = [...log.byUuid.values()].filter((flow) => flow.interface?.index === pod.ifindex)
      const own = flows.filter((flow) => portsOf(flow).includes(PORT))
      expect([pod.name, packetsOf(own)]).toEqual([pod.name, 2 * sent])
    }
  })
})

/** Notes the uuids of all flows as they come, until the agent is gone. */
async function follow(agent: TestAgent, seen: Set<string>): Promise<void> {
  using client = await agent.client()
  try {
    for await (const { flow } of client.getFlows({ number: 100_000n, follow: true })) if (flow) seen.add(flow.uuid)
  } catch {
    // It was killed: that is what this is about.
  }
}
