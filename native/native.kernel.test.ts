import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { FLOW_KEY } from '../model/layouts.gen.ts'
import { ChurnNode } from '../test/helpers/churn-node.ts'
import { eventually } from '../test/helpers/eventually.ts'
import { describeKernel } from '../test/helpers/privileged.ts'
import { type Addon, addon, errnoOf } from './addon.ts'
import {
  attachClsact,
  BpfLink,
  BpfMap,
  BpfObject,
  bootTimeNs,
  bootToWallOffset,
  currentNetnsCookie,
  defaultRouteDevices,
  detachClsact,
  enableStats,
  ensureClsact,
  hasTracepoint,
  kernelEnum,
  LinkFlag,
  type LinkInfo,
  listAddresses,
  listLinks,
  lockDirectory,
  MapType,
  monotonicNs,
  Netns,
  ProgramType,
  possibleCpus,
  queryClsact,
  removeEmptyClsact,
  supportsMapType,
  supportsProgramType,
  supportsTcx,
  UpdateFlag,
  watchLinks,
} from './index.ts'

const OBJECT = fileURLToPath(new URL('../bpf/build/sluice.bpf.o', import.meta.url))
const openDescriptors = (): number => readdirSync('/proc/self/fd').length

function bytes(value: number, size = 4): Uint8Array {
  const out = new Uint8Array(size)
  new DataView(out.buffer).setUint32(0, value, true)
  return out
}

/** The object with as few programs as a test needs: each tc program takes a good 100 ms to verify. */
function openWith(...programs: string[]): BpfObject {
  const object = BpfObject.open(OBJECT)
  for (const { name } of object.programs()) object.setAutoload(name, programs.includes(name))
  object.setMaxEntries('flows', 1024)
  object.setMaxEntries('events', 65_536)
  return object
}

