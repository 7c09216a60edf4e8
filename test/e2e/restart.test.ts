import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Lab, type LabPod } from '../../lab/index.ts'
import { TestAgent } from '../helpers/agent.ts'
import { bytesOf, extra, type FlowLog, packetsOf, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { deviceCounters, Traffic } from '../helpers/traffic.ts'

const OPEN = 7000
const CLOSED = 7009
/** Payload, UDP, IPv4 and Ethernet headers. */
const FRAME = 200 + 8 + 20 + 14

describeKernel('an agent that is restarted under traffic', () => {
  let lab: Lab
  let agent: TestAgent
  let client: LabPod
  let server: LabPod

  beforeEach(async () => {
    lab = await Lab.up({
      pods: [
        { namespace: 'shop', name: 'sink', run: [{ kind: 'udp-echo', port: OPEN }] },
        { namespace: 'shop', name: 'client' },
      ],
    })
    client = lab.pod('shop/client')
    server = lab.pod('shop/sink')
    agent = await TestAgent.start({
      name: 'restart',
      settings: {
        'node.netns': lab.node().netnsPath,
        'metadata.file': lab.metadataPath,
        'kernel.aggregationInterval': '100ms',
        'kernel.otherIdleTimeout': '1s',
      },
    })
  })

  afterEach(async () => {
    await agent?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  /** Both kinds of datagrams, while something happens to the agent; then until every packet is in the log. */
  async function under(traffic: () => Promise<void>): Promise<{ sent: number; refused: number }> {
    const [to] = server.ips
    const forwarded = await Traffic.start(client, { to, port: OPEN, perSecond: 1000, bytes: 200, sockets: 8 })
    const dropped = await Traffic.start(client, { to, port: CLOSED, perSecond: 200, bytes: 200, sockets: 2 })
    await traffic()
    const [sent, refused] = [await forwarded.stop(), await dropped.stop()]
    // Idle flows are taken out after a second, with what no record has carried out yet.
    await agent.settled()
    return { sent, refused }
  }

  function expectExact(log: FlowLog, { sent, refused }: { sent: number; refused: number }): void {
    expect(log.torn).toEqual([])
    const flows = [...log.byUuid.values()]
    const seenBy = (pod: LabPod, port: number) =>
      flows.filter((flow) => flow.interface?.index === pod.ifindex && portsOf(flow).includes(port))
    const dropped = (port: number) =>
      flows
        .filter((flow) => flow.verdict === 'DROPPED' && flow.l4?.['UDP']?.destination_port === port)
        .reduce((sum, flow) => sum + extra(flow, 'drops'), 0)
    // Each datagram and its echo, which those do not have that found the echo's socket full: on a busy machine some.
    const echoed = 2 * sent - dropped(OPEN)
    for (const pod of [client, server]) {
      expect([pod.name, packetsOf(seenBy(pod, OPEN))]).toEqual([pod.name, echoed])
      expect([pod.name, bytesOf(seenBy(pod, OPEN))]).toEqual([pod.name, echoed * FRAME])
      expect([pod.name, packetsOf(seenBy(pod, CLOSED))]).toEqual([pod.name, refused])
    }
    expect(dropped(CLOSED)).toBe(refused)
  }

  /** What the devices count is what the programs count, and what the log holds. */
  async function expectDevicesAgree(log: FlowLog): Promise<void> {
    const packets = async () => {
      const counters = await deviceCounters(lab.node())
      return [...counters]
        .filter(([name]) => name !== 'lo')
        .reduce((sum, [, { rxPackets, txPackets }]) => sum + rxPackets + txPackets, 0)
    }
    const nonIp = await agent.kernelCounter('packets_non_ip')
    const seen = await agent.kernelCounter('packets_seen')
    expect(packetsOf(log.byUuid.values()) + nonIp).toBe(seen)
    // What the devices saw before the first agent came is some discovery of neighbours.
    const before = (await packets()) - seen
    expect(before).toBeGreaterThanOrEqual(0)
    expect(before).toBeLessThan(60)
  }

  test('gracefully: every packet and drop is in the log once, counters go on, and the ledger closes', async () => {
    const pins: string[][] = []
    const counts = await under(async () => {
      await sleep(700)
      const before = await agent.kernelCounter('packets_seen')
      expect(await agent.stop()).toBe(0)
      pins.push(agent.pins())
      await sleep(500)
      await agent.start()
      expect(await agent.kernelCounter('packets_seen')).toBeGreaterThan(before + 1000)
      await sleep(700)
      expect(await agent.stop()).toBe(0)
      await agent.start()
      await sleep(300)
      pins.push(agent.pins())
    })
    const log = readFlowLog(agent.logPath)
    expect(log.flows.length).toBe(log.byUuid.size)
    expectExact(log, counts)
    await expectDevicesAgree(log)
    expect(await agent.ledger()).toMatchObject({ closes: true })
    expect(pins[1]).toEqual(pins[0])
  })

  test('by kill -9: nothing is missing; what is there twice has the same uuid', async () => {
    const counts = await under(async () => {
      for (let i = 0; i < 3; i++) {
        await sleep(400 + 150 * i)
        await agent.kill()
        await sleep(200)
        await agent.start()
      }
      await sleep(300)
    })
    const log = readFlowLog(agent.logPath)
    expectExact(log, counts)
    await expectDevicesAgree(log)
    expect(await agent.ledger()).toMatchObject({ closes: true })
  })

  test('takes over what is there, and sweeps the pins of devices that went while it was away', async () => {
    await lab.addPod({ namespace: 'shop', name: 'leaves' })
    const { ifindex } = lab.pod('shop/leaves')
    await expect.poll(() => agent.pins().filter((pin) => pin.includes(`tcx_${ifindex}_`)).length).toBe(2)
    await agent.stop()
    await lab.removePod('shop/leaves')
    await lab.addPod({ namespace: 'shop', name: 'comes' })
    await agent.start()
    const mine = lab.pod('shop/comes').ifindex
    await expect.poll(() => agent.pins().filter((pin) => pin.includes(`tcx_${mine}_`)).length).toBe(2)
    await expect.poll(() => agent.pins().filter((pin) => pin.includes(`tcx_${ifindex}_`)).length).toBe(0)
    expect(agent.ownLog.some(({ msg }) => msg === 'took over the maps of a former agent')).toBe(true)
  })
})
