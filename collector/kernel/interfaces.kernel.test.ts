import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { ENDPOINT_CONFIG, EndpointKind } from '../../model/layouts.gen.ts'
import { attachClsact, type BpfMap, BpfObject, ensureClsact, listLinks, Netns } from '../../native/index.ts'
import { ChurnNode } from '../../test/helpers/churn-node.ts'
import { eventually } from '../../test/helpers/eventually.ts'
import { describeKernel } from '../../test/helpers/privileged.ts'
import {
  type DatapathOptions,
  type InterfaceEvent,
  Interfaces,
  type InterfacesOptions,
  KernelDatapath,
} from './index.ts'
import { defaultObjectPath } from './options.ts'

/** A node, its datapath and its interfaces; removed when the test is over. */
class Watched {
  readonly node: ChurnNode
  readonly pinPath: string
  readonly events: InterfaceEvent[] = []
  datapath!: KernelDatapath
  interfaces!: Interfaces

  constructor(name: string) {
    this.node = new ChurnNode(name)
    this.pinPath = `/sys/fs/bpf/sluice-test-${name}`
    rmSync(this.pinPath, { recursive: true, force: true })
    onTestFinished(async () => {
      await this.stop()
      rmSync(this.pinPath, { recursive: true, force: true })
      this.node[Symbol.dispose]()
    })
  }

  async start(
    datapath: Partial<DatapathOptions> = {},
    interfaces: InterfacesOptions = { uplinks: 'auto' },
  ): Promise<void> {
    const { path: netns } = this.node
    const { pinPath } = this
    this.datapath = KernelDatapath.open({
      pinPath,
      netns,
      maxFlows: 4096,
      maxEndpoints: 64,
      ringBytes: 1 << 20,
      ...datapath,
    })
    this.interfaces = new Interfaces(this.datapath, interfaces)
    this.interfaces.onEvent((event) => this.events.push(event))
    await this.interfaces.start()
  }

  async stop(): Promise<void> {
    this.interfaces?.[Symbol.dispose]()
    await this.datapath?.[Symbol.asyncDispose]()
  }

  names(kind: 'pod' | 'uplink' = 'pod'): string[] {
    return this.interfaces
      .list()
      .filter((one) => one.kind === kind)
      .map((one) => one.name)
      .sort()
  }

  slotOf(name: string): number {
    return this.interfaces.list().find((one) => one.name === name)!.slot
  }

  ping(pod: number, count = 3): void {
    this.node.exec(pod, 'ping', ['-q', '-c', String(count), '-i', '0.02', this.node.gateway(pod)])
  }

  /** Whether every device has its programs; by tcx that takes two pinned links each, by clsact none. */
  expectAttached(devices: number): void {
    const { attachments } = this.datapath
    const standing = this.interfaces.list().filter(({ ifindex }) => attachments.standing(ifindex))
    expect(standing).toHaveLength(devices)
    expect(this.linkPins()).toHaveLength(attachments.mode === 'tcx' ? 2 * devices : 0)
  }

  linkPins(): string[] {
    return readdirSync(join(this.pinPath, 'default/links')).filter((name) => name.startsWith('tcx_'))
  }

  entries(map: 'endpoints' | 'netns'): Map<bigint, Uint8Array> {
    return entriesOf(this.datapath.map(map))
  }
}

function entriesOf(map: BpfMap): Map<bigint, Uint8Array> {
  const found = new Map<bigint, Uint8Array>()
  const key = new Uint8Array(map.info.keySize)
  const view = new DataView(key.buffer)
  for (let more = map.nextKey(null, key); more; more = map.nextKey(key, key)) {
    const value = new Uint8Array(map.valueBytes)
    map.lookup(key, value)
    found.set(key.length === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true)), value)
  }
  return found
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i)
}

