import type { MetadataSink, NodeFacts, PodFacts, ServiceFacts } from '../../../model/contracts.ts'

/** Keeps what a source of metadata tells. */
export class NamesOfPods implements MetadataSink {
  readonly pods = new Map<string, PodFacts>()
  readonly nodes = new Map<string, NodeFacts>()
  readonly services = new Map<string, ServiceFacts>()
  /** Calls about pods. */
  upserts = 0
  deletes = 0

  upsertPod(pod: PodFacts): void {
    this.upserts++
    this.pods.set(`${pod.namespace}/${pod.name}`, pod)
  }

  deletePod(namespace: string, name: string): void {
    this.deletes++
    this.pods.delete(`${namespace}/${name}`)
  }

  upsertNode(node: NodeFacts): void {
    this.nodes.set(node.name, node)
  }

  deleteNode(name: string): void {
    this.nodes.delete(name)
  }

  upsertService(service: ServiceFacts): void {
    this.services.set(`${service.namespace}/${service.name}`, service)
  }

  deleteService(namespace: string, name: string): void {
    this.services.delete(`${namespace}/${name}`)
  }

  setCidrs(): void {}
}
