import { Listeners } from '../base/lifetime.ts'
import type { CidrFacts, EndpointEvent, NodeFacts, PodFacts, ServiceFacts } from '../model/contracts.ts'
import { type Endpoint, IDENTITY } from '../model/endpoint.ts'
import { AddressBook, CLAIM, MAX_ADDRESSES } from './address-book.ts'
import { ClusterAddresses } from './cluster-addresses.ts'
import { DeviceTable, type LocalInterface } from './device-table.ts'
import { EndpointVersions } from './endpoint-versions.ts'
import { EndpointIds, IdentityAllocator } from './identity.ts'
import { podLabels } from './labels.ts'

/** Pods of the cluster that are kept; half of MAX_ADDRESSES, as most pods have two addresses. */
export const MAX_PODS = 65_536
/** A deleted pod keeps its addresses and interface so long: its last records come after it is gone. */
export const GRACE_MS = 60_000

/** Versions, and pods, that are let go of in one turn: half a millisecond of work. */
const MAX_LET_GO = 64

export interface EndpointTableOptions {
  /** Kubernetes' name of this node: its own addresses are `host`, other nodes' `remote-node`. */
  readonly nodeName: string
  /** Hubble's cluster name, `default` unless configured. */
  readonly clusterName?: string
  /** One past the newest flow of the history: a version that ends now is named by no later flow. */
  readonly historyEnd: () => number
  readonly maxPods?: number
  readonly maxAddresses?: number
  readonly maxVersions?: number
  readonly graceMs?: number
  readonly now?: () => number
}

interface Pod {
  readonly key: string
  facts: PodFacts
  labels: readonly string[]
  endpoint: Endpoint
  gone: boolean
}

/**
 * Who is behind an address or an interface, as a number that stays right: each change makes a new version of the
 * endpoint, and records keep the number of the version of their time. Look-ups allocate nothing.
 */
export class EndpointTable {
  /** Pods not taken because there are `maxPods` already. */
  podsRefused = 0
  interfacesRefused = 0
  readonly identities = new IdentityAllocator()
  readonly versions: EndpointVersions
  readonly addresses: AddressBook
  /** Nodes, services and ranges. */
  readonly cluster: ClusterAddresses
  readonly nodeName: string
  readonly clusterName: string
  readonly #maxPods: number
  readonly #graceMs: number
  readonly #now: () => number
  readonly #ids = new EndpointIds()
  readonly #pods = new Map<string, Pod>()
  readonly #devices: DeviceTable
  readonly #events = new Listeners<EndpointEvent>()
  #graves: { readonly at: number; readonly bury: () => void }[] = []

  constructor(options: EndpointTableOptions) {
    this.nodeName = options.nodeName
    this.clusterName = options.clusterName ?? 'default'
    this.#maxPods = options.maxPods ?? MAX_PODS
    this.#graceMs = options.graceMs ?? GRACE_MS
    this.#now = options.now ?? Date.now
    this.versions = new EndpointVersions(options.historyEnd, options.maxVersions)
    this.addresses = new AddressBook(options.maxAddresses ?? MAX_ADDRESSES)
    this.cluster = new ClusterAddresses(this.nodeName, this.versions, this.addresses, this.identities)
    this.#devices = new DeviceTable(this.versions, this.addresses, this.#ids)
  }

  /** The endpoint of a number; the unknown endpoint for 0 and for versions that no flow names any more. */
  get(ref: number): Endpoint {
    return this.versions.get(ref)
  }

  /**
   * Endpoint behind an address.
   *
   * @param words four words as in a record, from `at` @param family 4 or 6
   * @param podLink true when it was seen on a pod's interface: link-local peers there are the node itself
   */
  lookup(words: Uint32Array, at: number, family: number, podLink: boolean): number {
    return this.addresses.get(words, at) || this.cluster.outside(words, at, family, podLink)
  }

  /** Endpoint behind one of the node's pod interfaces, 0 when it is none. */
  byInterface(ifindex: number): number {
    return this.#devices.ref(ifindex)
  }

  /** Called with the ifindex when somebody else is behind one of the node's pod interfaces. */
  onDevice(listener: (ifindex: number) => void): Disposable {
    return this.#devices.onChange(listener)
  }

