import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { GROUP, RESOURCE_KINDS, resourceKind, VERSION } from '../../filters/resources/kinds.ts'
import type { Lab, PodInput } from '../../lab/index.ts'
import { ApiDouble, type KubeObject } from './api-double.ts'
import { namespace, node, owner, type PodSpec, pod, service } from './api-double-objects.ts'

/** Ends the names of ReplicaSets: no pod-template-hash label, so that only the ReplicaSet itself tells its Deployment. */
const HASH = '5f6d8c9b7d'

/** A filter resource as the API server has it, status and all. */
export interface StoredFilter extends KubeObject {
  readonly status?: {
    readonly state: string
    readonly reason: string
    readonly message: string
    readonly warnings: readonly string[]
    readonly observedGeneration: number
    readonly filters: number
    readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string }[]
  }
}

/**
 * The cluster that a lab's pods belong to: an API double over https that has the lab's nodes, namespaces, pods, services
 * and their workloads, and the definitions of filter resources. What changes there says the test.
 */
export class LabCluster implements AsyncDisposable {
  /** Where agents have their Lease and ConfigMaps. */
  readonly namespace = 'sluice'
  readonly api: ApiDouble
  readonly #lab: Lab

  private constructor(lab: Lab, api: ApiDouble) {
    this.#lab = lab
    this.api = api
  }

  static async start(lab: Lab): Promise<LabCluster> {
    const cluster = new LabCluster(lab, await ApiDouble.start({ tls: true, bookmarkMs: 1000 }))
    cluster.#fill()
    return cluster
  }

  /** What an agent is to be started with. @param identity the token that it shows: tells its requests from others' */
  settings(identity = 'agent', nodeName?: string): Record<string, string | boolean> {
    const kubeconfig = join(this.#lab.directory, `kubeconfig-${identity}`)
    writeFileSync(kubeconfig, this.api.kubeconfig(identity))
    const { name, netnsPath } = this.#lab.node(nodeName)
    return {
      'node.name': name,
      'node.netns': netnsPath,
      'node.clusterName': this.#lab.spec.cluster,
      'kubernetes.enabled': true,
      'kubernetes.kubeconfig': kubeconfig,
      'kubernetes.namespace': this.namespace,
      'log.enabled': 'auto',
    }
  }

  /**
   * Creates or replaces the object of a lab's pod, with the ReplicaSet behind it when the lab says that it is of a
   * Deployment.
   *
   * @param change what is to be other than the lab says: another name is another pod at the same address
   */
  putPod(ref: string, change: Partial<PodSpec> = {}): KubeObject {
    const { namespace: ns, name, ips, nodeName } = this.#lab.pod(ref)
    const { labels, serviceAccount, workload }: Partial<PodInput> = this.#lab.spec.pods.find(
      (one) => one.namespace === ns && one.name === name,
    ) ?? { name, namespace: ns }
    const replicaSet = workload && `${workload.name}-${HASH}`
    if (replicaSet !== undefined) this.api.apply('replicasets', owner(ns, replicaSet, workload))
    return this.api.apply(
      'pods',
      pod({
        ...{ namespace: ns, name, ips, nodeName, labels: labels ?? {}, serviceAccount: serviceAccount ?? 'default' },
        ...(replicaSet === undefined
          ? {}
          : { generateName: `${replicaSet}-`, owner: { kind: 'ReplicaSet', name: replicaSet } }),
        ...change,
      }),
    )
  }

  /** kubectl apply of a filter resource, as YAML or as an object: what it says beside its spec stays. */
  filter(document: string | object): StoredFilter {
    const object = (typeof document === 'string' ? parse(document) : document) as KubeObject
    return this.api.apply(pluralOf(object.kind!), object)
  }

  /** @returns undefined when there is none */
  filterOf(kind: string, name: string): StoredFilter | undefined {
    return this.api.get(pluralOf(kind), undefined, name)
  }

  /** kubectl delete; one that is not there is fine. */
  removeFilter(kind: string, name: string): void {
    if (this.filterOf(kind, name)) this.api.remove(pluralOf(kind), undefined, name)
  }

  /** kubectl delete --all of every kind. */
  removeFilters(): void {
    for (const { plural } of RESOURCE_KINDS) {
      for (const { metadata } of this.api.storage.find(GROUP, VERSION, plural)!.sorted(undefined)) {
        this.api.remove(plural, undefined, metadata.name!)
      }
    }
  }

  /** Data of a ConfigMap of the agents. */
  configMap(name: string): Readonly<Record<string, string>> | undefined {
    return this.api.get('configmaps', this.namespace, name)?.['data'] as Record<string, string> | undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api[Symbol.asyncDispose]()
  }

  #fill(): void {
    const { api } = this
    const { spec, nodes, pods } = this.#lab
    for (const { plural, kind } of RESOURCE_KINDS) {
      api.define({ group: GROUP, version: VERSION, plural, kind, namespaced: false, hasStatus: true })
    }
    for (const { name, ips } of nodes) api.apply('nodes', node(name, ips[0]!))
    const names = new Set([...pods, ...spec.services].map((one) => one.namespace))
    for (const name of names) api.apply('namespaces', namespace(name, spec.namespaces[name]?.labels))
    for (const { ref } of pods) this.putPod(ref)
    for (const { ip, ...rest } of spec.services) {
      if (ip !== undefined)
        api.apply('services', service({ namespace: rest.namespace, name: rest.name, ip, ports: rest.ports }))
    }
  }
}

function pluralOf(kind: string): string {
  const found = resourceKind(kind)
  if (!found) throw new Error(`No kind of filter resources: ${kind}`)
  return found.plural
}
