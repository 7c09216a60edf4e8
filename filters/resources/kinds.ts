/** API group and version of the filter resources: ACNS's own, so that its documents work as they are. */
export const GROUP = 'acn.azure.com'
export const VERSION = 'v1alpha1'
export const API_VERSION = `${GROUP}/${VERSION}`

/** The one ContainerNetworkMetric of a cluster, as ACNS wants it. */
export const METRIC_RESOURCE_NAME = 'container-network-metric'

/** Metric families that a ContainerNetworkMetric can filter. */
export const METRIC_FAMILIES = ['flow', 'dns', 'tcp', 'drop'] as const
export type MetricFamily = (typeof METRIC_FAMILIES)[number]

export type KindName = 'ContainerNetworkMetric' | 'ContainerNetworkLog' | 'RetinaNetworkFlowLog'

export interface ResourceKind {
  readonly kind: KindName
  readonly plural: string
  readonly singular: string
  readonly shortName: string
  /** What its filters are about. */
  readonly about: 'metrics' | 'log'
}

/** All kinds are cluster-scoped. RetinaNetworkFlowLog is the older name of ContainerNetworkLog. */
export const RESOURCE_KINDS: readonly ResourceKind[] = [
  kind('ContainerNetworkMetric', 'cnm', 'metrics'),
  kind('ContainerNetworkLog', 'cnl', 'log'),
  kind('RetinaNetworkFlowLog', 'rnfl', 'log'),
]

function kind(name: KindName, shortName: string, about: 'metrics' | 'log'): ResourceKind {
  const singular = name.toLowerCase()
  return { kind: name, plural: `${singular}s`, singular, shortName, about }
}

/** @returns undefined when it is no kind of ours */
export function resourceKind(name: unknown): ResourceKind | undefined {
  return RESOURCE_KINDS.find((one) => one.kind === name)
}
