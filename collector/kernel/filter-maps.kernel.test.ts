import { existsSync, rmSync } from 'node:fs'
import { expect, it, onTestFinished } from 'vitest'
import { ConsumerFlag, FILTER_CLASS, FilterClassId, FilterLimit, SubjectFlag } from '../../model/layouts.gen.ts'
import { ChurnNode } from '../../test/helpers/churn-node.ts'
import { ipBytes, kernelPrefix, subjectBytes, writeTables } from '../../test/helpers/filter-tables.ts'
import { decodeRecord, type KernelRecord } from '../../test/helpers/kernel-records.ts'
import { describeKernel } from '../../test/helpers/privileged.ts'
import { type DatapathOptions, FilterMaps, Interfaces, KernelDatapath } from './index.ts'

/** Opens a datapath of small maps, and removes it with all its pins when the test is over. */
function openDatapath(pinPath: string | undefined, options: Partial<DatapathOptions> = {}): KernelDatapath {
  const datapath = KernelDatapath.open({ pinPath, maxFlows: 4096, maxEndpoints: 64, ringBytes: 1 << 20, ...options })
  onTestFinished(async () => {
    await datapath[Symbol.asyncDispose]()
    if (pinPath !== undefined && existsSync(pinPath)) rmSync(pinPath, { recursive: true, force: true })
  })
  return datapath
}

function pinPathOf(name: string): string {
  const path = `/sys/fs/bpf/sluice-test-${name}`
  rmSync(path, { recursive: true, force: true })
  return path
}

function nodeWithPod(name: string): ChurnNode {
  const node = new ChurnNode(name)
  onTestFinished(() => node[Symbol.dispose]())
  node.addPods([1])
  return node
}

async function watchedDevice(datapath: KernelDatapath): Promise<[Interfaces, number]> {
  const interfaces = new Interfaces(datapath, { uplinks: [] })
  onTestFinished(() => interfaces[Symbol.dispose]())
  await interfaces.start()
  return [interfaces, interfaces.list()[0]!.ifindex]
}

function ping(node: ChurnNode): void {
  node.exec(1, 'ping', ['-q', '-c', '2', '-i', '0.02', node.gateway(1)])
}

function records({ ring }: KernelDatapath): KernelRecord[] {
  const all: KernelRecord[] = []
  for (let at = ring.next(); at >= 0; at = ring.next()) all.push(decodeRecord(ring.u8, at))
  ring.release(ring.position)
  return all
}

const POD_CLASS = 4
const undecided = ({ consumers }: KernelRecord) => (consumers & (1 << ConsumerFlag.UNDECIDED)) !== 0
const ICMP = 1

