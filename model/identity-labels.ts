/**
 * Label keys that make no identity, as Cilium filters them by default: they differ between the pods of one workload,
 * so with them each pod would be an identity of its own.
 */
const EXCLUDED_PREFIXES = [
  'io.kubernetes',
  'kubernetes.io',
  'k8s.io',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-completion-index',
  'controller-uid',
  'pod-template-generation',
  'pod-template-hash',
  'controller-revision-hash',
  'annotation.',
  'etcd_node',
]

/** Is a pod's label part of its identity, and so of the labels that flows carry? @param key without source prefix */
export function isIdentityLabel(key: string): boolean {
  if (key.includes('beta.kubernetes.io')) return false
  return !EXCLUDED_PREFIXES.some((prefix) => key.startsWith(prefix))
}