describeKernel('Interfaces', () => {
  it('finds the pods that are there, with what their own side tells, and fills the maps', async () => {
    const w = new Watched('there')
    w.node.addPods([1, 2])
    await w.start()
    expect(w.names()).toEqual(['pod1', 'pod2'])
    using pod = Netns.open(`${w.node.path}-2`)
    const own = pod.run(() => listLinks()).find((link) => link.name === 'eth0')!
    const shown = w.interfaces.list().find((one) => one.name === 'pod2')!
    expect(shown).toMatchObject({
      kind: 'pod',
      ips: ['10.78.2.2'],
      mac: Buffer.from(own.mac)
        .toString('hex')
        .replace(/..(?!$)/g, '$&:'),
      podInterface: 'eth0',
      netnsCookie: pod.cookie(),
    })
    const config = new DataView(w.entries('endpoints').get(BigInt(shown.ifindex))!.buffer)
    expect(config.getUint32(ENDPOINT_CONFIG.slot, true)).toBe(shown.slot)
    expect(config.getUint8(ENDPOINT_CONFIG.kind)).toBe(EndpointKind.POD)
    expect(w.entries('netns').get(shown.netnsCookie)).toEqual(new Uint8Array(Uint32Array.of(shown.ifindex).buffer))
    expect(w.events.map((event) => event.kind)).toEqual(['added', 'added'])
  })

  it('follows pods that come and go, and tells the last state of their counters', async () => {
    const w = new Watched('comego')
    await w.start()
    w.node.addPods([1])
    await eventually('the pod is watched with its address', () => w.interfaces.list()[0]?.ips[0] === '10.78.1.2')
    await eventually('it is attached', () => w.interfaces.attaching === 0)
    w.ping(1)
    w.node.removePods([1])
    await eventually('the pod is gone', () => w.names().length === 0)
    const last = w.events.at(-1)!
    if (last.kind !== 'removed') throw new Error(`The last event is ${last.kind}`)
    expect(last.totals.egressPackets).toBeGreaterThanOrEqual(3)
    expect(last.totals.ingressPackets).toBeGreaterThanOrEqual(3)
    expect(w.linkPins()).toEqual([])
    expect([w.entries('endpoints').size, w.entries('netns').size]).toEqual([0, 0])
  })

  it('finds a pod whose end of the veth is moved into a namespace without a name', async () => {
    const w = new Watched('moved')
    await w.start()
    w.node.ip(['link add host9 type veth peer name tmp9', 'link set host9 up'])
    // A process in a namespace of its own, as a container's.
    const child = spawn('unshare', ['--net', 'sh', '-c', 'echo there; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill())
    await once(child.stdout, 'data')
    expect(w.names()).toEqual([])
    w.node.ip([`link set tmp9 netns ${child.pid} name eth0`])
    await eventually('the pod is watched', () => w.names().includes('host9'))
    execFileSync('nsenter', [`--net=/proc/${child.pid}/ns/net`, 'ip', 'addr', 'add', '10.79.9.9/32', 'dev', 'eth0'])
    await eventually('its address is known', () => w.interfaces.list()[0]!.ips[0] === '10.79.9.9')
    expect(w.interfaces.list()[0]).toMatchObject({ podInterface: 'eth0' })
    expect(w.events.at(-1)!.kind).toBe('changed')
  })

  it('takes devices with a default route, or the named ones, for uplinks; also without a link header', async () => {
    const w = new Watched('uplinks')
    w.node.addPods([1, 2])
    w.node.ip(['route add default via 10.78.1.2', 'tuntap add dev tun7 mode tun', 'link set tun7 up'])
    await w.start()
    expect([w.names('uplink'), w.names()]).toEqual([['pod1'], ['pod2']])
    expect(w.interfaces.list().find((one) => one.name === 'pod1')).toMatchObject({
      ips: ['10.78.1.1'],
      netnsCookie: 0n,
    })
    w.interfaces[Symbol.dispose]()
    const named = new Interfaces(w.datapath, { uplinks: ['tun7'] })
    onTestFinished(() => named[Symbol.dispose]())
    await named.start()
    const list = named.list().map(({ name, kind }) => `${name} ${kind}`)
    expect(list.sort()).toEqual(['pod1 pod', 'pod2 pod', 'tun7 uplink'])
  })

  it('tells a new name of a device', async () => {
    const w = new Watched('renamed')
    w.node.addPods([1])
    await w.start()
    w.node.ip(['link set pod1 down', 'link set pod1 name other1', 'link set other1 up'])
    await eventually('the name is told', () => w.names()[0] === 'other1')
    expect(w.events.at(-1)).toMatchObject({ kind: 'changed', interface: { name: 'other1' } })
    expect(w.interfaces.counts.removed).toBe(0)
  })

  it('200 pods created and deleted leave no descriptor, pin, slot or map entry', async () => {
    const w = new Watched('churn')
    await w.start({ maxEndpoints: 64 })
    const before = readdirSync('/proc/self/fd').length
    for (let first = 1; first <= 200; first += 25) {
      const pods = range(first, first + 24)
      w.node.addPods(pods)
      await eventually('all are watched', () => w.names().length === 25)
      await eventually('all are attached', () => w.interfaces.attaching === 0)
      await eventually('all are known', () => w.interfaces.list().every((one) => one.ips.length === 1))
      expect(new Set(w.interfaces.list().map((one) => one.slot)).size).toBe(25)
      w.expectAttached(25)
      w.node.removePods(pods)
      await eventually('all are gone', () => w.names().length === 0)
    }
    expect(w.interfaces.counts).toMatchObject({ attachFailures: 0, uninspected: 0 })
    // On a slow machine a listing overtakes notifications, and a device comes and goes once more by those.
    expect(w.interfaces.counts.added).toBeGreaterThanOrEqual(200)
    expect(w.interfaces.counts.removed).toBeGreaterThanOrEqual(w.interfaces.counts.added)
    expect(w.interfaces.sharingSlotZero).toBe(0)
    expect(w.linkPins()).toEqual([])
    expect([w.entries('endpoints').size, w.entries('netns').size]).toEqual([0, 0])
    expect(readdirSync('/proc/self/fd').length).toBe(before)
  })

  it('pods that go while they wait for their programs leave nothing', async ({ skip }) => {
    const w = new Watched('hasty')
    await w.start()
    if (w.datapath.attachments.mode === 'clsact') skip('this kernel has no tcx: nobody waits')
    for (let round = 0; round < 3; round++) {
      w.node.addPods(range(1, 10))
      await eventually('some are waiting', () => w.interfaces.attaching > 3)
      w.node.removePods(range(1, 10))
      await eventually('none is left', () => w.names().length === 0 && w.interfaces.attaching === 0)
    }
    expect(w.interfaces.counts.attachFailures).toBe(0)
    expect(w.linkPins()).toEqual([])
    expect([w.entries('endpoints').size, w.entries('netns').size]).toEqual([0, 0])
  })

  it('devices beyond the slots share slot 0, and beyond the maps are counted as not watched', async () => {
    const w = new Watched('beyond')
    w.node.addPods(range(1, 9))
    await w.start({ maxEndpoints: 4 })
    const slots = w.interfaces.list().map((one) => one.slot)
    expect(slots.sort()).toEqual([0, 0, 0, 0, 0, 1, 2, 3])
    expect(w.interfaces.counts).toMatchObject({ added: 8, unwatched: 1 })
  })

  it('a restart keeps a device’s slot and counts, and gives another device none of them', async () => {
    const w = new Watched('again')
    w.node.addPods([1, 2])
    await w.start()
    w.ping(1, 5)
    w.ping(2, 5)
    const before = { one: w.slotOf('pod1'), two: w.slotOf('pod2') }
    const ifindex = w.interfaces.list().find((one) => one.name === 'pod2')!.ifindex
    await w.stop()
    w.node.removePods([2])
    w.node.ip([`link add pod2 index ${ifindex} type veth peer name peer2`])
    execFileSync('ip', ['netns', 'add', `${w.node.name}-2`])
    w.node.ip([`link set peer2 netns ${w.node.name}-2`])
    await w.start()
    expect(w.slotOf('pod1')).toBe(before.one)
    expect(w.datapath.counters.endpoint(w.slotOf('pod1')).egressPackets).toBeGreaterThanOrEqual(5)
    expect(w.interfaces.list().find((one) => one.name === 'pod2')!.ifindex).toBe(ifindex)
    expect(w.datapath.counters.endpoint(w.slotOf('pod2')).egressPackets).toBe(0)
    w.expectAttached(2)
  })

  it('a restart gives a new device that is listed first no slot of an older one', async () => {
    const w = new Watched('first')
    w.node.addPods([1, 2])
    await w.start()
    const { ifindex } = w.interfaces.list().find((one) => one.name === 'pod1')!
    await w.stop()
    rmSync(w.pinPath, { recursive: true, force: true })
    w.node.ip(['link del pod1'])
    await w.start()
    w.ping(2, 5)
    expect(w.slotOf('pod2')).toBe(1)
    await w.stop()
    w.node.ip([`link add pod1 index ${ifindex} type veth peer name peer1 netns ${w.node.name}-1`])
    await w.start()
    expect(w.interfaces.list().map((one) => one.name)).toEqual(['pod1', 'pod2'])
    expect(w.slotOf('pod2')).toBe(1)
    expect(w.slotOf('pod1')).not.toBe(1)
    expect(w.datapath.counters.endpoint(1).egressPackets).toBeGreaterThanOrEqual(5)
    expect(w.datapath.counters.endpoint(w.slotOf('pod1')).egressPackets).toBe(0)
  })

  it('takes its clsact filters off a device that is no longer an uplink after a restart', async () => {
    const w = new Watched('former')
    w.node.ip(['link add up7 type veth peer name up8', 'link set up7 up'])
    await w.start({ attach: 'clsact' }, { uplinks: ['up7'] })
    expect(filters(w.node.name, 'up7')).toEqual([1])
    await w.stop()
    await w.start({ attach: 'clsact' }, { uplinks: [] })
    expect(filters(w.node.name, 'up7')).toEqual([])
  })

  it('a node’s sums never go back when a slot is handed on', async () => {
    const w = new Watched('sums')
    w.node.addPods([1])
    await w.start({ maxEndpoints: 2 })
    w.ping(1, 5)
    const before = w.datapath.counters.total()
    w.node.removePods([1])
    await eventually('the pod is gone', () => w.names().length === 0)
    w.node.addPods([2])
    await eventually('the next has its slot', () => w.names()[0] === 'pod2' && w.slotOf('pod2') === 1)
    await eventually('it is attached', () => w.interfaces.attaching === 0)
    expect(w.datapath.counters.endpoint(1).egressPackets).toBeLessThan(before.egressPackets)
    expect(w.datapath.counters.total().egressPackets).toBeGreaterThanOrEqual(before.egressPackets)
  })

  it('works by clsact filters as well, replaces its own after a restart, and leaves foreign ones', async () => {
    const w = new Watched('clsactif')
    w.node.addPods([1])
    const object = BpfObject.open(defaultObjectPath().replace('sluice.bpf.o', 'testing.bpf.o'))
    onTestFinished(() => object[Symbol.dispose]())
    object.load()
    using foreign = object.program('count_all')
    using netns = Netns.open(w.node.path)
    netns.run(() => {
      const { ifindex } = listLinks().find(({ name }) => name === 'pod1')!
      ensureClsact(ifindex)
      attachClsact(foreign, ifindex, 'ingress', { handle: 7, priority: 9 })
    })
    await w.start({ attach: 'clsact' })
    w.ping(1)
    expect(w.datapath.counters.endpoint(w.slotOf('pod1')).egressPackets).toBeGreaterThanOrEqual(3)
    expect(filters(w.node.name)).toEqual([1, 9])
    const slot = w.slotOf('pod1')
    await w.stop()
    await w.start({ attach: 'clsact' })
    expect(w.slotOf('pod1')).toBe(slot)
    expect(filters(w.node.name)).toEqual([1, 9])
    w.interfaces[Symbol.dispose]()
    await w.datapath.remove()
    expect(filters(w.node.name)).toEqual([9])
  })
})

/** Priorities of the filters at ingress of a device, in the order they run. */
function filters(netns: string, device = 'pod1'): number[] {
  const shown = execFileSync('ip', ['netns', 'exec', netns, 'tc', '-j', 'filter', 'show', 'dev', device, 'ingress'], {
    encoding: 'utf8',
  })
  const rows = JSON.parse(shown) as { pref: number; options?: object }[]
  return rows.filter((row) => row.options && 'handle' in row.options).map((row) => row.pref)
}