describeKernel('the addon', () => {
  it('exports exactly what its type says', () => {
    const source = readFileSync(new URL('./addon.ts', import.meta.url), 'utf8')
    const body = source.slice(source.indexOf('export interface Addon {'), source.indexOf('const FILE'))
    const declared = [...body.matchAll(/^ {2}(\w+)(?:<T>)?\(/gm)].map((match) => match[1] as keyof Addon)
    expect(Object.keys(addon()).sort()).toEqual(declared.sort())
  })

  it('throws TypeErrors that name the argument', () => {
    const raw = addon() as unknown as Record<string, (...args: unknown[]) => unknown>
    expect(() => raw['mapInfo']!('x')).toThrow(new TypeError('Argument "fd" is not a number'))
    expect(() => raw['openPinned']!('a\0b')).toThrow(new TypeError('Argument "path" is not free of NUL characters'))
    expect(() => raw['mapLookup']!(0, new Uint16Array(2), null)).toThrow('Argument "key" is not a Uint8Array')
    expect(() => raw['objectMaps']!({})).toThrow('Argument "object" is not an open bpf object')
  })
})

describeKernel('BpfObject', () => {
  it('open() names the file that is not there', () => {
    expect(() => BpfObject.open('/nonexistent.o')).toThrow(/Cannot open bpf object "\/nonexistent\.o".*ENOENT/s)
  })

  it('sets sizes and constants, loads, and hands out maps and programs that outlive it', () => {
    const before = openDescriptors()
    let map: BpfMap
    {
      using object = openWith('flow_sweep')
      object.setConstant('per_packet', Uint8Array.of(1))
      object.load()
      map = object.map('flows')
      using program = object.program('flow_sweep')
      expect(program.info()).toMatchObject({ type: ProgramType.SYSCALL, name: 'flow_sweep' })
    }
    expect(map.info).toMatchObject({ type: MapType.HASH, maxEntries: 1024, name: 'flows' })
    map[Symbol.dispose]()
    expect(openDescriptors()).toBe(before)
  })

  it('setConstant() refuses another size and an unknown name', () => {
    using object = openWith()
    expect(() => object.setConstant('per_packet', new Uint8Array(4))).toThrow('it has 1 bytes, the value 4')
    expect(() => object.setConstant('nothing', new Uint8Array(4))).toThrow('Cannot set constant "nothing"')
  })

  it('load() says what the verifier or the kernel did not like', () => {
    using object = openWith('flow_sweep')
    object.setMaxEntries('l7_ports', 0)
    expect(() => object.load()).toThrow(/Cannot load the bpf programs: .*map 'l7_ports'.*EINVAL/s)
  })

  it('is of no use after dispose', () => {
    const object = openWith()
    object[Symbol.dispose]()
    expect(() => object.maps()).toThrow('not an open bpf object')
  })
})

describeKernel('BpfProgram', () => {
  it('testRun() passes a packet through and tells the verdict; statistics count the runs', () => {
    using object = openWith('pod_egress')
    object.load()
    using program = object.program('pod_egress')
    using _stats = enableStats()
    const packet = new Uint8Array(64).fill(0xff)
    const out = new Uint8Array(64)
    const { retval, dataSize } = program.testRun({ dataIn: packet, dataOut: out, repeat: 10 })
    expect({ verdict: retval | 0, dataSize }).toEqual({ verdict: -1, dataSize: 64 })
    expect(out).toEqual(packet)
    expect(program.info().runCount).toBe(10n)
  })

  it('run() works on another thread and writes into its context', async () => {
    using object = openWith('flow_sweep')
    object.load()
    using program = object.program('flow_sweep')
    const context = new Uint8Array(80)
    new DataView(context.buffer).setBigUint64(40, 77n, true)
    expect(await program.run(context)).toBe(0)
    expect(new DataView(context.buffer).getBigUint64(40, true)).toBe(0n)
    await expect(program.run(new Uint8Array(4))).rejects.toThrow(/EINVAL/)
  })
})

describeKernel('BpfMap', () => {
  const spec = { name: 'test', keySize: 4, valueSize: 8, maxEntries: 512 }

  it('looks up, updates, deletes and walks', () => {
    using map = BpfMap.create({ ...spec, type: MapType.HASH })
    const value = new Uint8Array(8)
    expect(map.lookup(bytes(1), value)).toBe(false)
    map.update(bytes(1), bytes(11, 8))
    expect(map.lookup(bytes(1), value)).toBe(true)
    expect(value).toEqual(bytes(11, 8))
    expect(() => map.update(bytes(1), value, UpdateFlag.NOEXIST)).toThrow(/EEXIST/)
    map.update(bytes(2), bytes(22, 8))
    const keys: number[] = []
    const key = new Uint8Array(4)
    for (let more = map.nextKey(null, key); more; more = map.nextKey(key, key)) keys.push(key[0]!)
    expect(keys.sort()).toEqual([1, 2])
    expect([map.delete(bytes(1)), map.delete(bytes(1))]).toEqual([true, false])
  })

  it('update() of a full map throws E2BIG', () => {
    using map = BpfMap.create({ ...spec, type: MapType.HASH, maxEntries: 1 })
    map.update(bytes(1), bytes(1, 8))
    let code: string | undefined
    try {
      map.update(bytes(2), bytes(2, 8))
    } catch (error) {
      code = errnoOf(error)
    }
    expect(code).toBe('E2BIG')
  })

  it.each([MapType.HASH, MapType.ARRAY])('readBatch() gives each entry of a map of type %d once', (type) => {
    using map = BpfMap.create({ ...spec, type })
    for (let i = 0; i < 512; i++) map.update(bytes(i), bytes(i * 3, 8))
    const cursor = map.cursor()
    const keys = new Uint8Array(100 * 4)
    const values = new Uint8Array(100 * 8)
    const seen = new Map<number, number>()
    while (!cursor.done) {
      const read = map.readBatch(cursor, keys, values)
      for (let i = 0; i < read; i++) {
        const key = new DataView(keys.buffer).getUint32(4 * i, true)
        expect(seen.has(key)).toBe(false)
        seen.set(key, new DataView(values.buffer).getUint32(8 * i, true))
      }
    }
    expect(seen.size).toBe(512)
    for (const [key, value] of seen) expect(value).toBe(key * 3)
  })

  it('readBatch() removes what it reads when asked', () => {
    using map = BpfMap.create({ ...spec, type: MapType.HASH })
    for (let i = 0; i < 10; i++) map.update(bytes(i), bytes(i, 8))
    const cursor = map.cursor()
    let read = 0
    while (!cursor.done) read += map.readBatch(cursor, new Uint8Array(400), new Uint8Array(800), true)
    expect(read).toBe(10)
    expect(map.nextKey(null, new Uint8Array(4))).toBe(false)
  })

  it('updateBatch() writes all entries, as far as there is room', () => {
    using map = BpfMap.create({ ...spec, type: MapType.HASH, maxEntries: 300 })
    const keys = new Uint8Array(new Uint32Array(400).map((_, i) => i).buffer)
    const values = new Uint8Array(new BigUint64Array(400).map((_, i) => BigInt(i * 7)).buffer)
    expect(map.updateBatch(keys, values, 0)).toBe(0)
    expect(map.updateBatch(keys, values, 200)).toBe(200)
    expect(map.updateBatch(keys, values, 400)).toBe(300)
    const value = new Uint8Array(8)
    expect([map.lookup(bytes(299), value), value]).toEqual([true, bytes(2093, 8)])
    expect(map.lookup(bytes(300), value)).toBe(false)
    expect(() => map.updateBatch(keys, values, 401)).toThrow('has 1600 bytes, needs 1604')
  })

  it('updateBatch() writes all CPUs of a per-CPU array', () => {
    using map = BpfMap.create({ ...spec, type: MapType.PERCPU_ARRAY, maxEntries: 4 })
    const values = new Uint8Array(2 * map.valueBytes).fill(3)
    expect(map.updateBatch(Buffer.concat([bytes(1), bytes(3)]), values, 2)).toBe(2)
    const value = new Uint8Array(map.valueBytes)
    map.lookup(bytes(3), value)
    expect(value).toEqual(values.subarray(0, map.valueBytes))
  })

  it('deleteBatch() deletes all keys and counts those that were there', () => {
    using map = BpfMap.create({ ...spec, type: MapType.HASH })
    for (const i of [1, 2, 5, 6]) map.update(bytes(i), bytes(i, 8))
    const keys = Buffer.concat([0, 1, 2, 3, 4, 5, 7].map((i) => bytes(i)))
    expect(map.deleteBatch(keys, 7)).toBe(3)
    expect(map.deleteBatch(keys, 7)).toBe(0)
    expect(map.lookup(bytes(6), new Uint8Array(8))).toBe(true)
    using array = BpfMap.create({ ...spec, type: MapType.ARRAY })
    expect(() => array.deleteBatch(keys, 1)).toThrow('Cannot delete a batch from a map')
  })

  it('shows the values of all CPUs of a per-CPU map, at valueStride', () => {
    using map = BpfMap.create({ ...spec, type: MapType.PERCPU_ARRAY, valueSize: 4, maxEntries: 2 })
    expect(map.valueBytes).toBe(8 * possibleCpus())
    const value = new Uint8Array(map.valueBytes)
    for (let cpu = 0; cpu < possibleCpus(); cpu++) value[cpu * map.valueStride] = cpu + 1
    map.update(bytes(1), value)
    const back = new Uint8Array(map.valueBytes)
    map.lookup(bytes(1), back)
    expect(back).toEqual(value)
  })

  it('refuses buffers that the kernel would run over', () => {
    using map = BpfMap.create({ ...spec, type: MapType.HASH })
    expect(() => map.lookup(new Uint8Array(3), new Uint8Array(8))).toThrow(
      'Argument "key" of map "test" has 3 bytes, needs 4',
    )
    expect(() => map.lookup(bytes(1), new Uint8Array(7))).toThrow('has 7 bytes, needs 8')
    expect(() => map.readBatch(map.cursor(), new Uint8Array(3), new Uint8Array(8))).toThrow('hold no entry')
  })

  it('throws after dispose instead of using another file’s number', () => {
    const map = BpfMap.create({ ...spec, type: MapType.HASH })
    map[Symbol.dispose]()
    map[Symbol.dispose]()
    expect(() => map.lookup(bytes(1), new Uint8Array(8))).toThrow('The kernel handle is closed')
  })
})

describeKernel('Netns', () => {
  it('run() is inside during the callback and back after it, also when it throws', () => {
    using node = new ChurnNode('netns')
    using netns = Netns.open(node.path)
    const home = currentNetnsCookie()
    expect(netns.run(() => currentNetnsCookie())).toBe(netns.cookie())
    expect(netns.cookie()).not.toBe(home)
    expect(() =>
      netns.run(() => {
        throw new RangeError('inside')
      }),
    ).toThrow(new RangeError('inside'))
    expect(currentNetnsCookie()).toBe(home)
  })

  it('idHere() is the number that links of the peer show', () => {
    using node = new ChurnNode('nsid')
    node.addPods([1, 2])
    using netns = Netns.open(node.path)
    using first = Netns.open(`${node.path}-1`)
    using second = Netns.open(`${node.path}-2`)
    const links = netns.run(() => listLinks())
    const idOf = (name: string) => links.find((link) => link.name === name)?.linkNetnsId
    expect(netns.run(() => [first.idHere(), second.idHere()])).toEqual([idOf('pod1'), idOf('pod2')])
    expect(first.run(() => second.idHere())).toBe(-1)
  })

  it('refuses what is no network namespace', () => {
    using file = Netns.open('/proc/self/status')
    expect(() => file.run(() => 1)).toThrow(/Cannot enter the network namespace.*EINVAL/)
  })
})

describeKernel('rtnetlink', () => {
  it('lists devices with kind, peer and address, addresses, and default routes', () => {
    using node = new ChurnNode('list')
    node.addPods([7])
    node.ip(['route add default via 10.78.7.2 dev pod7', 'link add br0 type bridge', 'link set pod7 master br0'])
    using netns = Netns.open(node.path)
    using pod = Netns.open(`${node.path}-7`)
    const [links, addresses, defaults] = netns.run(() => [listLinks(), listAddresses(), defaultRouteDevices()] as const)
    const host = links.find((link) => link.name === 'pod7')!
    const [peer] = pod.run(() => listLinks()).filter((link) => link.name === 'eth0')
    const bridge = links.find((link) => link.name === 'br0')!
    expect(host).toMatchObject({ event: 'present', kind: 'veth', iflink: peer!.ifindex, master: bridge.ifindex })
    expect(host.linkNetnsId).toBeGreaterThanOrEqual(0)
    expect(host.flags & LinkFlag.UP).toBe(LinkFlag.UP)
    expect(host.mac).toHaveLength(6)
    expect(bridge).toMatchObject({ kind: 'bridge', linkNetnsId: -1 })
    expect(addresses.filter((address) => address.ifindex === host.ifindex && address.family === 4)).toEqual([
      { ifindex: host.ifindex, family: 4, prefixLength: 24, scope: 0, address: Uint8Array.of(10, 78, 7, 1) },
    ])
    expect(defaults).toEqual([host.ifindex])
  })

  it('watchLinks() tells what comes and goes in the namespace it was made in', async () => {
    using node = new ChurnNode('watch')
    using netns = Netns.open(node.path)
    const seen: LinkInfo[] = []
    const watch = netns.run(() =>
      watchLinks((change) => {
        if (change !== 'overrun') seen.push(...change)
      }),
    )
    onTestFinished(() => watch[Symbol.dispose]())
    node.ip(['link add dummy7 type veth peer name dummy8'])
    await eventually('both ends are there', () =>
      ['dummy7', 'dummy8'].every((name) => seen.some((l) => l.name === name)),
    )
    node.ip(['link del dummy7'])
    await eventually('both ends are gone', () => seen.filter((link) => link.event === 'removed').length === 2)
    watch[Symbol.dispose]()
    const count = seen.length
    node.ip(['link add dummy9 type veth peer name dummy10'])
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(seen.length).toBe(count)
  })

  it('watchLinks() takes no port that leaves its bridge for a device that goes', async () => {
    using node = new ChurnNode('port')
    using netns = Netns.open(node.path)
    const seen: LinkInfo[] = []
    const watch = netns.run(() =>
      watchLinks((change) => {
        if (change !== 'overrun') seen.push(...change)
      }),
    )
    onTestFinished(() => watch[Symbol.dispose]())
    node.ip(['link add br7 type bridge', 'link add dummy7 type veth peer name dummy8', 'link set dummy7 master br7'])
    node.ip(['link set dummy7 nomaster', 'link set dummy7 name last7'])
    await eventually('the last change is told', () => seen.some(({ name }) => name === 'last7'))
    expect(seen.filter(({ event }) => event === 'removed')).toEqual([])
    expect(seen.filter(({ name, kind }) => name === 'dummy7' && kind !== 'veth')).toEqual([])
  })

  it('watchLinks() says overrun when more came than the socket holds', async () => {
    using node = new ChurnNode('overrun')
    using netns = Netns.open(node.path)
    const changes: (readonly LinkInfo[] | 'overrun')[] = []
    const watch = netns.run(() => watchLinks((change) => changes.push(change)))
    onTestFinished(() => watch[Symbol.dispose]())
    node.ip(['link add dummy7 type veth peer name dummy8'])
    // Nothing is read while this call waits; each change is an event that takes 2 kB of the socket's room.
    node.ip(Array.from({ length: 6000 }, (_, i) => `link set dummy7 mtu ${1400 + (i % 50)}`))
    await eventually('an overrun is told', () => changes.includes('overrun'))
    node.ip(['link add after7 type veth peer name after8'])
    const told = () => changes.some((change) => change !== 'overrun' && change.some(({ name }) => name === 'after7'))
    await eventually('what comes after it is told too', told)
  })

  it('a watch that is forgotten does not keep its descriptor or the process', () => {
    const script = `
      import { watchLinks } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)}
      watchLinks(() => {})
    `
    execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], { timeout: 60_000 })
  })
})

