import { FilterTotals } from '../../filters/counts.ts'
import type { Judge } from '../../filters/judge.ts'
import { type KernelPlan, MASK_BYTES, MatchCounts } from '../../filters/kernel/index.ts'
import type { FilterCounts, RuleSet } from '../../filters/rules.ts'
import { EventKind } from '../../model/layouts.gen.ts'
import type { FilterMaps } from '../kernel/filter-maps.ts'
import type { MatchReading } from '../kernel/filter-matches.ts'
import type { FilterSet } from '../kernel/filter-tables.ts'

const KINDS = EventKind.EVENT_KINDS
const NO_RULES = new Uint8Array(0)

interface CountedSet {
  readonly set: FilterSet
  readonly matches: MatchCounts
  reading: MatchReading | undefined
}

/**
 * Counts of rules and consumers from the kernel's counts of matches, and from the judge. Sums of rules that stay go on over
 * changes of the others.
 */
export class KernelCounts {
  readonly #maps: FilterMaps
  readonly #judge: Judge
  readonly #totals = new FilterTotals()
  /** The set in force, and before it the one that is being counted for the last time. */
  #sets: CountedSet[] = []

  constructor(maps: FilterMaps, judge: Judge) {
    this.#maps = maps
    this.#judge = judge
  }

  /** A set has come into force. */
  begin(set: FilterSet, rules: RuleSet, plan: KernelPlan): void {
    this.#sets.push({ set, matches: new MatchCounts(plan), reading: undefined })
    this.#totals.keep(rules)
  }

  /** The sets before the one in force have counted their last event. */
  async closeFormer(): Promise<void> {
    while (this.#sets.length > 1) {
      const [former] = this.#sets as [CountedSet]
      former.reading = await this.#maps.readMatches(former.set)
      this.#add(former, this.#totals)
      this.#sets.shift()
    }
  }

  /** Reads the kernel's counts of the set in force. */
  async refresh(): Promise<void> {
    const current = this.#sets.at(-1)
    if (current !== undefined) current.reading = await this.#maps.readMatches(current.set)
  }

  /** As of the last refresh(). */
  counts(): FilterCounts {
    const totals = this.#totals.copy()
    for (const one of this.#sets) this.#add(one, totals)
    this.#judge.addCounts(totals)
    return totals.counts()
  }

  #add({ matches, reading }: CountedSet, totals: FilterTotals): void {
    if (reading === undefined) return
    const wasAsked = (bit: number) => this.#judge.wasAsked(bit)
    for (let i = 0; i < reading.count; i++) {
      matches.add(
        {
          // The first are the events that were not judged.
          rules: i === 0 ? NO_RULES : reading.rules.subarray(i * MASK_BYTES, (i + 1) * MASK_BYTES),
          consumers: reading.consumers.subarray(i * KINDS, (i + 1) * KINDS),
          events: reading.events.subarray(i * KINDS, (i + 1) * KINDS),
        },
        totals,
        wasAsked,
      )
    }
  }
}
