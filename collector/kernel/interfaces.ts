import { errorText } from '../../base/errors.ts'
import { Listeners } from '../../base/lifetime.ts'
import { LogLimiter } from '../../base/logger.ts'
import { EndpointKind } from '../../model/layouts.gen.ts'
import { defaultRouteDevices, errnoOf, LinkFlag, type LinkInfo, listLinks, watchLinks } from '../../native/index.ts'
import type { HookKind } from './attachments.ts'
import { EndpointMaps } from './endpoint-maps.ts'
import type { InterfaceCounts, InterfaceEvent, InterfacesOptions, WatchedInterface } from './interface-types.ts'
import type { KernelDatapath } from './loader.ts'
import { addressesOf, findNetns, inspectPod, macText, NETNS_DIRECTORIES } from './pod-namespace.ts'
import { routedAddresses } from './routed-addresses.ts'
import { SlotTable } from './slots.ts'

/** After a device left, others may have become what they were not: a veth's peer moved to another namespace. */
const RELIST_MS = 50
/** For what no link event tells: a new default route, a device that could not be attached. */
const CHECK_MS = 10_000
/** When a pod's side is looked at again while it has no address, or was not found: runtimes set it up step by step. */
const INSPECT_AGAIN_MS: readonly number[] = [50, 200, 1000, 5000, 30_000]

/** Kinds of device whose other end is a pod's; what a pod sends comes in on the node's end of both. */
const PAIRS: ReadonlySet<string> = new Set(['veth', 'netkit'])

interface Entry {
  shown: WatchedInterface
  link: LinkInfo
  inspections: number
  /** Counted as one whose namespace could not be found or entered. */
  uninspected: boolean
  timer: NodeJS.Timeout | undefined
}

/**
 * Follows the node's devices, attaches the programs to each pod's host side and to the uplinks, and keeps the maps that
 * the programs ask. Single source of truth for which ifindex is whose slot.
 */
export class Interfaces implements Disposable {
  readonly counts: InterfaceCounts = {
    added: 0,
    removed: 0,
    attachFailures: 0,
    unwatched: 0,
    overruns: 0,
    uninspected: 0,
  }
  readonly #datapath: KernelDatapath
  readonly #options: InterfacesOptions
  readonly #maps: EndpointMaps
  readonly #slots: SlotTable
  readonly #entries = new Map<number, Entry>()
  readonly #listeners = new Listeners<InterfaceEvent>()
  readonly #limiter = new LogLimiter()
  readonly #attaching = new Set<Promise<void>>()
  #disposed = false
  #watch: Disposable | undefined
  #check: NodeJS.Timeout | undefined
  #relist: NodeJS.Timeout | undefined
  #defaults: ReadonlySet<number> = new Set()
  /** Slots by ifindex that a former agent gave to devices that still have its programs, while they are looked for. */
  #inherited = new Map<number, number>()

  constructor(datapath: KernelDatapath, options: InterfacesOptions) {
    this.#datapath = datapath
    this.#options = options
    this.#maps = new EndpointMaps(datapath.map('endpoints'), datapath.map('netns'))
    this.#slots = new SlotTable(datapath.counters.slots)
  }

  get sharingSlotZero(): number {
    return this.#slots.exhausted
  }