  /** The node's pod interfaces. */
  devices(): Iterable<number> {
    return this.#devices.ifindexes()
  }

  /** Whether it is known which addresses are behind an interface. */
  hasAddresses(ifindex: number): boolean {
    return (this.#devices.get(ifindex)?.info.ips.length ?? 0) > 0
  }

  /** Name of an interface, also for a minute after it has gone. */
  interfaceName(ifindex: number): string {
    return this.#devices.get(ifindex)?.info.name ?? ''
  }

  get podCount(): number {
    return this.#pods.size
  }

  /** Labels of this node, `key=value`, sorted. */
  nodeLabels(): readonly string[] {
    const labels = this.cluster.node(this.nodeName)?.labels ?? {}
    return Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .sort()
  }

  nodes(): Iterable<NodeFacts> {
    return this.cluster.nodes()
  }

  /** Endpoints on this node at present. */
  *localEndpoints(): Iterable<Endpoint> {
    for (const pod of this.#pods.values()) if (!pod.gone && pod.endpoint.isLocal) yield pod.endpoint
  }

  onEvent(listener: (event: EndpointEvent) => void): Disposable {
    return this.#events.add(listener)
  }

  upsertPod(facts: PodFacts): void {
    const key = `${facts.namespace}/${facts.name}`
    let known = this.#pods.get(key)
    if (known !== undefined && known.facts.uid !== facts.uid) {
      this.#bury(known)
      known = undefined
    }
    if (known === undefined && !this.#makeRoom()) {
      this.podsRefused++
      return
    }
    const before = known?.endpoint
    const pod = known ?? this.#newPod(key, facts)
    const lost = known === undefined ? [] : addressesOf(known.facts).filter((ip) => !facts.ips.includes(ip))
    const wasGone = pod.gone
    pod.gone = false
    pod.facts = facts
    this.#renewPod(pod)
    for (const ip of lost) this.#releaseAddress(pod, ip)
    this.#placePod(pod)
    if (before === undefined || wasGone) this.#events.emit({ kind: 'created', endpoint: pod.endpoint })
    else if (before !== pod.endpoint) this.#events.emit({ kind: 'updated', endpoint: pod.endpoint })
  }

  deletePod(namespace: string, name: string): void {
    const pod = this.#pods.get(`${namespace}/${name}`)
    if (pod === undefined || pod.gone) return
    pod.gone = true
    this.#events.emit({ kind: 'deleted', endpoint: pod.endpoint })
    this.#later(() => {
      if (pod.gone && this.#pods.get(pod.key) === pod) this.#bury(pod)
    })
  }

  upsertNode(node: NodeFacts): void {
    this.cluster.upsertNode(node)
  }

  deleteNode(name: string): void {
    this.cluster.deleteNode(name)
  }

  upsertService(service: ServiceFacts): void {
    this.cluster.upsertService(service)
  }

  deleteService(namespace: string, name: string): void {
    this.cluster.deleteService(namespace, name)
  }

  setCidrs(cidrs: readonly CidrFacts[]): void {
    this.cluster.setCidrs(cidrs)
  }

  /** A pod's interface has come, or what is known of it has changed. */
  addInterface(info: LocalInterface): void {
    const old = this.#devices.get(info.ifindex)
    if (old !== undefined) {
      if (!old.gone && old.info.name === info.name && sameList(old.info.ips, info.ips)) return
      this.#devices.drop(old)
    }
    if (this.#devices.size >= this.#maxPods) {
      this.interfacesRefused++
      return
    }
    const device = this.#devices.add(info)
    const owner = info.ips.map((ip) => this.addresses.owner(CLAIM.POD, ip)).find((key) => key !== '')
    const pod = owner === undefined ? undefined : this.#pods.get(owner)
    if (pod === undefined) {
      this.#devices.makeBare(device)
      return
    }
    // It may be local only since now.
    this.#renewPod(pod)
    this.#placePod(pod)
  }

  removeInterface(ifindex: number): void {
    const device = this.#devices.get(ifindex)
    if (device === undefined || device.gone) return
    device.gone = true
    this.#later(() => {
      if (device.gone && this.#devices.get(ifindex) === device) this.#devices.drop(device)
    })
  }

