import { expect, it, onTestFinished } from 'vitest'
import { Judge } from '../../filters/judge.ts'
import { allOf, not, type Predicate } from '../../filters/predicate.ts'
import { eventually } from '../../test/helpers/eventually.ts'
import { TestFlowStore } from '../../test/helpers/flow-store.ts'
import {
  consumer,
  facts,
  IFINDEX,
  identity,
  makeNode,
  NODE,
  newState,
  pod,
  rule,
  selector,
  setOf,
  WITNESS,
} from '../../test/helpers/kernel-filter-node.ts'
import { KernelPrograms } from '../../test/helpers/kernel-programs.ts'
import { TcpFlag } from '../../test/helpers/packets.ts'
import { describeKernel } from '../../test/helpers/privileged.ts'
import { FilterMaps } from '../kernel/filter-maps.ts'
import { KernelFilter } from './index.ts'

describeKernel('KernelFilter', () => {
  it('follows pods that come, change and go, for flows that live as well', async () => {
    const { state, filter, send } = makeNode()
    const app = (value: string): Predicate => {
      return { op: 'label', side: 'destination', selectors: [selector('app', value)] }
    }
    await filter.apply(
      setOf(consumer(0, rule('a', pod('shop', 'web', 'destination'))), consumer(1, rule('b', app('db')))),
    )
    const server = '10.0.0.2'
    const since = async (wanted: number) => {
      const began = performance.now()
      await eventually(`bits ${wanted}`, () => send(server) === wanted, 2000)
      return performance.now() - began
    }
    expect(send(server)).toBe(0)
    state.upsertPod(facts('shop', 'web-1', server))
    expect(await since(0b01)).toBeLessThan(1000)
    state.upsertPod(facts('shop', 'web-1', server, { labels: { app: 'db' } }))
    expect(await since(0b11)).toBeLessThan(1000)
    state.upsertPod(facts('shop', 'web-1', server, { labels: { app: 'cache' } }))
    expect(await since(0b01)).toBeLessThan(1000)
    state.upsertPod(facts('shop', 'web-1', '10.0.0.3', { labels: { app: 'cache' } }))
    expect(await since(0)).toBeLessThan(1000)
    expect(send('10.0.0.3')).toBe(0b01)
  })

  it('follows whose the device is', async () => {
    const { state, filter, send } = makeNode()
    await filter.apply(
      setOf(consumer(0, rule('a', pod('shop', 'client'))), consumer(1, rule('b', pod('shop', 'next')))),
    )
    expect(send('10.0.0.2')).toBe(0b01)
    state.endpoints.addInterface({ ifindex: IFINDEX, name: 'veth', ips: [] })
    await filter.settled()
    // Nobody knows the device, and the packet's own address is a pod's of this node.
    expect(send('10.0.0.2')).toBe(0b01)
    state.endpoints.addInterface({ ifindex: IFINDEX, name: 'veth', ips: ['10.0.0.7'] })
    await filter.settled()
    expect(send('10.0.0.2')).toBe(0)
    state.upsertPod(facts('shop', 'next', '10.0.0.7', { nodeName: NODE }))
    await filter.settled()
    expect(send('10.0.0.2')).toBe(0b10)
  })

  it('follows nodes, services and named ranges', async () => {
    const { state, filter, send } = makeNode()
    const world = rule('world', identity('destination', 2))
    const range = rule('range', identity('destination', 16_777_217, 16_777_218))
    const node = rule('node', identity('destination', 6))
    await filter.apply(setOf(consumer(0, world), consumer(1, range), consumer(2, node)))
    expect([send('203.0.113.9'), send('10.9.0.2')]).toEqual([0b001, 0b001])
    state.setCidrs([{ cidr: '203.0.113.0/24', labels: ['cidr-group:partner'] }])
    state.upsertNode({ name: 'node-2', ips: ['10.9.0.2'], labels: {} })
    await filter.settled()
    expect([send('203.0.113.9'), send('203.0.114.9'), send('10.9.0.2')]).toEqual([0b010, 0b001, 0b100])
    // Rules that come later find the range too.
    await filter.apply(setOf(consumer(3, range)))
    expect([send('203.0.113.9'), send('203.0.114.9')]).toEqual([0b1000, 0])
    state.setCidrs([])
    state.deleteNode('node-2')
    await filter.apply(setOf(consumer(0, world), consumer(1, range), consumer(2, node)))
    expect([send('203.0.113.9'), send('10.9.0.2')]).toEqual([0b001, 0b001])
  })

  it('judges nothing when nobody filters, and all else again when somebody does', async () => {
    const { k, filter, send } = makeNode()
    await filter.apply(setOf(consumer(0)))
    expect(k.map('filter_state').info.maxEntries).toBe(1)
    expect(send('10.0.0.2')).toBe((1 << WITNESS) - 1)
    await filter.apply(setOf(consumer(0, rule('a', pod('shop', 'client'), 'exclude'))))
    expect(send('10.0.0.2')).toBe(0)
    await filter.apply({ consumers: [consumer(0, rule('a', pod('shop', 'client'), 'exclude'))] })
    expect(send('10.0.0.2')).toBe(undefined)
    expect(k.ledger().EVENTS_FILTERED).toBe(1)
  })

  it('keeps the counts of rules that stay, over changes of the others', async () => {
    const { filter, send } = makeNode()
    const client = rule('client', pod('shop', 'client'))
    const port = rule('port', { op: 'port', side: 'destination', ports: [81] }, 'exclude')
    const other = rule('other', pod('shop', 'other'))
    await filter.apply({ consumers: [consumer(0, client, port)] })
    for (const one of [80, 80, 81]) send('10.0.0.2', one)
    await filter.apply({ consumers: [consumer(0, client, port, other)] })
    for (const one of [80, 81, 81]) send('10.0.0.2', one)
    await filter.apply({ consumers: [consumer(0, client, port)] })
    send('10.0.0.2', 80)
    const { rules, consumers, filteredInKernel } = await filter.readCounts()
    expect(rules).toEqual([
      { id: 'client', matched: 7, kept: 4, leftOut: 3, isExact: true },
      { id: 'port', matched: 3, kept: 0, leftOut: 3, isExact: true },
    ])
    expect(consumers).toEqual([{ name: 'consumer/0', events: 7, kept: 4, leftOut: 3 }])
    expect(filteredInKernel).toBe(3)
  })

  it('counts once what user space decides, over changes of the rules', async () => {
    const { judge, filter, send } = makeNode()
    const store = new TestFlowStore()
    const view = store.createView()
    const calm = rule('calm', not({ op: 'tcp-flags', masks: [TcpFlag.RST] }))
    const ask = () => {
      store.seek(view, store.push({ dstPort: 80, consumers: send('10.0.0.2')! }))
      judge.wants(0, view)
    }
    const { decisions } = await filter.apply(setOf(consumer(0, calm)))
    expect(decisions.get('calm')!.where).not.toBe('kernel')
    for (let i = 0; i < 3; i++) ask()
    await filter.apply(setOf(consumer(0, calm, rule('other', pod('shop', 'other')))))
    ask()
    const { rules, consumers } = await filter.readCounts()
    expect(rules[0]).toMatchObject({ id: 'calm', matched: 4, kept: 4 })
    expect(consumers[0]).toEqual({ name: 'consumer/0', events: 4, kept: 4, leftOut: 0 })
  })

  it('leaves the rules in force when the kernel refuses new ones', async () => {
    const k = new KernelPrograms({ programs: ['pod_egress', 'flow_sweep'], constants: { per_packet: 1 } })
    let refuses = false
    const source = {
      map: (name: string) => {
        if (refuses && name === 'filter_ports') throw new Error('no memory')
        return k.map(name)
      },
    }
    const { state, judge, send } = makeNode(k)
    const filter = new KernelFilter({ maps: source, ring: k.ring, state, judge })
    onTestFinished(() => filter[Symbol.asyncDispose]())
    await filter.apply(setOf(consumer(0, rule('a', pod('shop', 'client')))))
    refuses = true
    const next = setOf(consumer(1, rule('b', { op: 'port', side: 'destination', ports: [80] })))
    await expect(filter.apply(next)).rejects.toThrow('no memory')
    expect(send('10.0.0.2')).toBe(0b01)
    state.upsertPod(facts('shop', 'web', '10.0.0.2'))
    await filter.settled()
    expect(send('10.0.0.2')).toBe(0b01)
    refuses = false
    await filter.apply(next)
    expect(send('10.0.0.2')).toBe(0b10)
  })

  it('writes again what the kernel refused', async () => {
    const k = new KernelPrograms({ programs: ['pod_egress', 'flow_sweep'], constants: { per_packet: 1 } })
    const { state, judge, send } = makeNode(k)
    const filter = new KernelFilter({ maps: k, ring: k.ring, state, judge })
    onTestFinished(() => filter[Symbol.asyncDispose]())
    state.upsertPod(facts('shop', 'old', '10.0.0.3'))
    await filter.apply(
      setOf(
        consumer(0, rule('a', pod('shop', 'web', 'destination'))),
        consumer(1, rule('b', pod('shop', 'client'))),
        consumer(2, rule('c', identity('destination', 2))),
      ),
    )
    const { setAddresses, deleteAddresses, setDevice } = FilterMaps.prototype
    const restore = () => Object.assign(FilterMaps.prototype, { setAddresses, deleteAddresses, setDevice })
    onTestFinished(() => void restore())
    const refuse = () => {
      throw new Error('no memory')
    }
    Object.assign(FilterMaps.prototype, { setAddresses: refuse, setDevice: refuse })
    state.upsertPod(facts('shop', 'web', '10.0.0.2'))
    state.upsertPod(facts('shop', 'old', '10.0.0.9'))
    state.upsertPod(facts('other', 'client', '10.0.0.1', { uid: 'another', nodeName: NODE }))
    await expect(filter.settled()).rejects.toThrow('no memory')
    Object.assign(FilterMaps.prototype, { deleteAddresses: refuse })
    await expect(filter.settled()).rejects.toThrow('no memory')
    restore()
    await filter.settled()
    expect([send('10.0.0.2'), send('10.0.0.3')]).toEqual([0b001, 0b100])
    const gauges = new Map<string, number>()
    filter.collect({ counter() {}, gauge: (name, _help, value) => void gauges.set(name, value) })
    expect(gauges.get('sluice_filter_kernel_pending')).toBe(0)
    // Each in its own place.
    for (let i = 0; i < 4; i++) state.upsertPod(facts('shop', `more-${i}`, `10.0.1.${i}`))
    expect(gauges.get('sluice_filter_kernel_addresses')).toBe(3)
    await filter.settled()
    filter.collect({ counter() {}, gauge: (name, _help, value) => void gauges.set(name, value) })
    expect(gauges.get('sluice_filter_kernel_addresses')).toBe(7)
    expect(Array.from({ length: 4 }, (_, i) => send(`10.0.1.${i}`))).toEqual([0, 0, 0, 0])
    // No class but those of: the world, the host, web, client, and who is none of them.
    expect(gauges.get('sluice_filter_kernel_classes')).toBeLessThanOrEqual(6)
  })

  it('goes on with what a former agent left, until it has rules of its own', async () => {
    const { k, state, filter, send } = makeNode()
    state.upsertPod(facts('shop', 'web', '10.0.0.2'))
    state.upsertPod(facts('shop', 'gone', '10.0.0.3'))
    await filter.apply(setOf(consumer(0, rule('a', pod('shop', '', 'destination')))))
    expect([send('10.0.0.2'), send('10.0.0.3')]).toEqual([0b01, 0b01])
    await filter[Symbol.asyncDispose]()

    const later = newState()
    later.endpoints.addInterface({ ifindex: IFINDEX, name: 'veth', ips: ['10.0.0.1'] })
    later.upsertPod(facts('shop', 'client', '10.0.0.1', { nodeName: NODE }))
    later.upsertPod(facts('shop', 'web', '10.0.0.2'))
    const judge = new Judge({ historyEnd: () => later.history.end })
    await using next = new KernelFilter({ maps: k, ring: k.ring, state: later, judge })
    expect([send('10.0.0.2'), send('10.0.0.3')]).toEqual([0b01, 0b01])
    const world = rule('world', identity('destination', 2))
    await next.apply(setOf(consumer(0, rule('a', pod('shop', '', 'destination'))), consumer(1, world)))
    expect([send('10.0.0.2'), send('10.0.0.3')]).toEqual([0b01, 0b10])
  })

  it("compiles rules again when the node's labels change", async () => {
    const { state, filter, send } = makeNode()
    const zone: Predicate = { op: 'node-label', selectors: [selector('zone', 'a')] }
    await filter.apply(setOf(consumer(0, rule('a', zone))))
    expect(send('10.0.0.2')).toBe(0)
    state.upsertNode({ name: NODE, ips: [], labels: { zone: 'a' } })
    await eventually('the rules of the new labels', () => send('10.0.0.2') === 0b01, 3000)
  })

  it('does bounded work when the labels of 500 pods flap 20 times a second', async () => {
    const { k, state, filter, send } = makeNode()
    const app = (value: string): Predicate => ({
      op: 'label',
      side: 'destination',
      selectors: [selector('app', value)],
    })
    await filter.apply(setOf(consumer(0, rule('a', app('x'))), consumer(1, rule('b', app('y')))))
    const pods = Array.from({ length: 500 }, (_, i) => ({ name: `p${i}`, ip: `10.1.${i >> 8}.${i & 255}` }))
    const generation = () => {
      const value = Buffer.alloc(8)
      k.map('filter_state').lookup(Buffer.alloc(4), value)
      return value.readUInt32LE(0)
    }
    const before = generation()
    for (let turn = 0; turn < 40; turn++) {
      const labels = { app: turn % 2 === 0 ? 'x' : 'y' }
      for (const { name, ip } of pods) state.upsertPod(facts('shop', name, ip, { labels }))
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    await filter.settled()
    // Two seconds, and not more than ten a second.
    expect((generation() - before) / 2).toBeLessThanOrEqual(25)
    expect(pods.slice(0, 5).map(({ ip }) => send(ip))).toEqual([0b10, 0b10, 0b10, 0b10, 0b10])
  })

  it('brings 256 rules over 40,000 identities into force without holding the loop', async () => {
    const { state, filter, send } = makeNode()
    for (let i = 0; i < 40_000; i++) {
      const ip = `10.${64 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`
      const labels = { app: `app-${i % 1000}`, id: String(i) }
      state.upsertPod(facts(`ns-${i % 100}`, `web-${i}`, ip, { labels }))
    }
    const rules = Array.from({ length: 256 }, (_, i) => {
      const byLabel: Predicate = { op: 'label', side: 'destination', selectors: [selector('app', `app-${i}`)] }
      return rule(`r${i}`, i % 2 === 0 ? byLabel : allOf(pod(`ns-${i % 100}`, '', 'destination'), not(byLabel)))
    })
    const took: number[] = []
    for (let round = 0; round < 2; round++) {
      const applied = await filter.apply(setOf(consumer(0, ...rules.slice(0, 128)), consumer(1, ...rules.slice(128))))
      took.push(applied.tookMs)
      expect([...applied.decisions.values()].every(({ where }) => where === 'kernel')).toBe(true)
    }
    // Pod 0 is web-0 of ns-0 with app-0: the first rule's.
    expect(send('10.64.0.0')! & 0b01).toBe(0b01)
    const gauges = new Map<string, number>()
    filter.collect({ counter() {}, gauge: (name, _help, value) => void gauges.set(name, value) })
    expect(gauges.get('sluice_filter_kernel_addresses')).toBe(40_001)
    expect(gauges.get('sluice_filter_kernel_classes')).toBeGreaterThan(256)
    expect(gauges.get('sluice_filter_kernel_undecided_endpoints')).toBe(0)
    expect(Math.max(...took)).toBeLessThan(5000)
  })
})
