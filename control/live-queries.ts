import { disposable } from '../base/lifetime.ts'
import { describePredicate } from '../filters/describe.ts'
import type { Predicate } from '../filters/predicate.ts'
import { contentHash, makeRule } from '../filters/resources/rule-set.ts'
import { ALL_KINDS, CONSUMER_BITS, type FilterConsumer, type FilterRule, type RuleEffect } from '../filters/rules.ts'

/** Longest name of a client that is kept. */
const MAX_NAME = 120
/** Filters of one query that become rules; a query with more takes everything, and its reader chooses. */
const MAX_FILTERS = 32

interface Query {
  readonly key: string
  /** Unique for ever, as counts are kept by it: the bit is another query's later. */
  readonly name: string
  readonly rules: readonly FilterRule[]
  bit: number | undefined
  users: number
}

/** The last bit is shared by queries that found no bit of their own. */
const SHARED_BIT = CONSUMER_BITS.FIRST_QUERY + CONSUMER_BITS.QUERIES - 1
const SHARED_NAME = 'query/shared'

/**
 * Live queries as consumers: what they want leaves the kernel for them though nobody else wants it. Their readers filter
 * again, so a query may be given more than it asked for: those that find no bit share one that takes everything. Queries
 * that ask the same are one consumer.
 */
export class LiveQueries {
  readonly #queries = new Map<string, Query>()
  readonly #changed: () => void
  #made = 0

  /** @param changed called when consumers() gives another answer */
  constructor(changed: () => void) {
    this.#changed = changed
  }

  /** Queries open, those that ask the same counted each. */
  get size(): number {
    let users = 0
    for (const query of this.#queries.values()) users += query.users
    return users
  }

  /** Queries that share a bit for want of one of their own. */
  get shared(): number {
    let users = 0
    for (const query of this.#queries.values()) if (query.bit === undefined) users += query.users
    return users
  }

  /**
   * @param name of the client, for people
   * @param include flows that match any of these; none: all @param exclude but none of these
   */
  add(name: string, include: readonly Predicate[], exclude: readonly Predicate[]): Disposable {
    const isLong = include.length + exclude.length > MAX_FILTERS
    const wanted = isLong ? [] : include
    const unwanted = isLong ? [] : exclude
    const key = [...wanted.map(contentHash), '-', ...unwanted.map(contentHash)].join(' ')
    const known = this.#queries.get(key)
    const query = known ?? this.#make(key, name, wanted, unwanted)
    query.users++
    if (known === undefined) {
      this.#queries.set(key, query)
      this.#changed()
    }
    return disposable(() => this.#remove(query))
  }

  consumers(): FilterConsumer[] {
    const consumers: FilterConsumer[] = []
    let isShared = false
    for (const { name, bit, rules } of this.#queries.values()) {
      if (bit === undefined) isShared = true
      else consumers.push({ name, bit, kinds: ALL_KINDS, isOn: true, rules })
    }
    if (isShared) {
      consumers.push({ name: SHARED_NAME, bit: SHARED_BIT, kinds: ALL_KINDS, isOn: true, rules: [] })
    }
    return consumers.sort((a, b) => a.bit - b.bit)
  }

  #make(key: string, client: string, include: readonly Predicate[], exclude: readonly Predicate[]): Query {
    const name = `query/${++this.#made}`
    return { key, name, rules: queryRules(name, client, include, exclude), bit: this.#freeBit(), users: 0 }
  }

  #remove(query: Query): void {
    if (--query.users > 0) return
    this.#queries.delete(query.key)
    for (const other of this.#queries.values()) {
      // The oldest of those without a bit of their own gets the one that is free now.
      if (other.bit !== undefined || query.bit === undefined) continue
      other.bit = query.bit
      break
    }
    this.#changed()
  }

  #freeBit(): number | undefined {
    const taken = new Set([...this.#queries.values()].map((query) => query.bit))
    for (let bit: number = CONSUMER_BITS.FIRST_QUERY; bit < SHARED_BIT; bit++) if (!taken.has(bit)) return bit
    return undefined
  }
}

/** @param id unique among queries, so that two that ask in part the same have rules of their own */
function queryRules(
  id: string,
  client: string,
  include: readonly Predicate[],
  exclude: readonly Predicate[],
): FilterRule[] {
  const name = client.length > MAX_NAME ? `${client.slice(0, MAX_NAME - 1)}…` : client
  const rule = (effect: RuleEffect) => (predicate: Predicate) =>
    makeRule(id, effect, predicate, {
      kind: 'query',
      name,
      path: '',
      label: '',
      text: describePredicate(predicate),
    })
  const rules = [...include.map(rule('include')), ...exclude.map(rule('exclude'))]
  return [...new Map(rules.map((one) => [one.id, one])).values()]
}
