import { parseIp } from '../base/ip.ts'
import { AddressTable } from './address-table.ts'
import { Fifo } from './fifo.ts'
import { RefTable } from './ref-table.ts'

/** Learned addresses: 64 Ki pairs of (pod, address) in at most 6.3 MB of table and some 20 MB of names. */
export const MAX_LEARNED = 65_536
/** A name is kept at least so long: a connection outlives the TTL of the answer that led to it. */
export const MIN_TTL_SECS = 300
/** No TTL is believed beyond a day. */
export const MAX_TTL_SECS = 86_400
const MAX_NAMES_PER_ADDRESS = 8
const SWEEP = 1024
/** Sets of names held, in use or still named by flows: 128 Ki of some 150 bytes. */
const MAX_SETS = 131_072

export interface NameTableOptions {
  readonly historyEnd: () => number
  /** Seconds since some epoch. */
  readonly nowSecs?: () => number
  readonly maxLearned?: number
  readonly minTtlSecs?: number
}

interface NameSet {
  readonly ref: number
  readonly key: string
  users: number
  /** No flow from this sequence on names it, while it has no users. */
  end: number
  /** In the queue of sets without users; at most once. */
  queued: boolean
}

interface Learned {
  readonly words: Uint32Array
  readonly observer: number
  readonly expires: Map<string, number>
  set: NameSet
}

/**
 * DNS names of addresses, learned from the answers that a pod received: what a pod asked for is what it means by an
 * address, so names are kept per observing endpoint. Bounded: a full table lets go of an entry that was not looked up
 * since the clock hand last passed. Sets of names are interned; a reference keeps its meaning while a flow names it.
 */
export class NameTable {
  /** Entries that made room for newer ones before their time. */
  evicted = 0
  /** Sets of names that went before the flows that name them. */
  forgotten = 0
  readonly #historyEnd: () => number
  readonly #nowSecs: () => number
  readonly #maxLearned: number
  readonly #minTtl: number
  readonly #index: AddressTable
  readonly #learned: (Learned | undefined)[] = [undefined]
  readonly #free: number[] = []
  /** Per entry, for the hot path: reference of its set, and whether it was looked up. */
  readonly #refs: Uint32Array
  readonly #used: Uint8Array
  readonly #sets = new RefTable<readonly string[]>()
  readonly #setByKey = new Map<string, NameSet>()
  readonly #unused = new Fifo<NameSet>()
  readonly #bytes = new Uint8Array(16)
  readonly #words = new Uint32Array(this.#bytes.buffer)
  #hand = 1
  #sweepAt = 1

  constructor(options: NameTableOptions) {
    this.#historyEnd = options.historyEnd
    this.#nowSecs = options.nowSecs ?? (() => Date.now() / 1000)
    this.#maxLearned = options.maxLearned ?? MAX_LEARNED
    this.#minTtl = options.minTtlSecs ?? MIN_TTL_SECS
    this.#index = new AddressTable(this.#maxLearned)
    this.#refs = new Uint32Array(this.#maxLearned + 1)
    this.#used = new Uint8Array(this.#maxLearned + 1)
  }

  /** Pairs of (pod, address) known now. */
  get size(): number {
    return this.#index.size
  }

  /** Sets of names that a flow may name. */
  get setCount(): number {
    return this.#sets.size
  }

  /** Names of a reference; none for 0 and for forgotten ones. */
  get(ref: number): readonly string[] {
    return this.#sets.get(ref) ?? NO_NAMES
  }