describeKernel('FilterMaps', () => {
  it('stay in force over a restart, with what is known of devices and what was counted', async () => {
    const node = nodeWithPod('filtmaps')
    const pinPath = pinPathOf('filtmaps')
    // Every packet is an event, so that a flow that lives on is one.
    const options = { netns: node.path, perPacket: true }
    const first = openDatapath(pinPath, options)
    const filters = new FilterMaps(first)
    expect(filters.generation()).toEqual({ generation: 0, enabled: false })
    const rules = [{ consumer: 3, protocols: [ICMP], from: [POD_CLASS] }]
    await writeTables(filters, 1, { rules })
    await filters.flip(1, true)
    const [watching, ifindex] = await watchedDevice(first)
    ping(node)
    // Nobody has said yet whose the device is.
    expect(
      records(first)
        .filter(({ protocol }) => protocol === ICMP)
        .map(undecided),
    ).toEqual([true, true, true, true])
    expect(filters.setDevice(ifindex, { identity: 1001, classes: [POD_CLASS, POD_CLASS], flags: 0 })).toBe(true)
    filters.reevaluate()
    ping(node)
    const one = { consumers: ((1 << 3) | (1 << ConsumerFlag.SET)) >>> 0, srcIdentity: 1001, protocol: ICMP }
    expect(records(first)).toMatchObject([one, one])
    const judged = (await filters.readMatches(1)).events.reduce((a, b) => a + b, 0)
    watching[Symbol.dispose]()
    await first[Symbol.asyncDispose]()

    ping(node)
    const second = openDatapath(pinPath, options)
    const again = new FilterMaps(second)
    expect(again.generation()).toEqual({ generation: 3, enabled: true })
    await watchedDevice(second)
    ping(node)
    expect(records(second)).toMatchObject([one, one, one, one])
    expect((await again.readMatches(1)).events.reduce((a, b) => a + b, 0)).toBeGreaterThanOrEqual(judged + 8)
  })

  it('begin anew together, when one of the pinned maps is not there any more', async () => {
    const pinPath = pinPathOf('filtpart')
    const first = openDatapath(pinPath)
    const filters = new FilterMaps(first)
    await writeTables(filters, 1, { rules: [{ consumer: 3 }] })
    await filters.flip(1, true)
    await first[Symbol.asyncDispose]()
    rmSync(`${pinPath}/default/filter_rules`)
    const second = openDatapath(pinPath)
    expect(second.report.reused).toContain('flows')
    expect(second.report.replaced).toContain('filter_state')
    // Far from 1, which flows that live on still remember.
    expect(new FilterMaps(second).generation()).toEqual({ generation: 1 + 2 ** 17, enabled: false })
  })

  it('setDevice() knows only devices that are watched, and a device watched again is nobody’s', async () => {
    const node = nodeWithPod('filtdev')
    const datapath = openDatapath(undefined, { netns: node.path })
    const filters = new FilterMaps(datapath)
    const [, ifindex] = await watchedDevice(datapath)
    const subject = { identity: 7, classes: [5, 6] as const, flags: SubjectFlag.ASK_ADDRESS }
    expect(filters.setDevice(9999, subject)).toBe(false)
    expect(filters.device(ifindex)).toEqual({
      identity: 0,
      classes: [FilterClassId.UNDECIDED, FilterClassId.UNDECIDED],
      flags: 0,
    })
    filters.setDevice(ifindex, subject)
    expect(filters.device(ifindex)).toEqual(subject)
    expect(filters.device(9999)).toBeUndefined()
  })

  it('say how much found room', async () => {
    const filters = new FilterMaps(openDatapath(undefined))
    const masks = new Uint8Array(FilterLimit.PORTS * FILTER_CLASS.SIZE)
    const ports = Array.from({ length: FilterLimit.PORTS }, (_, i) => i)
    expect(filters.writePorts(0, ports, masks)).toBe(FilterLimit.PORTS)
    expect(filters.writePorts(1, [1, 2], masks)).toBe(0)
    await filters.clearTables(1)
    expect(filters.writePorts(1, [1], masks)).toBe(0)
    await filters.clearTables(0)
    expect(filters.writePorts(1, [1, 2], masks)).toBe(2)

    const hosts = Array.from({ length: FilterLimit.NETWORKS + 1 }, (_, i) => ({
      ...kernelPrefix(`10.${i >> 8}.${i & 0xff}.0/24`),
      identity: i,
      classes: [0, 0] as const,
    }))
    expect(await filters.setNetworks(hosts)).toBe(FilterLimit.NETWORKS)
    expect(await filters.setNetworks(hosts.slice(-5))).toBe(5)

    const addresses = new Uint8Array(3 * 16)
    for (const [i, ip] of ['10.0.0.1', '10.0.0.2', 'fd00::1'].entries()) addresses.set(ipBytes(ip), 16 * i)
    const subjects = Buffer.concat([subjectBytes(1, 3), subjectBytes(2, 3), subjectBytes(3, 3)])
    expect(filters.setAddresses(addresses, subjects, 3)).toBe(3)
    expect(await filters.deleteStaleAddresses((keys, at) => keys[at + 15] === 1 && keys[at] === 0)).toBe(2)
    expect(filters.deleteAddresses(addresses, 3)).toBe(1)
  })

  it('refuse what does not fit', () => {
    const filters = new FilterMaps(openDatapath(undefined))
    expect(() => filters.writeClasses(0, FilterLimit.CLASSES, new Uint8Array(64))).toThrow(RangeError)
    expect(() => filters.writeClasses(0, 0, new Uint8Array(63))).toThrow(RangeError)
    expect(() => filters.writeRules(0, new Uint8Array(10))).toThrow('Argument "rules" has 10 bytes')
    expect(() => filters.writePorts(0, [1], new Uint8Array(10))).toThrow('Argument "masks" has 10 bytes, needs 64')
  })
})
