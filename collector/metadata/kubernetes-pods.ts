import type { MetadataSink, PodFacts } from '../../model/contracts.ts'
import type { PodObject } from './kubernetes-objects.ts'
import type { ControllerReference } from './workload.ts'

interface Entry {
  pod: PodObject
  /** What the sink was told last; undefined: nothing yet, as the pod has no address. */
  facts: PodFacts | undefined
}

/** What stands behind the pods' own objects. */
export interface PodSurroundings {
  /** Labels of a namespace; undefined while it is not known. */
  namespaceLabels(name: string): Readonly<Record<string, string>> | undefined
  /** The controller of a ReplicaSet or Job; undefined where that is not known, null where it has none. */
  ownerOf(namespace: string, controller: ControllerReference): ControllerReference | null | undefined
}

/**
 * Pods with what their namespace and owners add, told to the sink when something that it uses has changed. An address
 * that two pods name is one pod's: a pod that ends keeps it in its status for a while after the next pod has it.
 */
export class PodTable {
  readonly #sink: MetadataSink
  readonly #surroundings: PodSurroundings
  readonly #pods = new Map<string, Entry>()
  readonly #byNamespace = new Map<string, Set<Entry>>()
  readonly #byIp = new Map<string, Entry>()
  /** Pods that name an address which is another one's: they get it when that one lets go. */
  readonly #contenders = new Map<string, Set<Entry>>()
  /** Pods to look at again as what stands behind them has changed: a set, so that flapping costs no more. */
  readonly #stale = new Set<Entry>()

  constructor(sink: MetadataSink, surroundings: PodSurroundings) {
    this.#sink = sink
    this.#surroundings = surroundings
  }

  /** Pods without an address yet, of which the sink knows nothing. */
  get waiting(): number {
    let count = 0
    for (const { facts } of this.#pods.values()) if (facts === undefined) count++
    return count
  }

  upsert(pod: PodObject): void {
    const key = keyOf(pod)
    let entry = this.#pods.get(key)
    if (entry === undefined) {
      entry = { pod, facts: undefined }
      this.#pods.set(key, entry)
      this.#namespace(pod.namespace).add(entry)
    } else {
      for (const ip of ownIps(entry.pod)) if (!pod.ips.includes(ip)) this.#release(entry, ip)
      entry.pod = pod
    }
    this.#stale.delete(entry)
    this.#tell(entry)
  }

  delete(pod: PodObject): void {
    const key = keyOf(pod)
    const entry = this.#pods.get(key)
    if (entry === undefined) return
    this.#pods.delete(key)
    this.#stale.delete(entry)
    const siblings = this.#namespace(pod.namespace)
    siblings.delete(entry)
    if (siblings.size === 0) this.#byNamespace.delete(pod.namespace)
    for (const ip of ownIps(entry.pod)) this.#release(entry, ip)
    if (entry.facts !== undefined) this.#sink.deletePod(pod.namespace, pod.name)
  }

  /** A namespace has changed: its pods are looked at again by refresh(). */
  touchNamespace(name: string): void {
    for (const entry of this.#byNamespace.get(name) ?? []) this.#stale.add(entry)
  }

  /** A ReplicaSet or Job has come or changed: the same for its pods. */
  touchOwned(namespace: string, { kind, name }: ControllerReference): void {
    for (const entry of this.#byNamespace.get(namespace) ?? []) {
      const { controller } = entry.pod
      if (controller?.name === name && controller.kind === kind) this.#stale.add(entry)
    }
  }

  get hasStale(): boolean {
    return this.#stale.size > 0
  }

  /** Looks at one pod again. @returns false when none is left */
  refreshOne(): boolean {
    for (const entry of this.#stale) {
      this.#stale.delete(entry)
      this.#tell(entry)
      return true
    }
    return false
  }

  #tell(entry: Entry): void {
    const { pod } = entry
    const ips = pod.hostNetwork ? pod.ips : pod.ips.filter((ip) => this.#claim(entry, ip))
    if (ips.length === 0 && entry.facts === undefined) return
    const facts = this.#factsOf(pod, ips)
    if (entry.facts !== undefined && isSame(entry.facts, facts)) return
    entry.facts = facts
    this.#sink.upsertPod(facts)
  }

  #factsOf(pod: PodObject, ips: readonly string[]): PodFacts {
    const { namespace, name, uid, labels, serviceAccount, nodeName, hostNetwork } = pod
    const namespaceLabels = this.#surroundings.namespaceLabels(namespace) ?? standardLabels(namespace)
    const workload = this.#workloadOf(pod)
    return { namespace, name, uid, ips, labels, namespaceLabels, serviceAccount, workload, nodeName, hostNetwork }
  }

  /** By the owner's own object where that is known, else as names tell. */
  #workloadOf({ namespace, controller, workload }: PodObject): ControllerReference | undefined {
    if (controller === undefined) return workload
    const owner = this.#surroundings.ownerOf(namespace, controller)
    return owner === undefined ? workload : (owner ?? controller)
  }

