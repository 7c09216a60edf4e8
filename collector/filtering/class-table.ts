import { type EndpointIndex, PAIR_BYTES } from '../../filters/kernel/index.ts'
import type { Endpoint } from '../../model/endpoint.ts'
import { FilterClassId, FilterLimit } from '../../model/layouts.gen.ts'
import { Fifo } from '../fifo.ts'

/** A program that read a class's number before it was given up has read its masks long before that number is used again. */
const GRACE_MS = 1000

/** Writes masks of classes [first, first + masks.length / PAIR_BYTES). */
export type WriteClasses = (first: number, masks: Uint8Array) => void

/**
 * Classes of endpoints in one set of rules: endpoints that the same rules accept share one, whatever they are. Numbers are
 * counted by their users and given again. When all are taken, further endpoints are `undecided`: their flows are
 * decided in user space.
 */
export class ClassTable {
  /** Endpoints that found the table full. */
  undecided = 0
  readonly #index: EndpointIndex
  readonly #limit: number
  readonly #now: () => number
  readonly #byKey = new Map<string, number>()
  readonly #keys: string[] = []
  readonly #users: number[] = []
  /** When a number was given up last. */
  readonly #freedAt: number[] = []
  /** Numbers that were given up, oldest first; some are in use again. */
  readonly #free = new Fifo<{ readonly id: number; readonly at: number }>()
  #idle = 0
  /** Masks by number; grows by doubling up to FilterLimit.CLASSES x 64 bytes: 1 MiB. */
  #masks = new Uint8Array(64 * PAIR_BYTES)
  #next: number = FilterClassId.FIRST
  /** Numbers whose masks are not written yet. */
  readonly #dirty: number[] = []

  /** @param world, host the endpoints that the classes of these names are for */
  constructor(
    index: EndpointIndex,
    world: Endpoint,
    host: Endpoint,
    options: { readonly limit?: number; readonly now?: () => number } = {},
  ) {
    this.#index = index
    this.#limit = options.limit ?? FilterLimit.CLASSES
    this.#now = options.now ?? (() => performance.now())
    this.#fill(FilterClassId.HOST, index.keyOf(host))
    // Last, so that it is the one that endpoints of their key get.
    this.#fill(FilterClassId.WORLD, index.keyOf(world))
  }

  /** Classes in use, the fixed ones among them. */
  get size(): number {
    return this.#next - this.#idle
  }

  /** Class of an endpoint, which is in use until release(). Its masks are written by flush(). */
  acquire(endpoint: Endpoint): number {
    const key = this.#index.keyOf(endpoint)
    const known = this.#byKey.get(key)
    if (known !== undefined) {
      if (this.#users[known]!++ === 0) this.#idle--
      return known
    }
    const id = this.#take()
    if (id === FilterClassId.UNDECIDED) {
      this.undecided++
      return id
    }
    this.#fill(id, key)
    return id
  }

  release(id: number): void {
    if (id === FilterClassId.UNDECIDED) {
      this.undecided--
      return
    }
    if (id < FilterClassId.FIRST || --this.#users[id]! > 0) return
    // Its masks stay until the number is given to another: labels that flap find their class again.
    const at = this.#now()
    this.#freedAt[id] = at
    this.#free.push({ id, at })
    this.#idle++
  }

  /** Writes the masks that are new, neighbours with one call. */
  flush(write: WriteClasses): void {
    const dirty = this.#dirty.sort((a, b) => a - b)
    while (dirty.length > 0) {
      const first = dirty[0]!
      let count = 1
      while (dirty[count] === first + count) count++
      write(first, this.#masks.subarray(first * PAIR_BYTES, (first + count) * PAIR_BYTES))
      // Not before: one that is refused is written with the next ones.
      dirty.splice(0, count)
    }
  }

  #take(): number {
    for (let oldest = this.#free.peek(); oldest !== undefined; oldest = this.#free.peek()) {
      const { id, at } = oldest
      const isIdle = this.#users[id] === 0 && this.#freedAt[id] === at
      if (isIdle && at + GRACE_MS > this.#now()) break
      this.#free.shift()
      if (!isIdle) continue
      this.#byKey.delete(this.#keys[id]!)
      this.#idle--
      return id
    }
    return this.#next < this.#limit ? this.#next++ : FilterClassId.UNDECIDED
  }

  /** The endpoint that the index was asked about last is the first of the class. */
  #fill(id: number, key: string): void {
    const end = (id + 1) * PAIR_BYTES
    if (end > this.#masks.length) {
      const masks = new Uint8Array(Math.max(end, this.#masks.length * 2))
      masks.set(this.#masks)
      this.#masks = masks
    }
    this.#masks.fill(0, id * PAIR_BYTES, end)
    this.#index.writeMasks(this.#masks, id * PAIR_BYTES)
    this.#byKey.set(key, id)
    this.#keys[id] = key
    this.#users[id] = 1
    this.#dirty.push(id)
  }
}
