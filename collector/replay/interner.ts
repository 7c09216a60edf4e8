import type { Endpoint, Service } from '../../model/endpoint.ts'
import type { KernelDropReason } from '../../model/flow-view.ts'
import type { CollectorState, KernelNames } from '../state.ts'
import { REPLAY_RECORDS } from './ring.ts'

/**
 * Endpoints, and sets of names, that are held: four times the records that wait, so that what makes room is never what
 * a waiting record names.
 */
const HELD = 4 * REPLAY_RECORDS
/** Numbers of kernel reasons, places and interfaces that are told apart. */
const MAX_WORDS = 4096

/** Least recently used first; tells what makes room. */
class Recent<T> {
  readonly #entries = new Map<string, T>()
  readonly #onGone: (value: T) => void

  constructor(onGone: (value: T) => void) {
    this.#onGone = onGone
  }

  get(key: string, make: () => T): T {
    const known = this.#entries.get(key)
    const value = known ?? make()
    if (known !== undefined) this.#entries.delete(key)
    this.#entries.set(key, value)
    if (this.#entries.size > HELD) {
      const [oldest, gone] = this.#entries.entries().next().value!
      this.#entries.delete(oldest)
      this.#onGone(gone)
    }
    return value
  }
}

/** Words by number, from 1; 0 for words beyond the bound. */
class Words {
  readonly #numbers = new Map<string, number>()
  readonly #words: string[] = ['']

  number(word: string): number {
    if (word === '') return 0
    const known = this.#numbers.get(word)
    if (known !== undefined) return known
    if (this.#words.length > MAX_WORDS) return 0
    this.#words.push(word)
    this.#numbers.set(word, this.#words.length - 1)
    return this.#words.length - 1
  }

  word(number: number): string {
    return this.#words[number] ?? ''
  }
}

/** Gives numbers to what replayed flows name, in the collector's own tables, and knows their kernel's words. */
export class ReplayInterner implements KernelNames {
  readonly #state: CollectorState
  readonly #endpoints: Recent<number>
  readonly #names: Recent<{ readonly ref: number; readonly names: readonly string[] }>
  readonly #reasons = new Words()
  readonly #places = new Words()
  readonly #interfaces = new Map<number, string>()

  constructor(state: CollectorState) {
    this.#state = state
    this.#endpoints = new Recent((ref) => state.endpoints.versions.retire(ref))
    this.#names = new Recent(({ names }) => state.learnedNames.release(names))
  }

  endpoint(endpoint: Omit<Endpoint, 'ref'>): number {
    return this.#endpoints.get(JSON.stringify(endpoint), () => this.#state.endpoints.versions.add(endpoint).ref)
  }

  names(names: readonly string[]): number {
    if (names.length === 0) return 0
    const { learnedNames } = this.#state
    return this.#names.get(names.join(' '), () => ({ ref: learnedNames.acquire(names), names })).ref
  }

  service(service: Service | undefined): number {
    if (service === undefined) return 0
    const { services } = this.#state
    const { name, namespace } = service
    const known = services.refOf(namespace, name)
    if (known !== 0) return known
    services.upsertService({ namespace, name, ips: [], ports: [] })
    return services.refOf(namespace, name)
  }

  reason(name: string): number {
    return this.#reasons.number(name)
  }

  place(text: string): number {
    return this.#places.number(text)
  }

  interface(ifindex: number, name: string): void {
    if (ifindex !== 0 && (this.#interfaces.has(ifindex) || this.#interfaces.size < MAX_WORDS)) {
      this.#interfaces.set(ifindex, name)
    }
  }

  kernelDropReason(reason: number): KernelDropReason {
    return { name: this.#reasons.word(reason), hubble: 0 }
  }

  dropLocation(location: number): string {
    return this.#places.word(location)
  }

  interfaceName(ifindex: number): string {
    return this.#interfaces.get(ifindex) ?? ''
  }
}
