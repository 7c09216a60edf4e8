import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '../../base/logger.ts'
import type { BackoffOptions } from '../../kubernetes/backoff.ts'
import { type ApiClient, RESOURCES, Reflector, type ReflectorOptions } from '../../kubernetes/index.ts'
import type { MetadataSink, NodeFacts } from '../../model/contracts.ts'
import {
  type NamespaceObject,
  namespaceObject,
  nodeObject,
  type OwnerObject,
  ownerObject,
  type PodObject,
  podObject,
  type ServiceObject,
  type SliceObject,
  serviceObject,
  sliceObject,
} from './kubernetes-objects.ts'
import { isSameRecord, PodTable } from './kubernetes-pods.ts'
import { ServiceBook } from './kubernetes-services.ts'
import type { ControllerReference } from './workload.ts'

/** As many pods as the table of endpoints takes. */
const MAX_PODS = 65_536
const MAX_NAMESPACES = 32_768
const MAX_NODES = 16_384
const MAX_SERVICES = 32_768
const MAX_SLICES = 65_536
/** A Deployment keeps ten old ReplicaSets unless told otherwise. */
const MAX_OWNERS = 131_072
/** Pods wait so long for what stands behind them, so that they need not be told twice. */
const SURROUNDINGS_MS = 2000

export interface KubernetesMetadataOptions {
  readonly client: ApiClient
  readonly log?: Logger
  /** When start() resolves at the latest. */
  readonly deadlineMs?: number
  readonly maxPods?: number
  /** EndpointSlices that are read: of all services, of those without selector, or none. */
  readonly endpointSlices?: 'all' | 'unselected' | 'none'
  readonly backoff?: BackoffOptions
  readonly pageSize?: number
}

type Owners = Reflector<OwnerObject>

/** One reflector for each resource, and the tables that they fill. */
export class KubernetesParts {
  readonly table: PodTable
  readonly pods: Reflector<PodObject>
  readonly namespaces: Reflector<NamespaceObject>
  readonly nodes: Reflector<NodeFacts>
  readonly services: Reflector<ServiceObject>
  readonly required: readonly Reflector<unknown>[]
  readonly optional: readonly Reflector<unknown>[]
  readonly #options: KubernetesMetadataOptions
  readonly #log: Logger
  readonly #sink: MetadataSink
  readonly #owners: Readonly<Record<string, Owners>>
  readonly #slices: Reflector<SliceObject> | undefined
  readonly #nodeIps = new Map<string, number>()
  readonly #stop = new AbortController()
  #refreshing: Promise<void> | undefined

