import { type Endpoint, IDENTITY } from '../model/endpoint.ts'
import { Fifo } from './fifo.ts'
import { RefTable } from './ref-table.ts'

/** Versions kept, present and past: at about 600 bytes each, 160 MB at the very worst and some MB in practice. */
export const MAX_VERSIONS = 262_144

/** Numbers of the endpoints that everybody shares. */
export interface ReservedEndpoints {
  readonly unknown: number
  readonly host: number
  /** This node, when the API server runs on it. */
  readonly hostApiserver: number
  readonly world: number
  readonly unmanaged: number
  readonly remoteNode: number
  readonly kubeApiserver: number
}

interface Retired {
  readonly ref: number
  /** No flow from this sequence on names it. */
  readonly end: number
  readonly freed: (() => void) | undefined
}

/**
 * All versions of endpoints that a flow in the history may name. A version that ended is kept until the history has
 * let go of the last flow that can name it. Beyond the bound the oldest ended versions go early, counted: their flows
 * then name the unknown endpoint.
 */
export class EndpointVersions {
  /** Versions that went before the flows that name them. */
  forgotten = 0
  readonly reserved: ReservedEndpoints
  readonly #historyEnd: () => number
  readonly #maxVersions: number
  readonly #table = new RefTable<Endpoint>()
  readonly #retired = new Fifo<Retired>()
  readonly #unknown: Endpoint

  constructor(historyEnd: () => number, maxVersions: number = MAX_VERSIONS) {
    this.#historyEnd = historyEnd
    this.#maxVersions = maxVersions
    const shared = (identity: number, ...labels: string[]) => this.add({ identity, labels }).ref
    this.#unknown = this.add({ identity: IDENTITY.UNKNOWN })
    this.reserved = {
      unknown: this.#unknown.ref,
      host: shared(IDENTITY.HOST, 'reserved:host'),
      hostApiserver: shared(IDENTITY.HOST, 'reserved:host', 'reserved:kube-apiserver'),
      world: shared(IDENTITY.WORLD, 'reserved:world'),
      unmanaged: shared(IDENTITY.UNMANAGED, 'reserved:unmanaged'),
      remoteNode: shared(IDENTITY.REMOTE_NODE, 'reserved:remote-node'),
      kubeApiserver: shared(IDENTITY.KUBE_APISERVER, 'reserved:kube-apiserver', 'reserved:remote-node'),
    }
  }

  get size(): number {
    return this.#table.size
  }

  get(ref: number): Endpoint {
    return this.#table.get(ref) ?? this.#unknown
  }

  /** Makes a version with a number of its own. @param fields what differs from an endpoint nothing is known of */
  add(fields: Partial<Omit<Endpoint, 'ref'>>): Endpoint {
    const endpoint: Endpoint = Object.freeze({
      ref: this.#table.nextRef,
      id: fields.id ?? 0,
      identity: fields.identity ?? IDENTITY.UNKNOWN,
      namespace: fields.namespace ?? '',
      podName: fields.podName ?? '',
      podUid: fields.podUid ?? '',
      labels: fields.labels ?? [],
      workloads: fields.workloads ?? [],
      clusterName: fields.clusterName ?? '',
      isLocal: fields.isLocal ?? false,
    })
    this.#table.add(endpoint)
    while (this.#table.size > this.#maxVersions && this.#retired.size > 0) {
      this.forgotten++
      this.#drop(this.#retired.shift()!)
    }
    return endpoint
  }

  /** Says that no later flow will name a version. @param freed called when the last flow that can has gone */
  retire(ref: number, freed?: () => void): void {
    this.#retired.push({ ref, end: this.#historyEnd(), freed })
  }

  /** Frees versions that ended before the oldest flow, so many at most. @returns whether there are more */
  free(historyFirst: number, most: number): boolean {
    for (let count = 0; ; count++) {
      const next = this.#retired.peek()
      if (next === undefined || next.end > historyFirst) return false
      if (count === most) return true
      this.#drop(this.#retired.shift()!)
    }
  }

  #drop(retired: Retired): void {
    this.#table.delete(retired.ref)
    retired.freed?.()
  }
}