  /** @returns whether the address is this pod's */
  #claim(entry: Entry, ip: string): boolean {
    const holder = this.#byIp.get(ip)
    if (holder === entry) return true
    if (holder !== undefined && !isRightful(entry.pod, holder.pod)) {
      const contenders = this.#contenders.get(ip) ?? new Set()
      this.#contenders.set(ip, contenders.add(entry))
      return false
    }
    this.#byIp.set(ip, entry)
    this.#withdraw(entry, ip)
    // The sink has to be told of the new one first, so that nobody else is seen at the address meanwhile.
    if (holder !== undefined) this.#stale.add(holder)
    return true
  }

  #release(entry: Entry, ip: string): void {
    this.#withdraw(entry, ip)
    if (this.#byIp.get(ip) !== entry) return
    this.#byIp.delete(ip)
    for (const contender of this.#contenders.get(ip) ?? []) this.#stale.add(contender)
  }

  #withdraw(entry: Entry, ip: string): void {
    const contenders = this.#contenders.get(ip)
    if (contenders?.delete(entry) === true && contenders.size === 0) this.#contenders.delete(ip)
  }

  #namespace(name: string): Set<Entry> {
    let found = this.#byNamespace.get(name)
    if (found === undefined) {
      found = new Set()
      this.#byNamespace.set(name, found)
    }
    return found
  }
}

/** Between two pods that name one address: who does not end, else who is younger. */
function isRightful(pod: PodObject, holder: PodObject): boolean {
  if (pod.isTerminating !== holder.isTerminating) return holder.isTerminating
  return pod.createdMs >= holder.createdMs
}

function ownIps(pod: PodObject): readonly string[] {
  return pod.hostNetwork ? [] : pod.ips
}

/** Every namespace has this label; others are known when the namespace is. */
function standardLabels(namespace: string): Readonly<Record<string, string>> {
  return { 'kubernetes.io/metadata.name': namespace }
}

function keyOf({ namespace, name }: PodObject): string {
  return `${namespace}/${name}`
}

function isSame(a: PodFacts, b: PodFacts): boolean {
  return (
    a.uid === b.uid &&
    a.nodeName === b.nodeName &&
    a.serviceAccount === b.serviceAccount &&
    a.hostNetwork === b.hostNetwork &&
    a.workload?.name === b.workload?.name &&
    a.workload?.kind === b.workload?.kind &&
    a.ips.length === b.ips.length &&
    a.ips.every((ip, i) => ip === b.ips[i]) &&
    isSameRecord(a.labels, b.labels) &&
    isSameRecord(a.namespaceLabels, b.namespaceLabels)
  )
}

/** Allocates nothing. */
export function isSameRecord(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  if (a === b) return true
  let count = 0
  for (const key in a) {
    if (a[key] !== b[key]) return false
    count++
  }
  for (const _ in b) count--
  return count === 0
}
