import type { EndpointEvent } from '../../model/contracts.ts'
import { qualified } from './context/endpoint-values.ts'
import type { Family, GonePods } from './series/family.ts'
import type { ValueTable } from './series/value-table.ts'

/** How long a pod's series stay after it, as in Hubble: its last flows arrive, and a scrape sees them. */
export const STALE_DELAY_MS = 60_000
/** Pods remembered as gone, so that a late record cannot bring their series back for good. 200 bytes each. */
const GONE_MAX = 10_000

interface Pod {
  readonly namespace: string
  readonly name: string
}

/**
 * Which pods' series are due to go. A pod that comes back in time keeps its series. A bare name (`pod-name`) goes
 * when no other pod that is known has that name.
 */
export class StalePods {
  /** Pods forgotten before their series went: more than 10,000 were deleted within a minute. */
  forgotten = 0
  readonly #delayMs: number
  readonly #live = new Map<string, Pod>()
  readonly #liveNames = new Map<string, number>()
  /** When each is due, oldest first; kept after it was due, with Infinity, to catch late records. */
  readonly #gone = new Map<string, Pod & { dueMs: number }>()
  /** Of a bare name, the pod of that name that went last. */
  readonly #goneNames = new Map<string, string>()

  constructor(delayMs = STALE_DELAY_MS) {
    this.#delayMs = delayMs
  }

  onEvent(event: EndpointEvent, nowMs: number): void {
    const { namespace, podName: name } = event.endpoint
    if (name === '') return
    const key = qualified(namespace, name)
    if (event.kind !== 'deleted') {
      this.#forget(key)
      this.#setLive(key, { namespace, name })
      return
    }
    this.#setDead(key, name)
    this.#forget(key)
    this.#gone.set(key, { namespace, name, dueMs: nowMs + this.#delayMs })
    this.#goneNames.set(name, key)
    if (this.#gone.size > GONE_MAX) this.#forgetOldest()
  }

  /** A series was made: when it names a pod that is gone, it goes in its turn. */
  onSeries(family: Family, slot: number, nowMs: number): void {
    if (this.#gone.size === 0) return
    family.podsOf(slot, (pod) => {
      const gone = this.#gone.get(pod) ?? this.#gone.get(this.#goneNames.get(pod) ?? '')
      if (gone !== undefined && gone.dueMs === Number.POSITIVE_INFINITY) gone.dueMs = nowMs + this.#delayMs
    })
  }

  /** Pods due by now. @returns undefined when there is none */
  takeDue(values: ValueTable, nowMs: number): GonePods | undefined {
    const qualifiedIds = new Set<number>()
    const bare = new Set<number>()
    const pairs = new Set<string>()
    let any = false
    for (const [key, pod] of this.#gone) {
      if (pod.dueMs > nowMs) continue
      pod.dueMs = Number.POSITIVE_INFINITY
      any = true
      const full = values.lookup(key)
      const name = values.lookup(pod.name)
      const namespace = values.lookup(pod.namespace)
      if (full !== undefined) qualifiedIds.add(full)
      if (name === undefined) continue
      if (!this.#liveNames.has(pod.name)) bare.add(name)
      if (namespace !== undefined) pairs.add(`${namespace}:${name}`)
    }
    return any ? { qualified: qualifiedIds, bare, pairs } : undefined
  }

  #setLive(key: string, pod: Pod): void {
    if (this.#live.has(key)) return
    this.#live.set(key, pod)
    this.#liveNames.set(pod.name, (this.#liveNames.get(pod.name) ?? 0) + 1)
  }

  #setDead(key: string, name: string): void {
    if (!this.#live.delete(key)) return
    const count = (this.#liveNames.get(name) ?? 1) - 1
    if (count === 0) this.#liveNames.delete(name)
    else this.#liveNames.set(name, count)
  }

  #forgetOldest(): void {
    // Prefer one whose series went already; a pending one is only forgotten when all are pending.
    for (const [key, pod] of this.#gone) {
      if (pod.dueMs !== Number.POSITIVE_INFINITY) continue
      this.#forget(key)
      return
    }
    const [first] = this.#gone.keys()
    if (first === undefined) return
    this.#forget(first)
    this.forgotten++
  }

  #forget(key: string): void {
    const pod = this.#gone.get(key)
    if (pod === undefined) return
    this.#gone.delete(key)
    if (this.#goneNames.get(pod.name) === key) this.#goneNames.delete(pod.name)
  }
}
