import type { IpRange } from '../base/ip.ts'
import type { PodFacts } from '../model/contracts.ts'
import { ipText } from '../model/flow-view.ts'
import { isIdentityLabel } from '../model/identity-labels.ts'

/**
 * Labels of a pod as Hubble writes them, sorted: `k8s:app=web`, namespace, namespace labels, service account, cluster.
 * Labels that differ between the pods of a workload are left out (pod-template-hash and its like).
 */
export function podLabels(pod: PodFacts, clusterName: string): readonly string[] {
  const labels: string[] = []
  for (const [key, value] of Object.entries(pod.labels)) if (isIdentityLabel(key)) labels.push(k8sLabel(key, value))
  for (const [key, value] of Object.entries(pod.namespaceLabels)) {
    labels.push(k8sLabel(`io.cilium.k8s.namespace.labels.${key}`, value))
  }
  labels.push(k8sLabel('io.kubernetes.pod.namespace', pod.namespace))
  labels.push(k8sLabel('io.cilium.k8s.policy.cluster', clusterName))
  if (pod.serviceAccount !== '') labels.push(k8sLabel('io.cilium.k8s.policy.serviceaccount', pod.serviceAccount))
  return labels.sort()
}

function k8sLabel(key: string, value: string): string {
  return value === '' ? `k8s:${key}` : `k8s:${key}=${value}`
}

/**
 * Labels of a range outside the cluster: `cidr:203.0.113.0/24`, what the range was given, `reserved:world`. IPv6 keys
 * have `-` for `:`, and `0` where they would begin or end with it, as label keys do not allow colons.
 */
export function cidrLabels(range: IpRange, given: readonly string[]): readonly string[] {
  let address = ipText(range.bytes, 0)
  if (range.family === 6) {
    address = address.replaceAll(':', '-')
    if (address.startsWith('-')) address = `0${address}`
    if (address.endsWith('-')) address = `${address}0`
  }
  return [...new Set([`cidr:${address}/${range.prefixLength}`, ...given, 'reserved:world'])].sort()
}
