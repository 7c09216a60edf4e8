export { type ClusterAccess, type ClusterOptions, clusterAccess, isInCluster } from './access.ts'
export { ApiError, type ApiFailure } from './api-error.ts'
export { ApiClient, type WatchEvent } from './client.ts'
export { LeaderElector, type LeaderElectorOptions } from './lease.ts'
export { Reflector, type ReflectorOptions, type ReflectorState } from './reflector.ts'
export {
  type ApiObject,
  type ObjectMeta,
  type OwnerReference,
  type Place,
  RESOURCES,
  type Resource,
} from './resource.ts'
