import type { Endpoint } from '../model/endpoint.ts'

/** Namespaces that are listed; with the oldest making room, counted. */
export const MAX_NAMESPACES = 4096
/** How long a namespace is listed after its last flow. */
export const NAMESPACE_TTL_SECS = 3600

const MARKS = 16_384
/** A mark is renewed once in so many seconds: the hour is right to a minute. */
const RESOLUTION_SECS = 60

/** A namespace that flows came from or went to. */
export interface SeenNamespace {
  /** Empty for the cluster `default`, as Hubble has it. */
  readonly cluster: string
  readonly namespace: string
}

/**
 * Namespaces of the flows of the last hour. The hot path marks endpoint references in a direct-mapped table: two loads
 * a flow; a namespace is looked at once a minute for each endpoint that has flows.
 */
export class NamespaceTable {
  /** Namespaces that made room for others within their hour. */
  evicted = 0
  readonly #endpoint: (ref: number) => Endpoint
  readonly #maxNamespaces: number
  readonly #refs = new Uint32Array(MARKS)
  readonly #minutes = new Uint32Array(MARKS)
  /** `cluster/namespace` to the second it was seen last; oldest first. */
  readonly #seen = new Map<string, { readonly namespace: SeenNamespace; secs: number }>()
  #secs = 0
  #minute = 0

  constructor(endpoint: (ref: number) => Endpoint, maxNamespaces: number = MAX_NAMESPACES) {
    this.#endpoint = endpoint
    this.#maxNamespaces = maxNamespaces
  }

  /** Sets the time of the marks that follow; seconds of any epoch, called at least once a minute. */
  tick(secs: number): void {
    this.#secs = Math.floor(secs)
    this.#minute = Math.floor(secs / RESOLUTION_SECS) + 1
  }

  /** Notes a flow of an endpoint. */
  mark(ref: number): void {
    const slot = ref & (MARKS - 1)
    if (this.#refs[slot] === ref && this.#minutes[slot] === this.#minute) return
    this.#refs[slot] = ref
    this.#minutes[slot] = this.#minute
    this.#see(this.#endpoint(ref))
  }

  #see(endpoint: Endpoint): void {
    if (endpoint.namespace === '') return
    const cluster = endpoint.clusterName === 'default' ? '' : endpoint.clusterName
    const key = `${cluster}/${endpoint.namespace}`
    const known = this.#seen.get(key)
    this.#seen.delete(key)
    this.#seen.set(key, { namespace: known?.namespace ?? { cluster, namespace: endpoint.namespace }, secs: this.#secs })
    if (this.#seen.size <= this.#maxNamespaces) return
    this.evicted++
    for (const oldest of this.#seen.keys()) {
      this.#seen.delete(oldest)
      break
    }
  }

  /** Namespaces seen within the hour, sorted by cluster, then name. */
  list(): SeenNamespace[] {
    for (const [key, { secs }] of this.#seen) {
      if (secs + NAMESPACE_TTL_SECS > this.#secs) break
      this.#seen.delete(key)
    }
    return [...this.#seen.values()]
      .map(({ namespace }) => namespace)
      .sort((a, b) => compare(a.cluster, b.cluster) || compare(a.namespace, b.namespace))
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
