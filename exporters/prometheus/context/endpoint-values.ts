import type { Endpoint } from '../../../model/endpoint.ts'
import type { ContextIdentifier } from './options.ts'

/** Identifiers that an endpoint alone answers; `dns` and `ip` need the record. */
export type EndpointIdentifier = Exclude<ContextIdentifier, 'dns' | 'ip'>

const APP_LABELS = ['k8s:app.kubernetes.io/name=', 'k8s:k8s-app=', 'k8s:app=']
const KUBE_APISERVER = 'reserved:kube-apiserver'

/** Value of a context identifier for an endpoint, empty when it has none. */
export const ENDPOINT_VALUES: Readonly<Record<EndpointIdentifier, (endpoint: Endpoint) => string>> = {
  identity: (endpoint) => endpoint.labels.join(','),
  namespace: (endpoint) => endpoint.namespace,
  pod: (endpoint) => qualified(endpoint.namespace, endpoint.podName),
  'pod-name': (endpoint) => endpoint.podName,
  'reserved-identity': reservedIdentity,
  workload: (endpoint) => qualified(endpoint.namespace, endpoint.workloads[0]?.name ?? ''),
  'workload-name': (endpoint) => endpoint.workloads[0]?.name ?? '',
  app: appOf,
}

/** `namespace/name`, the name alone where there is no namespace, empty without a name. */
export function qualified(namespace: string, name: string): string {
  return namespace === '' || name === '' ? name : `${namespace}/${name}`
}

function reservedIdentity(endpoint: Endpoint): string {
  if (endpoint.labels.includes(KUBE_APISERVER)) return KUBE_APISERVER
  return endpoint.labels.find((label) => label.startsWith('reserved:')) ?? ''
}

function appOf(endpoint: Endpoint): string {
  for (const prefix of APP_LABELS) {
    const label = endpoint.labels.find((candidate) => candidate.startsWith(prefix) && candidate.length > prefix.length)
    if (label !== undefined) return label.slice(prefix.length)
  }
  return ''
}

/** Labels of peers outside the cluster. */
export const WORLD_LABELS: readonly string[] = ['reserved:world', 'reserved:world-ipv4', 'reserved:world-ipv6']

/** True for peers outside the cluster. */
export function isWorld(endpoint: Endpoint): boolean {
  return endpoint.labels.some((label) => WORLD_LABELS.includes(label))
}
