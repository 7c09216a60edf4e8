/** The owner of a pod: `kind` as Kubernetes spells it (Deployment, StatefulSet, DaemonSet, Job, CronJob ...). */
export interface Workload {
  readonly name: string
  readonly kind: string
}

/**
 * One version of what is known of a network peer. Immutable: when labels or the pod behind an address change, a new
 * version with a new `ref` is made, so that a record keeps naming the peer as it was when the packet passed.
 * Unknown peers share the endpoints of the reserved identities; an endpoint holds no address, the record does.
 */
export interface Endpoint {
  /** Interned number, ≥ 1, never reused while the agent runs. */
  readonly ref: number
  /** Hubble's node-local endpoint id; 0 for peers of other nodes and outside the cluster. */
  readonly id: number
  /** Security identity; see IDENTITY for the reserved ones. Never 0 for a known peer. */
  readonly identity: number
  readonly namespace: string
  readonly podName: string
  readonly podUid: string
  /** `source:key=value`, sorted, as flow.proto Endpoint.labels. */
  readonly labels: readonly string[]
  /** At most one entry, the controlling owner. */
  readonly workloads: readonly Workload[]
  readonly clusterName: string
  /** True when the pod runs on this node. */
  readonly isLocal: boolean
}

/** Reserved security identities (flow.proto source.identity). */
export const IDENTITY = {
  UNKNOWN: 0,
  HOST: 1,
  WORLD: 2,
  UNMANAGED: 3,
  HEALTH: 4,
  INIT: 5,
  REMOTE_NODE: 6,
  KUBE_APISERVER: 7,
  INGRESS: 8,
} as const

/** First identity for pod label sets of cluster 0. */
export const FIRST_CLUSTER_IDENTITY = 256
/** First identity for CIDR ranges, numbered on each node. */
export const FIRST_LOCAL_IDENTITY = 0x0100_0000

/** A Kubernetes Service that owns an address and port. */
export interface Service {
  readonly name: string
  readonly namespace: string
}