  list(): WatchedInterface[] {
    return [...this.#entries.values()].map((entry) => entry.shown)
  }

  get(ifindex: number): WatchedInterface | undefined {
    return this.#entries.get(ifindex)?.shown
  }

  onEvent(listener: (event: InterfaceEvent) => void): Disposable {
    return this.#listeners.add(listener)
  }

  /**
   * Finds what is there and attaches to it, and from then on to what comes. Listeners should be added before. list() is
   * complete when this returns, the attachments are when its promise resolves; it never rejects.
   */
  async start(): Promise<void> {
    const inherited = this.#maps.inherited()
    if (inherited.size > 0 || this.#datapath.report.reused.includes('endpoint_counters')) this.#slots.soilAll()
    // All of them before a new device gets one: flows of the others count there as long as they live.
    for (const [ifindex, slot] of inherited) {
      if (this.#datapath.attachments.standing(ifindex) && this.#slots.claim(slot)) this.#inherited.set(ifindex, slot)
    }
    // Watching first: what changes while the list is read comes again as an event.
    this.#watch = this.#datapath.node.run(() => watchLinks((change) => this.#onChange(change)))
    this.#check = setInterval(() => this.#list(), CHECK_MS).unref()
    this.#list()
    this.#maps.sweep((ifindex) => this.#entries.has(ifindex))
    this.#dropInherited()
    this.#datapath.sweeper.refreshSlots()
    while (this.#attaching.size > 0) await Promise.all(this.#attaching)
    if (!this.#disposed) this.#datapath.finishTakeover(new Set(this.#entries.keys()))
  }

  /** Devices that a former agent watched and this one does not: another configuration, another default route. */
  #dropInherited(): void {
    for (const [ifindex, slot] of this.#inherited) {
      this.#datapath.attachments.detach(ifindex)
      this.#slots.release(slot)
    }
    this.#inherited.clear()
  }

  /** Devices that wait for their programs: the kernel takes 20 to 40 ms for each. */
  get attaching(): number {
    return this.#attaching.size
  }

  /** Stops following; the programs stay attached. */
  [Symbol.dispose](): void {
    this.#disposed = true
    this.#watch?.[Symbol.dispose]()
    clearInterval(this.#check)
    clearTimeout(this.#relist)
    for (const entry of this.#entries.values()) clearTimeout(entry.timer)
    this.#entries.clear()
  }

  #onChange(change: readonly LinkInfo[] | 'overrun'): void {
    if (change === 'overrun') {
      this.counts.overruns++
      this.#list()
      return
    }
    const fresh: Entry[] = []
    for (const link of change) {
      if (link.event === 'present') this.#present(link, fresh)
      else if (this.#entries.has(link.ifindex)) this.#remove(link.ifindex, false)
      else if (PAIRS.has(link.kind)) this.#listSoon()
    }
    this.#welcome(fresh)
  }

  #listSoon(): void {
    this.#relist ??= setTimeout(() => {
      this.#relist = undefined
      this.#list()
    }, RELIST_MS).unref()
  }

  /** Makes what is watched what is there. */
  #list(): void {
    const fresh: Entry[] = []
    try {
      const [links, defaults] = this.#datapath.node.run(() => [listLinks(), defaultRouteDevices()] as const)
      this.#defaults = new Set(defaults)
      const present = new Set(links.map((link) => link.ifindex))
      for (const ifindex of [...this.#entries.keys()]) if (!present.has(ifindex)) this.#remove(ifindex, false)
      for (const link of links) this.#present(link, fresh)
    } catch (error) {
      this.#warn('list', error, {}, 'cannot list the devices')
    }
    this.#welcome(fresh)
  }

  #present(link: LinkInfo, fresh: Entry[]): void {
    const kind = this.#kindOf(link)
    const known = this.#entries.get(link.ifindex)
    if (known && kind !== undefined && kind === known.shown.kind && this.#isSame(known, link)) {
      const renamed = known.link.name !== link.name
      known.link = link
      if (renamed) this.#show(known, { name: link.name })
      return
    }
    // A veth whose peer is being taken down tells no peer any more; it stays what it was until it goes.
    if (known && kind === undefined && this.#isSame(known, link)) return
    if (known) this.#remove(link.ifindex, true)
    if (kind !== undefined) this.#add(link, kind, fresh)
  }

  #kindOf(link: LinkInfo): 'pod' | 'uplink' | undefined {
    if ((link.flags & LinkFlag.LOOPBACK) !== 0) return undefined
    if (this.#isUplink(link)) return 'uplink'
    return PAIRS.has(link.kind) && link.linkNetnsId >= 0 ? 'pod' : undefined
  }

  /** A default route that goes away for a moment makes no pod of a veth that was an uplink. */
  #isUplink(link: LinkInfo): boolean {
    const { uplinks } = this.#options
    if (uplinks !== 'auto') return uplinks.includes(link.name)
    return this.#defaults.has(link.ifindex) || this.#entries.get(link.ifindex)?.shown.kind === 'uplink'
  }

  /** An ifindex may come again as another device; its address is then another one, and our links have lost theirs. */
  #isSame(known: Entry, link: LinkInfo): boolean {
    return macText(known.link.mac) === macText(link.mac) || this.#datapath.attachments.standing(link.ifindex)
  }

  #add(link: LinkInfo, kind: 'pod' | 'uplink', fresh: Entry[]): void {
    const { ifindex } = link
    const slot = this.#slotFor(ifindex)
    try {
      // The programs ask this map for every new flow: it comes before them.
      this.#maps.set(ifindex, slot, kind === 'pod' ? EndpointKind.POD : EndpointKind.UPLINK)
    } catch (error) {
      this.counts.unwatched++
      this.#slots.release(slot)
      this.#warn('unwatched', error, { interface: link.name }, 'cannot watch a device: too many of them')
      return
    }
    const shown: WatchedInterface = {
      ifindex,
      name: link.name,
      kind,
      slot,
      ips: kind === 'uplink' ? this.#datapath.node.run(() => addressesOf(ifindex)) : [],
      mac: kind === 'uplink' ? macText(link.mac) : '',
      netnsCookie: 0n,
      podInterface: '',
    }
    const entry: Entry = { shown, link, inspections: 0, uninspected: false, timer: undefined }
    this.#entries.set(ifindex, entry)
    fresh.push(entry)
    const attaching = this.#attach(entry).finally(() => this.#attaching.delete(attaching))
    this.#attaching.add(attaching)
  }

  /** Never rejects. A device that cannot be attached is forgotten, and found again by the next list. */
  async #attach(entry: Entry): Promise<void> {
    const { ifindex, name, kind } = entry.shown
    let failure: unknown
    try {
      await this.#datapath.attachments.attach(ifindex, hookOf(entry.link, kind))
    } catch (error) {
      failure = error
    }
    if (this.#disposed) return
    const current = this.#entries.get(ifindex)
    if (current === undefined) {
      this.#datapath.attachments.forget(ifindex) // it went meanwhile
    } else if (current === entry && failure !== undefined) {
      this.#remove(ifindex, true)
      if (errnoOf(failure) === 'ENODEV') return // gone; the event is on its way
      this.counts.attachFailures++
      this.#warn('attach', failure, { interface: name }, 'cannot attach to a device')
    }
  }

  /** The slot that a former agent gave this very device, or a new one with its counters at zero. */
  #slotFor(ifindex: number): number {
    const inherited = this.#inherited.get(ifindex)
    if (inherited !== undefined) {
      this.#inherited.delete(ifindex)
      return inherited
    }
    const { slot, fresh } = this.#slots.allocate()
    if (!fresh) this.#datapath.counters.clearSlot(slot)
    return slot
  }

  /** Looks into the new pods, with one search for all of them, and announces everything. */
  #welcome(fresh: readonly Entry[]): void {
    this.#inspect(fresh.filter((entry) => entry.shown.kind === 'pod'))
    for (const entry of fresh) {
      if (this.#entries.get(entry.shown.ifindex) !== entry) continue
      this.counts.added++
      this.#listeners.emit({ kind: 'added', interface: entry.shown })
    }
  }

  #inspect(entries: readonly Entry[]): void {
    if (entries.length === 0) return
    const { netnsDirectories = NETNS_DIRECTORIES } = this.#options
    const wanted = new Set(entries.map((entry) => entry.link.linkNetnsId))
    const namespaces = findNetns(wanted, this.#datapath.node, netnsDirectories)
    for (const entry of entries) {
      const netns = namespaces.get(entry.link.linkNetnsId)
      try {
        const facts = netns && inspectPod(netns, entry.link.iflink)
        if (facts) {
          this.#maps.setNetns(facts.netnsCookie, entry.shown.ifindex, (ifindex) => this.#entries.has(ifindex))
          const { netnsCookie, mac, ips, name: podInterface } = facts
          entry.shown = { ...entry.shown, netnsCookie, mac, ips, podInterface }
        }
      } catch (error) {
        this.#warn('inspect', error, { interface: entry.link.name }, 'cannot look into the namespace of a pod')
        if (errnoOf(error) === 'EPERM') this.#refused(entry)
      }
      if (entry.shown.ips.length === 0 || entry.uninspected) this.#inspectLater(entry)
    }
    for (const netns of namespaces.values()) netns[Symbol.dispose]()
  }

  #inspectLater(entry: Entry): void {
    const delay = INSPECT_AGAIN_MS[entry.inspections++]
    if (delay === undefined) {
      if (entry.shown.netnsCookie === 0n) this.#uninspected(entry)
      return
    }
    entry.timer = setTimeout(() => {
      const before = entry.shown
      this.#inspect([entry])
      if (entry.shown !== before) this.#listeners.emit({ kind: 'changed', interface: entry.shown })
    }, delay).unref()
  }

