import type { FlowStore } from '../model/contracts.ts'
import type { FlowView } from '../model/flow-view.ts'
import type { SlicedTask, SliceScheduler } from './slices.ts'

/** Hubble forgets a namespace that no flow was seen of for this long. */
const TTL_MS = 60 * 60 * 1000
/** Namespaces remembered; Kubernetes itself is tested with 10,000. */
const MAX_NAMESPACES = 10_000
const CHUNK = 1024
/** Endpoint versions remembered as already counted in this pass, direct-mapped. */
const SEEN_SLOTS = 4096

export interface SeenNamespace {
  /** Empty in the default cluster. */
  readonly cluster: string
  readonly namespace: string
}

/**
 * Namespaces that flows of the last hour were seen of. Walks the history in slices, a look at two numbers for a flow,
 * every few seconds and when asked.
 */
export class NamespaceTracker implements SlicedTask {
  readonly #store: FlowStore
  readonly #view: FlowView
  readonly #scheduler: SliceScheduler
  readonly #now: () => number
  readonly #lastSeen = new Map<string, SeenNamespace & { lastMs: number }>()
  readonly #seen = new Uint32Array(SEEN_SLOTS)
  #next: number
  #waiting: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(store: FlowStore, scheduler: SliceScheduler, now: () => number = Date.now) {
    this.#store = store
    this.#view = store.createView()
    this.#scheduler = scheduler
    this.#now = now
    this.#next = store.first
  }

  /** Walks on every few seconds, so that what the history overwrites between two requests is known too. */
  start(intervalMs = 5000): void {
    this.#timer ??= setInterval(() => this.#scheduler.schedule(this), intervalMs).unref()
  }

  /** Sorted by cluster, then namespace. */
  async list(): Promise<SeenNamespace[]> {
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve)
      this.#scheduler.schedule(this)
    })
    this.#forget()
    return [...this.#lastSeen.values()]
      .map(({ cluster, namespace }) => ({ cluster, namespace }))
      .sort((a, b) => compare(a.cluster, b.cluster) || compare(a.namespace, b.namespace))
  }

  run(deadline: number): boolean {
    const store = this.#store
    if (this.#next < store.first) this.#next = store.first
    while (this.#next < store.end) {
      const stop = Math.min(store.end, this.#next + CHUNK)
      while (this.#next < stop) {
        store.seek(this.#view, this.#next++)
        this.#look(this.#view.sourceRef)
        this.#look(this.#view.destinationRef)
      }
      if (performance.now() >= deadline) return true
    }
    this.#seen.fill(0)
    this.#answer()
    return false
  }

  /** Reading two numbers of a flow does not fail; if it does, who waits is answered from what is known. */
  fail(): void {
    this.#answer()
  }

  #answer(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  #look(ref: number): void {
    const slot = ref & (SEEN_SLOTS - 1)
    if (this.#seen[slot] === ref) return
    this.#seen[slot] = ref
    const { namespace, clusterName } = this.#store.context.endpoint(ref)
    if (namespace === '') return
    const cluster = clusterName === 'default' ? '' : clusterName
    const key = `${cluster}/${namespace}`
    // The time of the walk stands for the time of the flow: it is seconds off, and the hour is a rule of thumb.
    const lastMs = this.#now()
    const known = this.#lastSeen.get(key)
    if (known !== undefined) known.lastMs = lastMs
    else if (this.#lastSeen.size < MAX_NAMESPACES) this.#lastSeen.set(key, { cluster, namespace, lastMs })
  }

  #forget(): void {
    const limit = this.#now() - TTL_MS
    for (const [key, { lastMs }] of this.#lastSeen) if (lastMs < limit) this.#lastSeen.delete(key)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#answer()
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
