import { TimeSlice } from '../../base/time-slice.ts'
import { FilterTotals } from '../../filters/counts.ts'
import type { Judge } from '../../filters/judge.ts'
import { type KernelPlan, MASK_BYTES, MatchCounts } from '../../filters/kernel/index.ts'
import type { FilterCounts, RuleSet } from '../../filters/rules.ts'
import { EventKind } from '../../model/layouts.gen.ts'
import type { FilterMaps } from '../kernel/filter-maps.ts'
import type { FilterSet } from '../kernel/filter-tables.ts'

const KINDS = EventKind.EVENT_KINDS
const NO_RULES = new Uint8Array(0)
/** Some tenths of a millisecond. */
const MATCHES_PER_LOOK = 16

interface CountedSet {
  readonly set: FilterSet
  readonly rules: RuleSet
  readonly matches: MatchCounts
  /** As of the last reading. */
  sums: FilterTotals | undefined
}

/**
 * Counts of rules and consumers from the kernel's counts of matches, and from the judge. Sums of rules that stay go on over
 * changes of the others. A full table of matches is some tens of milliseconds of work, done in slices when it is read.
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
    this.#sets.push({ set, rules, matches: new MatchCounts(plan), sums: undefined })
    this.#totals.keep(rules)
  }

  /** The sets before the one in force have counted their last event. */
  async closeFormer(): Promise<void> {
    while (this.#sets.length > 1) {
      const [former] = this.#sets as [CountedSet]
      const sums = await this.#read(former, 'former')
      sums.addTo(this.#totals)
      this.#sets.shift()
    }
  }

  /** Reads the kernel's counts of the set in force. */
  async refresh(): Promise<void> {
    const current = this.#sets.at(-1)
    if (current !== undefined) current.sums = await this.#read(current, 'present')
  }

  /** As of the last refresh(). */
  counts(): FilterCounts {
    const totals = this.#totals.copy()
    for (const { sums } of this.#sets) sums?.addTo(totals)
    this.#judge.addCounts(totals)
    return totals.counts()
  }

  async #read({ set, rules, matches }: CountedSet, which: 'present' | 'former'): Promise<FilterTotals> {
    const reading = await this.#maps.readMatches(set)
    const sums = new FilterTotals()
    sums.keep(rules)
    const wasAsked = (bit: number) => this.#judge.wasAsked(bit, which)
    const slice = new TimeSlice()
    for (let i = 0; i < reading.count; i++) {
      matches.add(
        {
          // The first are the events that were not judged.
          rules: i === 0 ? NO_RULES : reading.rules.subarray(i * MASK_BYTES, (i + 1) * MASK_BYTES),
          consumers: reading.consumers.subarray(i * KINDS, (i + 1) * KINDS),
          events: reading.events.subarray(i * KINDS, (i + 1) * KINDS),
        },
        sums,
        wasAsked,
      )
      if (i % MATCHES_PER_LOOK === 0 && slice.isOver) await slice.yield()
    }
    return sums
  }
}