describeKernel('links', () => {
  it('attachTcx() sees packets before those who were there first', ({ skip }) => {
    using node = new ChurnNode('head')
    node.addPods([1])
    using netns = Netns.open(node.path)
    using foreign = BpfObject.open(OBJECT.replace('sluice.bpf.o', 'testing.bpf.o'))
    foreign.load()
    using dropper = foreign.program('drop_port_9')
    using object = openWith('pod_egress')
    object.load()
    using program = object.program('pod_egress')
    if (!supportsTcx(program)) skip('this kernel has no tcx')
    const ifindex = netns.run(() => listLinks()).find(({ name }) => name === 'pod1')!.ifindex
    using _first = netns.run(() => BpfLink.attachTcx(dropper, ifindex, 'ingress'))
    using _second = netns.run(() => BpfLink.attachTcx(program, ifindex, 'ingress'))
    node.exec(1, 'bash', ['-c', `echo > /dev/udp/${node.gateway(1)}/9`])
    using flows = object.map('flows')
    const ports: number[] = []
    const key = new Uint8Array(flows.info.keySize)
    const view = new DataView(key.buffer)
    for (let more = flows.nextKey(null, key); more; more = flows.nextKey(key, key)) {
      ports.push(view.getUint16(FLOW_KEY.aPort, true), view.getUint16(FLOW_KEY.bPort, true))
    }
    expect(ports).toContain(9)
  })

  it('update() replaces a tcx link’s program, and a lost device shows as ifindex 0', ({ skip }) => {
    using node = new ChurnNode('tcx')
    node.addPods([1])
    using netns = Netns.open(node.path)
    using object = openWith('pod_egress', 'pod_ingress')
    object.load()
    using egress = object.program('pod_egress')
    using ingress = object.program('pod_ingress')
    if (!supportsTcx(egress)) skip('this kernel has no tcx')
    const ifindex = netns.run(() => listLinks()).find(({ name }) => name === 'pod1')!.ifindex
    using link = netns.run(() => BpfLink.attachTcx(egress, ifindex, 'ingress'))
    expect(link.info()).toMatchObject({ ifindex, programId: egress.info().id })
    link.update(ingress)
    expect(link.info()).toMatchObject({ ifindex, programId: ingress.info().id })
    node.removePods([1])
    expect(link.info().ifindex).toBe(0)
    expect(() => netns.run(() => BpfLink.attachTcx(egress, ifindex, 'ingress'))).toThrow(/ENODEV/)
  })

  it('clsact filters are replaced in place, and foreign ones and their qdisc stay', () => {
    using node = new ChurnNode('clsact')
    node.addPods([1])
    using netns = Netns.open(node.path)
    using object = openWith('pod_egress')
    object.load()
    using program = object.program('pod_egress')
    const slot = { handle: 0x51c0_0001, priority: 1 }
    netns.run(() => {
      const ifindex = listLinks().find(({ name }) => name === 'pod1')!.ifindex
      expect([ensureClsact(ifindex), ensureClsact(ifindex)]).toEqual([true, false])
      attachClsact(program, ifindex, 'ingress', slot)
      attachClsact(program, ifindex, 'ingress', slot)
      attachClsact(program, ifindex, 'ingress', { handle: 7, priority: 9 })
      expect(queryClsact(ifindex, 'ingress', slot)).toBe(program.info().id)
      expect(queryClsact(ifindex, 'egress', slot)).toBe(0)
      expect(removeEmptyClsact(ifindex)).toBe(false)
      expect([detachClsact(ifindex, 'ingress', slot), detachClsact(ifindex, 'ingress', slot)]).toEqual([true, false])
      expect(queryClsact(ifindex, 'ingress', { handle: 7, priority: 9 })).toBe(program.info().id)
      detachClsact(ifindex, 'ingress', { handle: 7, priority: 9 })
      expect(removeEmptyClsact(ifindex)).toBe(true)
      expect(ensureClsact(ifindex)).toBe(true)
    })
  })

  it('tracing links attach and detach', () => {
    using object = openWith('packet_dropped')
    object.load()
    using program = object.program('packet_dropped')
    using link = BpfLink.attachTracing(program)
    expect(link.info()).toMatchObject({ programId: program.info().id })
    expect(() => link.update(program)).toThrow(/EINVAL/)
  })
})

