import { renameSync, writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import type { LabLayout, PodPlan } from './layout.ts'

/** Namespaces have this label in Kubernetes without anybody's doing. */
const NAMESPACE_NAME_LABEL = 'kubernetes.io/metadata.name'

/**
 * What a cluster would tell of the lab, in the shape of the agent's static metadata file: pods, nodes, services and
 * named ranges outside the cluster.
 */
export function labMetadata(layout: LabLayout, pods: Iterable<PodPlan>): object {
  const { spec } = layout
  return {
    nodes: layout.nodes.map((node) => ({
      name: node.name,
      ips: [node.ip4, node.ip6],
      labels: { 'kubernetes.io/hostname': node.name, 'kubernetes.io/os': 'linux', ...node.labels },
    })),
    pods: Array.from(pods, (pod) => ({
      namespace: pod.spec.namespace,
      name: pod.spec.name,
      uid: pod.uid,
      ips: [pod.ip4, pod.ip6],
      labels: { ...pod.spec.labels },
      namespaceLabels: {
        [NAMESPACE_NAME_LABEL]: pod.spec.namespace,
        ...spec.namespaces[pod.spec.namespace]?.labels,
      },
      serviceAccount: pod.spec.serviceAccount,
      ...(pod.spec.workload ? { workload: { ...pod.spec.workload } } : {}),
      nodeName: pod.node.name,
    })),
    services: spec.services
      .filter((service) => service.ip !== undefined)
      .map((service) => ({
        namespace: service.namespace,
        name: service.name,
        ips: [service.ip],
        ports: service.ports.map((port) => ({ ...port })),
      })),
    cidrs: spec.cidrs.map((cidr) => ({ cidr: cidr.cidr, labels: [...cidr.labels] })),
  }
}

/** Replaces the file as a whole: a reader that follows it never sees half of it. */
export function writeMetadata(path: string, metadata: object): void {
  writeFileSync(`${path}.next`, stringify(metadata))
  renameSync(`${path}.next`, path)
}