  /** Without CAP_SYS_ADMIN: the node's routes still tell the pod's addresses, and so its name; they come one by one. */
  #refused(entry: Entry): void {
    this.#uninspected(entry)
    if (this.#datapath.node.netns !== undefined) return
    const ips = routedAddresses(entry.link.name)
    if (ips.join() !== entry.shown.ips.join()) entry.shown = { ...entry.shown, ips }
  }

  #uninspected(entry: Entry): void {
    if (entry.uninspected) return
    entry.uninspected = true
    this.counts.uninspected++
  }

  #show(entry: Entry, change: Partial<WatchedInterface>): void {
    entry.shown = { ...entry.shown, ...change }
    this.#listeners.emit({ kind: 'changed', interface: entry.shown })
  }

  /** @param attached whether the device is still there with our programs on it */
  #remove(ifindex: number, attached: boolean): void {
    const entry = this.#entries.get(ifindex)
    if (!entry) return
    this.#entries.delete(ifindex)
    clearTimeout(entry.timer)
    const { slot, netnsCookie } = entry.shown
    const totals = this.#datapath.counters.endpoint(slot)
    if (attached) this.#datapath.attachments.detach(ifindex)
    else this.#datapath.attachments.forget(ifindex)
    this.#maps.remove(ifindex)
    if (netnsCookie !== 0n) this.#maps.removeNetns(netnsCookie, ifindex)
    this.#slots.release(slot)
    // The same device may be watched again, as another kind or after a failure, and its flows still live.
    this.#datapath.sweeper.refreshSlots()
    this.counts.removed++
    this.#listeners.emit({ kind: 'removed', interface: entry.shown, totals })
  }

  #warn(key: string, error: unknown, fields: object, message: string): void {
    this.#limiter.run(key, (held) =>
      this.#datapath.options.logger.warn({ ...fields, error: errorText(error), held }, message),
    )
  }
}

/**
 * Ethernet's addresses have six bytes. Devices without a link header have none (tun, WireGuard), or one of IP in their
 * place (ipip, GRE: 4 bytes; ip6tnl: 16).
 */
export function hookOf(link: Pick<LinkInfo, 'mac'>, kind: 'pod' | 'uplink'): HookKind {
  if (kind === 'pod') return 'pod'
  return link.mac.length === 6 ? 'uplink' : 'uplink-l3'
}
