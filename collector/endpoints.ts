import { parseCidr } from '../base/ip.ts'
import { Listeners } from '../base/lifetime.ts'
import type { CidrFacts, EndpointEvent, NodeFacts, PodFacts, ServiceFacts } from '../model/contracts.ts'
import { type Endpoint, IDENTITY } from '../model/endpoint.ts'
import { AddressBook, CLAIM, MAX_ADDRESSES } from './address-book.ts'
import { CidrTable } from './cidr-table.ts'
import { EndpointVersions } from './endpoint-versions.ts'
import { EndpointIds, IdentityAllocator } from './identity.ts'
import { cidrLabels, podLabels } from './labels.ts'
import { isLinkScope, WorldCache } from './world.ts'

/** Pods of the cluster that are kept; half of MAX_ADDRESSES, as most pods have two addresses. */
export const MAX_PODS = 65_536
export const MAX_SERVICES = 32_768
export const MAX_NODES = 16_384
/** A deleted pod keeps its addresses and interface so long: its last records come after it is gone. */
export const GRACE_MS = 60_000

const DIRECT_IFINDEX = 16_384

const CONTROL_PLANE = ['node-role.kubernetes.io/control-plane', 'node-role.kubernetes.io/master']

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

/** What is known of one of the node's pod interfaces. */
export interface LocalInterface {
  readonly ifindex: number
  readonly name: string
  /** Addresses inside the pod, as text. */
  readonly ips: readonly string[]
}

interface Pod {
  readonly key: string
  facts: PodFacts
  labels: readonly string[]
  endpoint: Endpoint
  gone: boolean
}

interface Device {
  readonly info: LocalInterface
  pod: Pod | undefined
  /** Version for as long as no pod is known behind it, 0 else. */
  ownRef: number
  gone: boolean
}

/**
 * Who is behind an address or an interface, as a number that stays right: each change makes a new version of the
 * endpoint, and records keep the number of the version of their time. Look-ups allocate nothing.
 */