  constructor(options: KubernetesMetadataOptions, sink: MetadataSink, log: Logger) {
    this.#options = options
    this.#log = log
    this.#sink = sink
    this.#owners = {
      ReplicaSet: this.#ownerReflector('ReplicaSet', RESOURCES.replicaSets),
      Job: this.#ownerReflector('Job', RESOURCES.jobs),
    }
    this.namespaces = this.#namespaceReflector()
    this.nodes = this.#nodeReflector()
    this.table = new PodTable(sink, {
      namespaceLabels: (name) => this.namespaces.store.get('', name)?.labels,
      ownerOf: (namespace, { kind, name }) => {
        const owner = this.#owners[kind]?.store.get(namespace, name)
        return owner === undefined ? undefined : (owner.controller ?? null)
      },
    })
    this.pods = this.#reflector(RESOURCES.pods, options.maxPods ?? MAX_PODS, {
      pick: podObject,
      onUpsert: (pod) => {
        this.table.upsert(pod)
        this.#refresh()
      },
      onDelete: (pod) => {
        this.table.delete(pod)
        this.#refresh()
      },
    })
    const book = new ServiceBook(sink)
    this.services = this.#reflector(RESOURCES.services, MAX_SERVICES, {
      pick: serviceObject,
      onUpsert: (service) => book.upsertService(service),
      onDelete: (service) => book.deleteService(service),
    })
    this.#slices = this.#sliceReflector(book)
    this.required = [this.namespaces, this.nodes, this.services, this.pods]
    this.optional = [...Object.values(this.#owners), ...(this.#slices === undefined ? [] : [this.#slices])]
  }

  get all(): readonly Reflector<unknown>[] {
    return [...this.required, ...this.optional]
  }

  /** Resolves when everything is listed that can be. */
  async begin(): Promise<void> {
    const first = [this.namespaces, this.nodes, this.services, ...Object.values(this.#owners)]
    for (const reflector of first) reflector.start()
    const { signal } = this.#stop
    const late = sleep(SURROUNDINGS_MS, undefined, { signal, ref: false }).catch(() => {})
    await Promise.race([Promise.all(first.map((reflector) => reflector.settled())), late])
    if (signal.aborted) return
    this.pods.start()
    this.#slices?.start()
    await Promise.all(this.all.map((reflector) => reflector.settled()))
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.all.map((reflector) => reflector[Symbol.asyncDispose]()))
    await this.#refreshing
  }

  #namespaceReflector(): Reflector<NamespaceObject> {
    return this.#reflector<NamespaceObject>(RESOURCES.namespaces, MAX_NAMESPACES, {
      metadataOnly: true,
      pick: namespaceObject,
      onUpsert: (now, before) => {
        if (before !== undefined && isSameRecord(now.labels, before.labels)) return
        this.table.touchNamespace(now.name)
        this.#refresh()
      },
      // Its pods are going too: they keep the labels that they had.
      onDelete: () => {},
    })
  }

  #nodeReflector(): Reflector<NodeFacts> {
    const count = (ips: readonly string[], by: number): void => {
      for (const ip of ips) {
        const left = (this.#nodeIps.get(ip) ?? 0) + by
        if (left > 0) this.#nodeIps.set(ip, left)
        else this.#nodeIps.delete(ip)
      }
    }
    return this.#reflector<NodeFacts>(RESOURCES.nodes, MAX_NODES, {
      pick: nodeObject,
      onUpsert: (now, before) => {
        // A node's status is written every few minutes, mostly to say that it is as it was.
        if (before !== undefined && isSameNode(now, before)) return
        count(before?.ips ?? [], -1)
        count(now.ips, 1)
        this.#sink.upsertNode(now)
      },
      onDelete: (last) => {
        count(last.ips, -1)
        this.#sink.deleteNode(last.name)
      },
    })
  }

  #ownerReflector(kind: string, resource: typeof RESOURCES.replicaSets | typeof RESOURCES.jobs): Owners {
    return this.#reflector<OwnerObject>(resource, MAX_OWNERS, {
      metadataOnly: true,
      pick: ownerObject,
      onUpsert: (now, before) => {
        if (before !== undefined && isSameReference(now.controller, before.controller)) return
        this.table.touchOwned(now.namespace, { kind, name: now.name })
        this.#refresh()
      },
      // Its pods, if there are any left, go on as what they were.
      onDelete: () => {},
    })
  }

  #sliceReflector(book: ServiceBook): Reflector<SliceObject> | undefined {
    const { endpointSlices = 'all' } = this.#options
    if (endpointSlices === 'none') return undefined
    const unselected = 'endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io'
    return this.#reflector<SliceObject>(RESOURCES.endpointSlices, MAX_SLICES, {
      labelSelector: endpointSlices === 'all' ? undefined : unselected,
      pick: (object) => sliceObject(object, (ip) => this.#nodeIps.has(ip)),
      onUpsert: (now, before) => {
        if (before !== undefined && before.service !== now.service) book.deleteSlice(before)
        book.upsertSlice(now)
      },
      onDelete: (last) => book.deleteSlice(last),
    })
  }

  #reflector<T>(
    resource: ReflectorOptions<T>['resource'],
    maxObjects: number,
    rest: Omit<ReflectorOptions<T>, 'client' | 'resource' | 'maxObjects'>,
  ): Reflector<T> {
    const { client, backoff, pageSize } = this.#options
    return new Reflector<T>({
      client,
      resource,
      maxObjects,
      log: this.#log,
      ...(backoff === undefined ? {} : { backoff }),
      ...(pageSize === undefined ? {} : { pageSize }),
      ...rest,
    })
  }

  /** Looks at stale pods again, a few in each turn of the event loop. */
  #refresh(): void {
    if (!this.table.hasStale) return
    this.#refreshing ??= this.#refreshAll().finally(() => {
      this.#refreshing = undefined
    })
  }

  async #refreshAll(): Promise<void> {
    const { pacer } = this.#options.client
    await pacer.next()
    while (!this.#stop.signal.aborted && this.table.refreshOne()) if (pacer.isOver) await pacer.next()
  }
}

function isSameNode(a: NodeFacts, b: NodeFacts): boolean {
  return a.ips.length === b.ips.length && a.ips.every((ip, i) => ip === b.ips[i]) && isSameRecord(a.labels, b.labels)
}

function isSameReference(a: ControllerReference | undefined, b: ControllerReference | undefined): boolean {
  return a?.kind === b?.kind && a?.name === b?.name
}
