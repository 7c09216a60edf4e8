import { type IpRange, parseCidr } from '../base/ip.ts'
import { Listeners } from '../base/lifetime.ts'
import type { CidrFacts, NodeFacts, ServiceFacts } from '../model/contracts.ts'
import { IDENTITY } from '../model/endpoint.ts'
import { type AddressBook, CLAIM } from './address-book.ts'
import { CidrTable } from './cidr-table.ts'
import type { EndpointVersions } from './endpoint-versions.ts'
import type { IdentityAllocator } from './identity.ts'
import { cidrLabels } from './labels.ts'
import { isLinkScope, WorldCache } from './world.ts'

export const MAX_SERVICES = 32_768
export const MAX_NODES = 16_384

const CONTROL_PLANE = ['node-role.kubernetes.io/control-plane', 'node-role.kubernetes.io/master']

/** Whose addresses are no pod's: nodes, services, named ranges, and the rest of the world. */
export class ClusterAddresses {
  nodesRefused = 0
  servicesRefused = 0
  /** Ranges not taken: not a range, or too many. */
  cidrsRefused = 0
  readonly #nodeName: string
  readonly #versions: EndpointVersions
  readonly #addresses: AddressBook
  readonly #identities: IdentityAllocator
  readonly #nodes = new Map<string, NodeFacts>()
  readonly #services = new Map<string, { readonly facts: ServiceFacts; readonly ref: number }>()
  readonly #cidrs = new CidrTable()
  #cidrVersions: { readonly range: IpRange; readonly ref: number; readonly labels: readonly string[] }[] = []
  readonly #cidrChanges = new Listeners<void>()
  readonly #world = new WorldCache()

  constructor(nodeName: string, versions: EndpointVersions, addresses: AddressBook, identities: IdentityAllocator) {
    this.#nodeName = nodeName
    this.#versions = versions
    this.#addresses = addresses
    this.#identities = identities
  }

  /** Version for an address that nobody claims. Allocates nothing. @param podLink see EndpointTable.lookup() */
  outside(words: Uint32Array, at: number, family: number, podLink: boolean): number {
    const { reserved } = this.#versions
    if (isLinkScope(words, at, family)) return podLink ? reserved.host : reserved.world
    if (this.#cidrs.size === 0) return reserved.world
    return this.#world.lookup(words, at, family, this.#cidrs) || reserved.world
  }

  nodes(): Iterable<NodeFacts> {
    return this.#nodes.values()
  }

  node(name: string): NodeFacts | undefined {
    return this.#nodes.get(name)
  }

  upsertNode(node: NodeFacts): void {
    const known = this.#nodes.get(node.name)
    if (known === undefined && this.#nodes.size >= MAX_NODES) {
      this.nodesRefused++
      return
    }
    for (const ip of known?.ips ?? []) if (!node.ips.includes(ip)) this.#addresses.unclaim(CLAIM.NODE, ip, node.name)
    this.#nodes.set(node.name, node)
    const ref = this.#nodeRef(node)
    for (const ip of node.ips) this.#addresses.claim(CLAIM.NODE, ip, node.name, ref)
  }

  #nodeRef(node: NodeFacts): number {
    const { reserved } = this.#versions
    const hasApiserver = CONTROL_PLANE.some((label) => label in node.labels)
    if (node.name === this.#nodeName) return hasApiserver ? reserved.hostApiserver : reserved.host
    return hasApiserver ? reserved.kubeApiserver : reserved.remoteNode
  }

  deleteNode(name: string): void {
    for (const ip of this.#nodes.get(name)?.ips ?? []) this.#addresses.unclaim(CLAIM.NODE, ip, name)
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
    const ips = ownAddresses(service)
    const gone = known === undefined ? [] : ownAddresses(known.facts).filter((ip) => !ips.includes(ip))
    for (const ip of gone) this.#addresses.unclaim(CLAIM.SERVICE, ip, key)
    for (const ip of ips) this.#addresses.claim(CLAIM.SERVICE, ip, key, ref)
    this.#services.set(key, { facts: service, ref })
  }

  #serviceRef(service: ServiceFacts): number {
    if (isApiServer(service)) return this.#versions.reserved.kubeApiserver
    return this.#versions.add({
      identity: IDENTITY.UNMANAGED,
      namespace: service.namespace,
      labels: ['reserved:unmanaged'],
    }).ref
  }

  deleteService(namespace: string, name: string): void {
    const key = `${namespace}/${name}`
    const known = this.#services.get(key)
    if (known === undefined) return
    for (const ip of ownAddresses(known.facts)) this.#addresses.unclaim(CLAIM.SERVICE, ip, key)
    if (known.ref !== this.#versions.reserved.kubeApiserver) this.#versions.retire(known.ref)
    this.#services.delete(key)
  }

  /** Replaces all ranges. */
  setCidrs(cidrs: readonly CidrFacts[]): void {
    for (const { ref, labels } of this.#cidrVersions) {
      this.#versions.retire(ref, () => this.#identities.releaseLocal(labels))
    }
    this.#cidrVersions = []
    this.#cidrs.clear()
    this.#world.clear()
    for (const facts of cidrs) if (!this.#addCidr(facts)) this.cidrsRefused++
    this.#cidrChanges.emit()
  }

  /** Called when the named ranges were replaced. */
  onCidrs(listener: () => void): Disposable {
    return this.#cidrChanges.add(listener)
  }

  /** Named ranges and their endpoints; of a range that was named twice the last one holds. */
  cidrs(): readonly { readonly range: IpRange; readonly ref: number }[] {
    return this.#cidrVersions
  }

  #addCidr(facts: CidrFacts): boolean {
    const range = parseCidr(facts.cidr)
    if (range === undefined || this.#cidrs.isFull) return false
    const labels = cidrLabels(range, facts.labels)
    const { ref } = this.#versions.add({ identity: this.#identities.acquireLocal(labels), labels })
    this.#cidrVersions.push({ range, ref, labels })
    return this.#cidrs.set(range, ref)
  }
}

function isApiServer({ namespace, name }: ServiceFacts): boolean {
  return namespace === 'default' && name === 'kubernetes'
}

/** What is behind a service keeps the identity that it has, but for API servers, which are so by their service. */
function ownAddresses(service: ServiceFacts): readonly string[] {
  if (service.backends === undefined || !isApiServer(service)) return service.ips
  return [...service.ips, ...service.backends.map(({ ip }) => ip)]
}