export class EndpointTable {
  /** Pods not taken because there are `maxPods` already. */
  podsRefused = 0
  nodesRefused = 0
  servicesRefused = 0
  interfacesRefused = 0
  /** Ranges not taken: not a range, or too many. */
  cidrsRefused = 0
  readonly identities = new IdentityAllocator()
  readonly versions: EndpointVersions
  readonly addresses: AddressBook
  readonly nodeName: string
  readonly clusterName: string
  readonly #maxPods: number
  readonly #graceMs: number
  readonly #now: () => number
  readonly #ids = new EndpointIds()
  readonly #pods = new Map<string, Pod>()
  readonly #nodes = new Map<string, NodeFacts>()
  readonly #services = new Map<string, { readonly facts: ServiceFacts; readonly ref: number }>()
  readonly #devices = new Map<number, Device>()
  readonly #deviceByIp = new Map<string, Device>()
  /** Versions by ifindex: an array for small numbers, a map for what a long-lived node counts up to. */
  readonly #directRefs = new Uint32Array(DIRECT_IFINDEX)
  readonly #deviceRefs = new Map<number, number>()
  readonly #cidrs = new CidrTable()
  #cidrVersions: { readonly ref: number; readonly labels: readonly string[] }[] = []
  readonly #world = new WorldCache()
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
  }

  /** The endpoint of a number; the unknown endpoint for 0 and for versions that no flow names any more. */
  get(ref: number): Endpoint {
    return this.versions.get(ref)
  }

  /**
   * Endpoint behind an address.
   *
   * @param words four words as in a record, from `at` @param family 4 or 6
   * @returns its reference in the bits of REF_MASK; SERVICE_FLAG when the address is a service's too
   * @param podLink true when it was seen on a pod's interface: link-local peers there are the node itself
   */
  lookup(words: Uint32Array, at: number, family: number, podLink: boolean): number {
    const known = this.addresses.get(words, at)
    if (known !== 0) return known
    const { reserved } = this.versions
    if (isLinkScope(words, at, family)) return podLink ? reserved.host : reserved.world
    if (this.#cidrs.size === 0) return reserved.world
    return this.#world.lookup(words, at, family, this.#cidrs) || reserved.world
  }

  /** Endpoint behind one of the node's pod interfaces, 0 when it is none. */
  byInterface(ifindex: number): number {
    return ifindex < DIRECT_IFINDEX ? this.#directRefs[ifindex]! : (this.#deviceRefs.get(ifindex) ?? 0)
  }

  #setDeviceRef(ifindex: number, ref: number): void {
    if (ifindex < DIRECT_IFINDEX) this.#directRefs[ifindex] = ref
    else if (ref === 0) this.#deviceRefs.delete(ifindex)
    else this.#deviceRefs.set(ifindex, ref)
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
    const labels = this.#nodes.get(this.nodeName)?.labels ?? {}
    return Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .sort()
  }

  nodes(): Iterable<NodeFacts> {
    return this.#nodes.values()
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
    if (known === undefined && this.#pods.size >= this.#maxPods) {
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
    const known = this.#nodes.get(node.name)
    if (known === undefined && this.#nodes.size >= MAX_NODES) {
      this.nodesRefused++
      return
    }
    for (const ip of known?.ips ?? []) if (!node.ips.includes(ip)) this.addresses.unclaim(CLAIM.NODE, ip, node.name)
    this.#nodes.set(node.name, node)
    const { reserved } = this.versions
    const apiserver = CONTROL_PLANE.some((label) => label in node.labels)
    const ref =
      node.name === this.nodeName
        ? apiserver
          ? reserved.hostApiserver
          : reserved.host
        : apiserver
          ? reserved.kubeApiserver
          : reserved.remoteNode
    for (const ip of node.ips) this.addresses.claim(CLAIM.NODE, ip, node.name, ref)
  }

  deleteNode(name: string): void {
    for (const ip of this.#nodes.get(name)?.ips ?? []) this.addresses.unclaim(CLAIM.NODE, ip, name)
    this.#nodes.delete(name)
  }

  /**
   * A service's own addresses are not outside the cluster, whatever stands behind them: they are `unmanaged`, in the
   * service's namespace, so that traffic to them never counts as traffic to the world. `default/kubernetes` is the
   * API server.
   */
  upsertService(service: ServiceFacts): void {
    const key = `${service.namespace}/${service.name}`
    const known = this.#services.get(key)
    if (known === undefined && this.#services.size >= MAX_SERVICES) {
      this.servicesRefused++
      return
    }
    const ref = known?.ref ?? this.#serviceRef(service)
    for (const ip of known?.facts.ips ?? [])
      if (!service.ips.includes(ip)) this.addresses.unclaim(CLAIM.SERVICE, ip, key)
    for (const ip of service.ips) this.addresses.claim(CLAIM.SERVICE, ip, key, ref)
    this.#services.set(key, { facts: service, ref })
  }

  deleteService(namespace: string, name: string): void {
    const key = `${namespace}/${name}`
    const known = this.#services.get(key)
    if (known === undefined) return
    for (const ip of known.facts.ips) this.addresses.unclaim(CLAIM.SERVICE, ip, key)
    if (known.ref !== this.versions.reserved.kubeApiserver) this.versions.retire(known.ref)
    this.#services.delete(key)
  }

  #serviceRef(service: ServiceFacts): number {
    if (service.namespace === 'default' && service.name === 'kubernetes') return this.versions.reserved.kubeApiserver
    return this.versions.add({
      identity: IDENTITY.UNMANAGED,
      namespace: service.namespace,
      labels: ['reserved:unmanaged'],
    }).ref
  }

  setCidrs(cidrs: readonly CidrFacts[]): void {
    for (const { ref, labels } of this.#cidrVersions) {
      this.versions.retire(ref, () => this.identities.releaseLocal(labels))
    }
    this.#cidrVersions = []
    this.#cidrs.clear()
    this.#world.clear()
    for (const facts of cidrs) {
      const range = parseCidr(facts.cidr)
      if (range === undefined) {
        this.cidrsRefused++
        continue
      }
      const labels = cidrLabels(range, facts.labels)
      const { ref } = this.versions.add({ identity: this.identities.acquireLocal(labels), labels })
      this.#cidrVersions.push({ ref, labels })
      if (!this.#cidrs.set(range, ref)) this.cidrsRefused++
    }
  }

  /** A pod's interface has come, or what is known of it has changed. */
  addInterface(info: LocalInterface): void {
    const old = this.#devices.get(info.ifindex)
    if (old !== undefined) this.#dropDevice(old)
    if (this.#devices.size >= this.#maxPods) {
      this.interfacesRefused++
      return
    }
    const device: Device = { info, pod: undefined, ownRef: 0, gone: false }
    this.#devices.set(info.ifindex, device)
    for (const ip of info.ips) this.#deviceByIp.set(ip, device)
    const owner = info.ips.map((ip) => this.addresses.owner(CLAIM.POD, ip)).find((key) => key !== '')
    const pod = owner === undefined ? undefined : this.#pods.get(owner)
    if (pod !== undefined && !pod.facts.hostNetwork) {
      this.#renewPod(pod)
      this.#placePod(pod)
    } else this.#placeBareDevice(device)
  }

  removeInterface(ifindex: number): void {
    const device = this.#devices.get(ifindex)
    if (device === undefined || device.gone) return
    device.gone = true
    this.#later(() => {
      if (device.gone && this.#devices.get(ifindex) === device) this.#dropDevice(device)
    })
  }

  /** Once a second: lets go of what no flow of the history names, and of pods and interfaces gone for a minute. */
  maintain(historyFirst: number): void {
    this.versions.free(historyFirst)
    const now = this.#now()
    let due = 0
    while (due < this.#graves.length && this.#graves[due]!.at <= now) due++
    for (const grave of this.#graves.splice(0, due)) grave.bury()
  }

  #later(bury: () => void): void {
    this.#graves.push({ at: this.#now() + this.#graceMs, bury })
    // A burst of deletions beyond the bound of pods ends the oldest grace early.
    if (this.#graves.length > this.#maxPods) this.#graves.shift()!.bury()
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
    const isLocal = facts.nodeName === this.nodeName || facts.ips.some((ip) => this.#deviceByIp.has(ip))
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
      const device = this.#deviceByIp.get(ip)
      if (device !== undefined) this.#bind(device, pod)
    }
  }

  #bind(device: Device, pod: Pod): void {
    if (device.ownRef !== 0) this.#retireBareDevice(device)
    device.pod = pod
    this.#setDeviceRef(device.info.ifindex, pod.endpoint.ref)
  }

  #placeBareDevice(device: Device): void {
    if (device.ownRef === 0) {
      device.ownRef = this.versions.add({
        id: this.#ids.acquire(`interface ${device.info.name}`),
        identity: IDENTITY.UNMANAGED,
        labels: ['reserved:unmanaged'],
        isLocal: true,
      }).ref
    }
    device.pod = undefined
    this.#setDeviceRef(device.info.ifindex, device.ownRef)
    for (const ip of device.info.ips) this.addresses.claim(CLAIM.INTERFACE, ip, device.info.name, device.ownRef)
  }

  #retireBareDevice(device: Device): void {
    for (const ip of device.info.ips) this.addresses.unclaim(CLAIM.INTERFACE, ip, device.info.name)
    this.#ids.release(`interface ${device.info.name}`)
    this.versions.retire(device.ownRef)
    device.ownRef = 0
  }

  #dropDevice(device: Device): void {
    if (device.ownRef !== 0) this.#retireBareDevice(device)
    for (const ip of device.info.ips) if (this.#deviceByIp.get(ip) === device) this.#deviceByIp.delete(ip)
    this.#devices.delete(device.info.ifindex)
    this.#setDeviceRef(device.info.ifindex, 0)
  }

  #releaseAddress(pod: Pod, ip: string): void {
    this.addresses.unclaim(CLAIM.POD, ip, pod.key)
    const device = this.#deviceByIp.get(ip)
    if (device?.pod !== pod) return
    if (device.info.ips.some((other) => this.addresses.owner(CLAIM.POD, other) === pod.key)) return
    this.#placeBareDevice(device)
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
