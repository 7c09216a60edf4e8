import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Lab } from '../../lab/index.ts'
import { TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { openFiles, residentBytes } from '../helpers/process-facts.ts'

const PODS = 200
/** Made and deleted together, as by a rollout. */
const BATCH = 25
const PORT = 7000

describeKernel('200 pods that come and go within a minute', () => {
  test('are all seen, and leave no file, pin, slot, map entry or memory behind', async () => {
    await using lab = await Lab.up({ pods: [{ namespace: 'shop', name: 'stays' }] })
    await using agent = await TestAgent.start({
      name: 'churn',
      settings: {
        'node.netns': lab.node().netnsPath,
        'metadata.file': lab.metadataPath,
        'kernel.otherIdleTimeout': '1s',
        // Slots for a batch and what was there before: they must be given back to be enough.
        'kernel.maxEndpoints': 2 * BATCH + 16,
        'history.flows': 20_000,
      },
    })
    const target = lab.pod('shop/stays').ips[0]
    const entries = (map: string) =>
      (JSON.parse(run('bpftool', '-j', 'map', 'dump', 'pinned', join(agent.pinDirectory, map))) as unknown[]).length
    const state = async () => ({
      pins: agent.pins(),
      endpoints: entries('endpoints'),
      netns: entries('netns'),
      watched: (await agent.metrics())['sluice_interfaces'],
    })
    const rest = async () => {
      await agent.settled()
      return { files: openFiles(agent.pid), bytes: residentBytes(agent.pid) }
    }

    /** Addresses are used again at once: who has them is told by the metadata file, which is read when it has changed. */
    const named = (pods: number) =>
      eventually(`${pods} pods in the metadata`, () => metadataPods(agent) === pods, 10_000)

    const before = await state()
    const started = performance.now()
    let calm: { files: number; bytes: number } | undefined
    for (let first = 0; first < PODS; first += BATCH) {
      const names = Array.from({ length: BATCH }, (_, i) => `pod-${first + i}`)
      const pods = await lab.addPods(names.map((name) => ({ namespace: 'churn', name })))
      await expect
        .poll(() => agent.pins().filter((pin) => pin.includes('tcx_')).length, { timeout: 20_000, interval: 50 })
        .toBe(before.pins.filter((pin) => pin.includes('tcx_')).length + 2 * BATCH)
      await named(1 + BATCH)
      await Promise.all(pods.map((pod) => pod.exec('bash', ['-c', `echo hello > /dev/udp/${target}/${PORT}`])))
      for (const name of names) await lab.removePod(`churn/${name}`)
      await named(1)
      // What the first batches make is warm-up: code, caches, buffers.
      if (first === BATCH) calm = await rest()
    }
    const seconds = (performance.now() - started) / 1000
    await expect.poll(state, { timeout: 20_000, interval: 200 }).toEqual(before)
    expect(seconds).toBeLessThan(120)

    const flows = readFlowLog(agent.logPath).flows.filter((flow) => portsOf(flow)[1] === PORT)
    const seen = new Set(
      flows.filter((flow) => flow.traffic_direction === 'EGRESS').map((flow) => flow.source?.pod_name ?? ''),
    )
    expect([...seen].filter((name) => /^pod-\d+$/.test(name)).length).toBe(PODS)
    // The receiver's view of the same packet, which nobody there listens for.
    const received = flows.filter((flow) => flow.traffic_direction === 'INGRESS').map(({ verdict }) => verdict)
    expect(received.filter((verdict) => verdict === 'FORWARDED').length).toBe(PODS)
    expect(received.filter((verdict) => verdict === 'DROPPED').length).toBe(PODS)

    const end = await rest()
    expect(end.files).toBeLessThanOrEqual(calm!.files + 2)
    expect(end.bytes - calm!.bytes).toBeLessThan(40e6)
    const metrics = await agent.metrics()
    expect(metrics['sluice_interfaces_sharing_slot']).toBe(0)
    expect(metrics['sluice_interface_events_total{event="unwatched"}']).toBe(0)
    expect(metrics['sluice_interface_events_total{event="attach_failed"}']).toBe(0)
    expect(metrics['sluice_interface_events_total{event="added"}']).toBe(before.watched! + PODS)
    expect(await agent.ledger()).toMatchObject({ closes: true })
  })
})

/** Pods in the metadata file as the agent read it last. */
function metadataPods(agent: TestAgent): unknown {
  return agent.ownLog.findLast(({ msg }) => msg === 'Metadata file is in force')?.['pods']
}

function run(command: string, ...args: string[]): string {
  const path = `${process.env['PATH']}:/usr/sbin:/sbin`
  return execFileSync(command, args, { encoding: 'utf8', env: { ...process.env, PATH: path }, maxBuffer: 1 << 28 })
}
