import type { ConsumerCounts, FilterCounts, RuleCounts } from '../filters/rules.ts'

/** Events of a rule or a consumer, per minute. */
export interface EventRates {
  /** Of a rule: events that matched. Of a consumer: events that concern it. */
  readonly matched: number
  readonly kept: number
  readonly leftOut: number
}

export interface RuleHistory {
  readonly rates: EventRates
  /** Wall clock, milliseconds: when the rule was first seen in force. */
  readonly sinceMs: number
  /** Within a minute, when it last matched; undefined: not since it is in force. */
  readonly lastMatchedMs: number | undefined
}

/** What counters did lately. */
export interface FilterRates {
  /** By rule id. */
  readonly rules: ReadonlyMap<string, RuleHistory>
  /** By name. */
  readonly consumers: ReadonlyMap<string, EventRates>
  readonly filteredInKernel: number
  /** What the rates are over; less for what is in force for less long. */
  readonly minutes: number
}

/** Samples that are kept, and how far apart they are taken: rates are over the last five minutes. */
const SAMPLES = 6
export const SAMPLE_INTERVAL_MS = 60_000
/** Younger than this a counter has no rate: a single event would be many a minute. */
const MIN_SPAN_MS = 1000

type Triple = readonly [matched: number, kept: number, leftOut: number]

interface Sample {
  readonly ms: number
  readonly values: ReadonlyMap<string, Triple>
}

interface Seen {
  /** When it was first seen, or began to mean something else, and what was counted then. */
  readonly sinceMs: number
  readonly base: Triple
  matched: number
  lastMatchedMs: number | undefined
}

const KERNEL_KEY = 'kernel'
const ruleKey = (id: string): string => `rule ${id}`
const consumerKey = (name: string): string => `consumer ${name}`

/**
 * One-minute samples of the filters' counters, for rates, and for since when a rule has matched nothing. Holds as many
 * entries as there are rules in force, a few times.
 */
export class RuleRates {
  readonly #samples: Sample[] = []
  readonly #seen = new Map<string, Seen>()

  /** Takes a sample; call it every SAMPLE_INTERVAL_MS. @param nowMs wall clock */
  sample(counts: FilterCounts, nowMs: number): void {
    this.#look(counts, nowMs)
    this.#samples.push({ ms: nowMs, values: triples(counts) })
    if (this.#samples.length > SAMPLES) this.#samples.shift()
  }

  /**
   * Rules have changed: those that are new count from now on, and so do consumers that take other events than before.
   *
   * @param changed names of these consumers
   */
  notice(counts: FilterCounts, nowMs: number, changed: readonly string[]): void {
    for (const name of changed) this.#seen.delete(consumerKey(name))
    if (changed.length > 0) this.#seen.delete(KERNEL_KEY)
    this.#look(counts, nowMs)
  }

  /** Rates of counters as they are now. */
  rates(counts: FilterCounts, nowMs: number): FilterRates {
    this.#look(counts, nowMs)
    const now = triples(counts)
    const rate = (key: string): EventRates => this.#rate(key, now.get(key)!, nowMs)
    const rules = counts.rules.map(({ id }) => {
      const key = ruleKey(id)
      const { sinceMs, lastMatchedMs } = this.#seen.get(key)!
      return [id, { rates: rate(key), sinceMs, lastMatchedMs }] as const
    })
    const oldest = this.#samples[0]?.ms ?? nowMs
    return {
      rules: new Map(rules),
      consumers: new Map(counts.consumers.map(({ name }) => [name, rate(consumerKey(name))] as const)),
      filteredInKernel: rate(KERNEL_KEY).matched,
      minutes: Math.max(0, nowMs - oldest) / 60_000,
    }
  }

  /** Growth since the oldest sample, or since the counter is there as it is. */
  #rate(key: string, value: Triple, nowMs: number): EventRates {
    const { sinceMs, base } = this.#seen.get(key)!
    const sample = this.#samples.find(({ ms, values }) => ms >= sinceMs && values.has(key))
    const before = sample?.values.get(key) ?? base
    const minutes = (nowMs - (sample?.ms ?? sinceMs)) / 60_000
    if (minutes * 60_000 < MIN_SPAN_MS) return { matched: 0, kept: 0, leftOut: 0 }
    const per = (which: 0 | 1 | 2): number => Math.max(0, value[which] - before[which]) / minutes
    return { matched: per(0), kept: per(1), leftOut: per(2) }
  }

  #look(counts: FilterCounts, nowMs: number): void {
    const now = triples(counts)
    for (const [key, base] of now) {
      const [matched] = base
      const seen = this.#seen.get(key)
      // A counter that fell has begun anew.
      if (seen === undefined || matched < seen.matched) {
        this.#seen.set(key, { sinceMs: nowMs, base, matched, lastMatchedMs: matched > 0 ? nowMs : undefined })
      } else if (matched > seen.matched) {
        seen.matched = matched
        seen.lastMatchedMs = nowMs
      }
    }
    for (const key of this.#seen.keys()) if (!now.has(key)) this.#seen.delete(key)
  }
}

function triples(counts: FilterCounts): Map<string, Triple> {
  const ofRule = ({ id, matched, kept, leftOut }: RuleCounts) => [ruleKey(id), [matched, kept, leftOut]] as const
  const ofConsumer = ({ name, events, kept, leftOut }: ConsumerCounts) =>
    [consumerKey(name), [events, kept, leftOut]] as const
  return new Map<string, Triple>([
    ...counts.rules.map(ofRule),
    ...counts.consumers.map(ofConsumer),
    [KERNEL_KEY, [counts.filteredInKernel, 0, 0]],
  ])
}