describeKernel('kernel facts', () => {
  it('kernelEnum() and hasTracepoint() read the kernel’s BTF', () => {
    const reasons = kernelEnum('skb_drop_reason')
    // 6.3 put SKB_CONSUMED before it.
    expect(reasons?.get('SKB_DROP_REASON_NOT_SPECIFIED')).toBe(reasons?.has('SKB_CONSUMED') ? 2 : 1)
    expect(kernelEnum('no_such_enum')).toBeUndefined()
    expect([hasTracepoint('kfree_skb'), hasTracepoint('no_such_tracepoint')]).toEqual([true, false])
  })

  it('probes tell supported types from unknown ones', () => {
    expect([supportsMapType(MapType.RINGBUF), supportsProgramType(ProgramType.SCHED_CLS)]).toEqual([true, true])
  })

  it('bootToWallOffset() fits both clocks to within a millisecond', () => {
    const { offsetNs, uncertaintyNs } = bootToWallOffset()
    const wallMs = Number((bootTimeNs() + offsetNs) / 1_000_000n)
    expect(Math.abs(wallMs - Date.now())).toBeLessThanOrEqual(2)
    expect(uncertaintyNs).toBeGreaterThan(0n)
    expect(uncertaintyNs).toBeLessThan(1_000_000n)
    expect(monotonicNs()).toBeLessThanOrEqual(bootTimeNs())
  })

  it('lockDirectory() lets one have a directory at a time', () => {
    const path = mkdtempSync('/tmp/sluice-lock-')
    onTestFinished(() => rmdirSync(path))
    const first = lockDirectory(path)
    expect(lockDirectory(path)).toBeUndefined()
    first?.[Symbol.dispose]()
    using second = lockDirectory(path)
    expect(second).toBeDefined()
  })
})