  /**
   * Lets go of what no flow of the history names, and of pods and interfaces gone for a minute; a part of it at a time, as
   * ten thousand of them are a hundred milliseconds of work.
   *
   * @returns whether there is more to be done now
   */
  maintain(historyFirst: number): boolean {
    const hasMore = this.versions.free(historyFirst, MAX_LET_GO)
    const now = this.#now()
    let due = 0
    while (due < this.#graves.length && due < MAX_LET_GO && this.#graves[due]!.at <= now) due++
    for (const grave of this.#graves.splice(0, due)) grave.bury()
    return hasMore || due === MAX_LET_GO
  }

  #later(bury: () => void): void {
    this.#graves.push({ at: this.#now() + this.#graceMs, bury })
    // A burst of deletions beyond the bound of pods ends the oldest grace early.
    if (this.#graves.length > this.#maxPods) this.#graves.shift()!.bury()
  }

  /** What is gone ends its grace early where the room is needed. @returns whether there is room for a pod */
  #makeRoom(): boolean {
    while (this.#pods.size >= this.#maxPods) {
      const oldest = this.#graves.shift()
      if (oldest === undefined) return false
      oldest.bury()
    }
    return true
  }

  #newPod(key: string, facts: PodFacts): Pod {
    const pod: Pod = { key, facts, labels: [], endpoint: this.versions.get(0), gone: false }
    this.#pods.set(key, pod)
    return pod
  }

  /** Makes a new version of a pod's endpoint where anything differs from the present one. */
  #renewPod(pod: Pod): void {
    const { facts } = pod
    const labels = podLabels(facts, this.clusterName)
    const isLocal = facts.nodeName === this.nodeName || addressesOf(facts).some((ip) => this.#devices.byIp(ip))
    const old = pod.endpoint
    const sameLabels = old.ref > 1 && sameList(labels, pod.labels)
    const workload = facts.workload
    if (sameLabels && old.isLocal === isLocal && sameWorkload(old, workload)) return
    const identity = this.identities.acquire(labels) || IDENTITY.UNMANAGED
    pod.endpoint = this.versions.add({
      id: isLocal ? this.#ids.acquire(facts.uid || pod.key) : 0,
      identity,
      namespace: facts.namespace,
      podName: facts.name,
      podUid: facts.uid,
      labels,
      workloads: workload === undefined ? [] : [{ name: workload.name, kind: workload.kind }],
      clusterName: this.clusterName,
      isLocal,
    })
    this.#retirePodVersion(old, pod.labels)
    pod.labels = labels
  }

  #retirePodVersion(old: Endpoint, labels: readonly string[]): void {
    if (old.podName !== '') this.versions.retire(old.ref, () => this.identities.release(labels))
  }

  /** Points addresses and interfaces at the pod's version. */
  #placePod(pod: Pod): void {
    for (const ip of addressesOf(pod.facts)) {
      if (!this.addresses.claim(CLAIM.POD, ip, pod.key, pod.endpoint.ref)) continue
      const device = this.#devices.byIp(ip)
      if (device !== undefined) this.#devices.bind(device, pod.key, pod.endpoint.ref)
    }
  }

  #releaseAddress(pod: Pod, ip: string): void {
    this.addresses.unclaim(CLAIM.POD, ip, pod.key)
    const device = this.#devices.byIp(ip)
    if (device?.pod !== pod.key) return
    if (device.info.ips.some((other) => this.addresses.owner(CLAIM.POD, other) === pod.key)) return
    this.#devices.makeBare(device)
  }

  #bury(pod: Pod): void {
    this.#pods.delete(pod.key)
    for (const ip of addressesOf(pod.facts)) this.#releaseAddress(pod, ip)
    this.#ids.release(pod.facts.uid || pod.key)
    this.#retirePodVersion(pod.endpoint, pod.labels)
    if (!pod.gone) this.#events.emit({ kind: 'deleted', endpoint: pod.endpoint })
  }
}

/** A host-network pod has its node's addresses: they stay the node's. */
function addressesOf(facts: PodFacts): readonly string[] {
  return facts.hostNetwork ? [] : facts.ips
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i])
}

function sameWorkload(endpoint: Endpoint, workload: PodFacts['workload']): boolean {
  const old = endpoint.workloads[0]
  return old?.name === workload?.name && old?.kind === workload?.kind
}
