import { FIRST_CLUSTER_IDENTITY, FIRST_LOCAL_IDENTITY } from '../model/endpoint.ts'

const LAST_CLUSTER_IDENTITY = 65_535
const CLUSTER_IDENTITIES = LAST_CLUSTER_IDENTITY - FIRST_CLUSTER_IDENTITY + 1
const LAST_LOCAL_IDENTITY = 0x01ff_ffff

/** 32-bit FNV-1a of a text's UTF-16 units, finished so that every bit of the sum depends on every bit of the text. */
export function hashText(text: string, seed = 0x811c9dc5): number {
  let h = seed
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/**
 * Security identities of label sets, numbered alike on every node without an allocator: the number is a hash of the
 * sorted labels into 256..65535. Hubble UI groups pods of all nodes by this number, so it has to agree between nodes.
 *
 * Two label sets of one hash: the one that this node met second gets the next number of its own probe sequence, and
 * is counted in `collisions`. Another node may have met them the other way round and then disagrees about these two;
 * with 300 label sets in a cluster some pair collides with even odds. A number is kept until release() was called as
 * often as acquire().
 */
export class IdentityAllocator {
  /** Label sets that could not have the number of their hash. */
  collisions = 0
  readonly #byLabels = new Map<string, { readonly identity: number; users: number }>()
  readonly #taken = new Set<number>()
  readonly #local = new Map<string, { readonly identity: number; users: number }>()
  #nextLocal = FIRST_LOCAL_IDENTITY + 1

  /** Identity of a pod's labels. @returns 0 when all 65,280 numbers are taken */
  acquire(labels: readonly string[]): number {
    const key = labels.join('\n')
    const known = this.#byLabels.get(key)
    if (known !== undefined) {
      known.users++
      return known.identity
    }
    if (this.#taken.size >= CLUSTER_IDENTITIES) return 0
    let identity = FIRST_CLUSTER_IDENTITY + (hashText(key) % CLUSTER_IDENTITIES)
    if (this.#taken.has(identity)) this.collisions++
    for (let probe = 1; this.#taken.has(identity); probe++) {
      // Salted by the labels themselves, and after some tries by counting on, which always ends.
      identity =
        probe < 8
          ? FIRST_CLUSTER_IDENTITY + (hashText(key, probe) % CLUSTER_IDENTITIES)
          : FIRST_CLUSTER_IDENTITY + ((identity - FIRST_CLUSTER_IDENTITY + 1) % CLUSTER_IDENTITIES)
    }
    this.#taken.add(identity)
    this.#byLabels.set(key, { identity, users: 1 })
    return identity
  }

  /** Gives back what acquire() gave for these labels. */
  release(labels: readonly string[]): void {
    const key = labels.join('\n')
    const known = this.#byLabels.get(key)
    if (known === undefined || --known.users > 0) return
    this.#byLabels.delete(key)
    this.#taken.delete(known.identity)
  }

  /** Identity of a range's labels: local scope, numbered on this node in order of appearance. */
  acquireLocal(labels: readonly string[]): number {
    const key = labels.join('\n')
    const known = this.#local.get(key)
    if (known !== undefined) {
      known.users++
      return known.identity
    }
    const identity = this.#nextLocal
    this.#nextLocal = identity === LAST_LOCAL_IDENTITY ? FIRST_LOCAL_IDENTITY + 1 : identity + 1
    this.#local.set(key, { identity, users: 1 })
    return identity
  }

  releaseLocal(labels: readonly string[]): void {
    const key = labels.join('\n')
    const known = this.#local.get(key)
    if (known !== undefined && --known.users === 0) this.#local.delete(key)
  }
}

const ENDPOINT_IDS = 65_535

/**
 * Hubble's node-local endpoint ids, 1 to 65,535: a hash of the pod's uid, so a restarted agent gives the same ones;
 * pods of one hash count on from it.
 */
export class EndpointIds {
  readonly #byKey = new Map<string, number>()
  readonly #taken = new Set<number>()

  /** @param key the pod's uid @returns 0 when all ids are taken */
  acquire(key: string): number {
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    if (this.#taken.size >= ENDPOINT_IDS) return 0
    let id = 1 + (hashText(key) % ENDPOINT_IDS)
    while (this.#taken.has(id)) id = (id % ENDPOINT_IDS) + 1
    this.#byKey.set(key, id)
    this.#taken.add(id)
    return id
  }

  release(key: string): void {
    const id = this.#byKey.get(key)
    if (id === undefined) return
    this.#byKey.delete(key)
    this.#taken.delete(id)
  }
}
