import type { CidrFacts, MetadataSink, NodeFacts, PodFacts, ServiceFacts } from '../model/contracts.ts'
import type { Endpoint, Service } from '../model/endpoint.ts'
import type { FlowContext, KernelDropReason } from '../model/flow-view.ts'
import type { L7Record } from '../model/l7.ts'
import { EndpointTable, type EndpointTableOptions } from './endpoints.ts'
import { FlowHistory, type FlowHistoryOptions } from './history.ts'
import { NameTable, type NameTableOptions } from './names.ts'
import { NamespaceTable } from './namespaces.ts'
import { ServiceTable } from './services.ts'

/** What the running kernel calls things; collector/kernel/ knows it. */
export interface KernelNames {
  kernelDropReason(reason: number): KernelDropReason
  dropLocation(location: number): string
  /** flow.proto DropReason where the place says more than the kernel's reason; 0 where it does not. Asked per drop. */
  dropReasonAt?(reason: number, location: number): number
  /** Name of a device that is no pod's interface, empty when there is none. */
  interfaceName?(ifindex: number): string
}

export interface CollectorStateOptions {
  /** Kubernetes' name of this node. */
  readonly nodeName: string
  /** `default` unless configured. */
  readonly clusterName?: string
  /** Four random words, kept over restarts. */
  readonly uuidSeed: Uint32Array
  readonly kernel?: KernelNames
  readonly history?: FlowHistoryOptions
  readonly endpoints?: Omit<EndpointTableOptions, 'nodeName' | 'clusterName' | 'historyEnd'>
  readonly names?: Omit<NameTableOptions, 'historyEnd'>
}

const NO_KERNEL: KernelNames = {
  kernelDropReason: (reason) => ({ name: String(reason), hubble: 0 }),
  dropLocation: () => '',
}

/**
 * The history and the tables that its numbers point into: what flows are made of at this moment. Takes what metadata
 * sources push, and is the context through which every reader of flows resolves numbers.
 */
export class CollectorState implements FlowContext, MetadataSink {
  readonly nodeName: string
  readonly uuidSeed: Uint32Array
  readonly history: FlowHistory
  readonly endpoints: EndpointTable
  readonly services: ServiceTable
  readonly learnedNames: NameTable
  readonly namespaces: NamespaceTable
  #kernel: KernelNames
  #nodeLabels: readonly string[] = []

  constructor(options: CollectorStateOptions) {
    const cluster = options.clusterName ?? 'default'
    this.nodeName = cluster === 'default' || cluster === '' ? options.nodeName : `${cluster}/${options.nodeName}`
    this.uuidSeed = options.uuidSeed
    this.#kernel = options.kernel ?? NO_KERNEL
    this.history = new FlowHistory(this, options.history)
    const historyEnd = () => this.history.end
    this.endpoints = new EndpointTable({
      ...options.endpoints,
      nodeName: options.nodeName,
      clusterName: cluster,
      historyEnd,
    })
    this.services = new ServiceTable(historyEnd)
    this.learnedNames = new NameTable({ ...options.names, historyEnd })
    this.namespaces = new NamespaceTable((ref) => this.endpoints.get(ref))
  }

  /** Takes kernel names from elsewhere: a replayed file brings its own. */
  useKernelNames(kernel: KernelNames): void {
    this.#kernel = kernel
  }

  get nodeLabels(): readonly string[] {
    return this.#nodeLabels
  }

  endpoint(ref: number): Endpoint {
    return this.endpoints.get(ref)
  }

  names(ref: number): readonly string[] {
    return this.learnedNames.get(ref)
  }

  service(ref: number): Service | undefined {
    return this.services.get(ref)
  }

  l7(ref: number): L7Record | undefined {
    return this.history.l7.get(ref)
  }

  kernelDropReason(reason: number): KernelDropReason {
    return this.#kernel.kernelDropReason(reason)
  }

  dropLocation(location: number): string {
    return this.#kernel.dropLocation(location)
  }

  dropReasonAt(reason: number, location: number): number {
    return this.#kernel.dropReasonAt?.(reason, location) ?? 0
  }

  interfaceName(ifindex: number): string {
    return this.endpoints.interfaceName(ifindex) || (this.#kernel.interfaceName?.(ifindex) ?? '')
  }

  upsertPod(pod: PodFacts): void {
    this.endpoints.upsertPod(pod)
  }

  deletePod(namespace: string, name: string): void {
    this.endpoints.deletePod(namespace, name)
  }

  upsertNode(node: NodeFacts): void {
    this.endpoints.upsertNode(node)
    if (node.name !== this.endpoints.nodeName) return
    const labels = this.endpoints.nodeLabels()
    // A node is told of again and again: what remembers answers by this list keeps them while it says the same.
    if (labels.join('\n') !== this.#nodeLabels.join('\n')) this.#nodeLabels = labels
  }

  deleteNode(name: string): void {
    this.endpoints.deleteNode(name)
  }

  upsertService(service: ServiceFacts): void {
    this.endpoints.upsertService(service)
    this.services.upsertService(service)
  }

  deleteService(namespace: string, name: string): void {
    this.endpoints.deleteService(namespace, name)
    this.services.deleteService(namespace, name)
  }

  setCidrs(cidrs: readonly CidrFacts[]): void {
    this.endpoints.setCidrs(cidrs)
  }

  /**
   * Once a second: frees what no flow of the history names any more.
   *
   * @returns whether there are more endpoints to be freed: then maintainEndpoints() in the next turn
   */
  maintain(): boolean {
    const { first } = this.history
    this.services.maintain(first)
    this.learnedNames.maintain(first)
    return this.maintainEndpoints()
  }

  /** @returns whether there are more */
  maintainEndpoints(): boolean {
    return this.endpoints.maintain(this.history.first)
  }
}
