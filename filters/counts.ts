import type { ConsumerCounts, FilterCounts, RuleCounts, RuleSet } from './rules.ts'

interface RuleTotal {
  matched: number
  kept: number
  leftOut: number
  isExact: boolean
}

interface ConsumerTotal {
  events: number
  kept: number
}

/**
 * Adds counts up by rule id and by consumer, from wherever they were counted. What is not in force any more is forgotten;
 * what is keeps its sums over changes of the others.
 */
export class FilterTotals {
  filteredInKernel = 0
  unattributed = 0
  readonly #rules = new Map<string, RuleTotal>()
  readonly #consumers = new Map<string, ConsumerTotal>()

  /** Makes the rules and consumers of a set countable, and drops all others. */
  keep(set: RuleSet): void {
    const rules = new Set<string>()
    const consumers = new Set<string>()
    for (const consumer of set.consumers) {
      consumers.add(consumer.name)
      if (!this.#consumers.has(consumer.name)) this.#consumers.set(consumer.name, { events: 0, kept: 0 })
      for (const { id } of consumer.rules) {
        rules.add(id)
        if (!this.#rules.has(id)) this.#rules.set(id, { matched: 0, kept: 0, leftOut: 0, isExact: true })
      }
    }
    for (const id of this.#rules.keys()) if (!rules.has(id)) this.#rules.delete(id)
    for (const name of this.#consumers.keys()) if (!consumers.has(name)) this.#consumers.delete(name)
  }

  /** Does nothing for a rule that is not in force. */
  addRule(id: string, matched: number, kept: number, leftOut: number, isExact = true): void {
    const total = this.#rules.get(id)
    if (total === undefined) return
    total.matched += matched
    total.kept += kept
    total.leftOut += leftOut
    if (!isExact) total.isExact = false
  }

  addConsumer(name: string, events: number, kept: number): void {
    const total = this.#consumers.get(name)
    if (total === undefined) return
    total.events += events
    total.kept += kept
  }

  /** Adds all of it to other sums. */
  addTo(into: FilterTotals): void {
    into.filteredInKernel += this.filteredInKernel
    into.unattributed += this.unattributed
    for (const [id, { matched, kept, leftOut, isExact }] of this.#rules) {
      into.addRule(id, matched, kept, leftOut, isExact)
    }
    for (const [name, { events, kept }] of this.#consumers) into.addConsumer(name, events, kept)
  }

  /** A copy to add to, so that counts that are still growing elsewhere can be read at any moment. */
  copy(): FilterTotals {
    const copy = new FilterTotals()
    copy.filteredInKernel = this.filteredInKernel
    copy.unattributed = this.unattributed
    for (const [id, total] of this.#rules) copy.#rules.set(id, { ...total })
    for (const [name, total] of this.#consumers) copy.#consumers.set(name, { ...total })
    return copy
  }

  counts(): FilterCounts {
    const rules = Array.from(this.#rules, ([id, total]): RuleCounts => ({ id, ...total }))
    const consumers = Array.from(
      this.#consumers,
      ([name, { events, kept }]): ConsumerCounts => ({ name, events, kept, leftOut: events - kept }),
    )
    return { rules, consumers, filteredInKernel: this.filteredInKernel, unattributed: this.unattributed }
  }
}
