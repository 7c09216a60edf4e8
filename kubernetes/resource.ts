/** A collection of the API. */
export interface Resource {
  /** Empty for the core group. */
  readonly group: string
  readonly version: string
  /** `pods` */
  readonly plural: string
}

/** What Sluice reads and writes of Kubernetes' own. */
export const RESOURCES = {
  pods: { group: '', version: 'v1', plural: 'pods' },
  namespaces: { group: '', version: 'v1', plural: 'namespaces' },
  nodes: { group: '', version: 'v1', plural: 'nodes' },
  services: { group: '', version: 'v1', plural: 'services' },
  configMaps: { group: '', version: 'v1', plural: 'configmaps' },
  endpointSlices: { group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' },
  replicaSets: { group: 'apps', version: 'v1', plural: 'replicasets' },
  jobs: { group: 'batch', version: 'v1', plural: 'jobs' },
  leases: { group: 'coordination.k8s.io', version: 'v1', plural: 'leases' },
} as const satisfies Record<string, Resource>

/** Where in a collection. */
export interface Place {
  /** Undefined: cluster-scoped objects, or all namespaces. */
  readonly namespace?: string | undefined
  /** Undefined: the collection. */
  readonly name?: string | undefined
  readonly subresource?: string | undefined
}

/** `/apis/apps/v1/namespaces/shop/replicasets/cart` */
export function pathOf(resource: Resource, place: Place = {}): string {
  const { group, version, plural } = resource
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`
  const { namespace, name, subresource } = place
  let path = namespace === undefined ? root : `${root}/namespaces/${encodeURIComponent(namespace)}`
  path += `/${plural}`
  if (name !== undefined) path += `/${encodeURIComponent(name)}`
  return subresource === undefined ? path : `${path}/${subresource}`
}

/** `metadata` of any object, as far as all code may want it. */
export interface ObjectMeta {
  readonly name: string
  /** Empty for cluster-scoped objects. */
  readonly namespace?: string
  readonly uid: string
  readonly resourceVersion: string
  readonly generation?: number
  readonly creationTimestamp?: string
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly ownerReferences?: readonly OwnerReference[]
}

export interface OwnerReference {
  readonly apiVersion?: string
  readonly kind: string
  readonly name: string
  readonly uid?: string
  readonly controller?: boolean
}

/** An object as the server sent it: what is in it is for the reader to check. */
export interface ApiObject {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata: ObjectMeta
  readonly [field: string]: unknown
}