  /**
   * Reference of the names that an observer knows for an address, 0 when it knows none. Allocates nothing.
   *
   * @param observer a number that stays the same over the versions of an endpoint, ≥ 1
   */
  lookup(words: Uint32Array, at: number, observer: number): number {
    if (this.#index.size === 0) return 0
    const entry = this.#index.get(words, at, observer)
    if (entry === 0) return 0
    this.#used[entry] = 1
    return this.#refs[entry]!
  }

  /** Interns names that somebody else knows (a replayed flow); the reference is good until release() and its flows. */
  acquire(names: readonly string[]): number {
    return this.#intern(names).ref
  }

  /** @param names as given to acquire() */
  release(names: readonly string[]): void {
    const set = this.#setByKey.get(names.join(' '))
    if (set !== undefined) this.#disuse(set)
  }

  /** Notes that an observer was told that a name has these addresses. @param ttl seconds */
  learn(observer: number, name: string, ips: readonly string[], ttl: number): void {
    const text = name.endsWith('.') ? name.slice(0, -1).toLowerCase() : name.toLowerCase()
    if (text === '') return
    const expires = this.#nowSecs() + Math.min(MAX_TTL_SECS, Math.max(this.#minTtl, ttl))
    for (const ip of ips) if (parseIp(ip, this.#bytes) !== 0) this.#learnOne(observer, text, expires)
  }

  #learnOne(observer: number, name: string, expires: number): void {
    const index = this.#index.get(this.#words, 0, observer)
    const known = this.#learned[index]
    if (known !== undefined) {
      const isNew = !known.expires.has(name)
      if (isNew && known.expires.size >= MAX_NAMES_PER_ADDRESS) known.expires.delete(soonest(known.expires))
      known.expires.set(name, expires)
      if (isNew) this.#renew(index, known)
      return
    }
    if (this.#index.size >= this.#maxLearned) this.#evictOne()
    const entry = this.#free.pop() ?? this.#learned.length
    const set = this.#intern([name])
    this.#learned[entry] = { words: this.#words.slice(), observer, expires: new Map([[name, expires]]), set }
    this.#refs[entry] = set.ref
    this.#used[entry] = 1
    this.#index.set(this.#words, 0, observer, entry)
  }

  /** Once a second: forgets what has expired, a part of the table at a time, and sets that no flow names. */
  maintain(historyFirst: number): void {
    const now = this.#nowSecs()
    const entries = this.#learned.length
    for (let i = 0; i < Math.min(SWEEP, entries); i++) {
      this.#sweepAt = this.#sweepAt + 1 >= entries ? 1 : this.#sweepAt + 1
      this.#expire(this.#sweepAt, now)
    }
    this.#freeSets(historyFirst)
  }

  /** Frees sets that no flow names; beyond the bound also sets that old flows name, counted. */
  #freeSets(historyFirst: number): void {
    for (let left = this.#unused.size; left > 0; left--) {
      const set = this.#unused.peek()!
      const over = this.#sets.size > MAX_SETS
      if (set.users === 0 && set.end > historyFirst && !over) return
      this.#unused.shift()
      set.queued = false
      if (set.users > 0) continue
      if (set.end > historyFirst) this.forgotten++
      this.#sets.delete(set.ref)
      this.#setByKey.delete(set.key)
    }
  }

  #expire(entry: number, now: number): void {
    const known = this.#learned[entry]
    if (known === undefined) return
    let changed = false
    for (const [name, expires] of known.expires) {
      if (expires > now) continue
      known.expires.delete(name)
      changed = true
    }
    if (known.expires.size === 0) this.#remove(entry, known)
    else if (changed) this.#renew(entry, known)
  }

  #renew(entry: number, known: Learned): void {
    const set = this.#intern([...known.expires.keys()].sort())
    this.#disuse(known.set)
    known.set = set
    this.#refs[entry] = set.ref
  }

  #remove(entry: number, known: Learned): void {
    this.#index.delete(known.words, 0, known.observer)
    this.#disuse(known.set)
    this.#learned[entry] = undefined
    this.#refs[entry] = 0
    this.#free.push(entry)
  }

  /** Second chance: the hand clears marks until it meets an entry without one. */
  #evictOne(): void {
    for (;;) {
      this.#hand = this.#hand + 1 >= this.#learned.length ? 1 : this.#hand + 1
      const known = this.#learned[this.#hand]
      if (known === undefined) continue
      if (this.#used[this.#hand] === 0) {
        this.evicted++
        this.#remove(this.#hand, known)
        return
      }
      this.#used[this.#hand] = 0
    }
  }

  #intern(names: readonly string[]): NameSet {
    const key = names.join(' ')
    let set = this.#setByKey.get(key)
    if (set === undefined) {
      set = { ref: this.#sets.add(Object.freeze([...names])), key, users: 0, end: 0, queued: false }
      this.#setByKey.set(key, set)
    }
    set.users++
    return set
  }

  #disuse(set: NameSet): void {
    if (--set.users > 0) return
    set.end = this.#historyEnd()
    if (set.queued) return
    set.queued = true
    this.#unused.push(set)
  }
}

const NO_NAMES: readonly string[] = Object.freeze([])

function soonest(expires: ReadonlyMap<string, number>): string {
  let name = ''
  let least = Number.POSITIVE_INFINITY
  for (const [candidate, time] of expires) {
    if (time < least) {
      least = time
      name = candidate
    }
  }
  return name
}
