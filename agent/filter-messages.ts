import { timestamp } from '../api/agent-events.ts'
import {
  type ExplainedAmount as AmountMessage,
  type ExplainedConsumer as ConsumerMessage,
  type FilterCount,
  FilterEffect,
  FilterPlace,
  type FilterProblem,
  type FilterResource,
  type FilterRule as FilterRuleMessage,
  type ListedConsumer,
  type ListedRule,
  type ExplainedRule as RuleMessage,
} from '../api/gen/sluice/v1/filters.ts'
import type { RuleProblem, RuleProblems } from '../control/analysis.ts'
import type { ExplainedAmount, ExplainedConsumer, ExplainedRule, ExplainReport } from '../control/explain.ts'
import type { ResourceRef, ResourceStatus } from '../control/resource.ts'
import type { EventRates, FilterRates } from '../control/rule-rates.ts'
import {
  CONSUMER_BITS,
  type FilterCounts,
  type FilterRule,
  type RuleCounts,
  type RuleDecision,
  type RuleSet,
} from '../filters/rules.ts'

/** A count, which is a double that is exact below 2^53. */
export function whole(count: number): bigint {
  return BigInt(Math.round(count))
}

/** Events of a report's time as a rate; 0 when there was no time. */
export function perMinute(count: number, { seconds }: ExplainReport): number {
  return seconds > 0 ? (60 * count) / seconds : 0
}

const SECONDS_PER_DAY = 86_400

export function resourceMessage(source: string, ref: ResourceRef, status: ResourceStatus | undefined): FilterResource {
  const changed = status === undefined ? Number.NaN : Date.parse(status.timestamp)
  return {
    kind: ref.kind,
    name: ref.name,
    source,
    state: status?.state ?? 'PENDING',
    reason: status?.reason ?? '',
    message: status?.message ?? '',
    warnings: [...(status?.warnings ?? [])],
    observed_generation: BigInt(status?.observedGeneration ?? 0),
    time: Number.isNaN(changed) ? undefined : timestamp(changed),
    filters: status?.filters ?? 0,
  }
}

/** @param isJudging whether the kernel judges: user space counts for consumers alone that have to ask */
export function consumerMessages(
  rules: RuleSet,
  counts: FilterCounts,
  rates: FilterRates,
  isJudging: boolean,
): ListedConsumer[] {
  const byName = new Map(counts.consumers.map((consumer) => [consumer.name, consumer]))
  return rules.consumers.map((consumer): ListedConsumer => {
    const { name, rules: own } = consumer
    const count = byName.get(name)
    const rate = rates.consumers.get(name)
    const isFiltered = own.length === 0 || own.some(isWritten)
    return {
      name,
      on: consumer.isOn,
      rules: own.length,
      // What a metric's own rules leave out does not concern it: to icmp all that is not ICMP.
      count: isFiltered
        ? countMessage(count?.events ?? 0, count?.kept ?? 0, count?.leftOut ?? 0, rate)
        : countMessage(count?.kept ?? 0, count?.kept ?? 0, 0, rate && { ...rate, matched: rate.kept, leftOut: 0 }),
      counted: isJudging || consumer.bit === CONSUMER_BITS.LOG || own.some(isWritten),
    }
  })
}

/** Not part of the metric itself. */
function isWritten({ origin }: FilterRule): boolean {
  return origin.kind !== 'built in'
}

export function ruleMessages(
  rules: RuleSet,
  decisions: ReadonlyMap<string, RuleDecision>,
  counts: FilterCounts,
  rates: FilterRates,
  problems: RuleProblems,
): ListedRule[] {
  const byId = new Map(counts.rules.map((rule) => [rule.id, rule]))
  return rules.consumers.flatMap((consumer) =>
    consumer.rules.map((rule): ListedRule => {
      const known = rates.rules.get(rule.id)
      return {
        rule: ruleMessage(consumer.name, rule, decisions.get(rule.id), problems.get(rule.id) ?? []),
        count: countOfRule(byId.get(rule.id), known?.rates),
        exact: byId.get(rule.id)?.isExact ?? true,
        since: known === undefined ? undefined : timestamp(known.sinceMs),
        last_matched: known?.lastMatchedMs === undefined ? undefined : timestamp(known.lastMatchedMs),
      }
    }),
  )
}

function countOfRule(count: RuleCounts | undefined, rates: EventRates | undefined): FilterCount {
  return countMessage(count?.matched ?? 0, count?.kept ?? 0, count?.leftOut ?? 0, rates)
}

function countMessage(matched: number, kept: number, leftOut: number, rates: EventRates | undefined): FilterCount {
  return {
    matched: whole(matched),
    kept: whole(kept),
    left_out: whole(leftOut),
    matched_per_minute: rates?.matched ?? 0,
    kept_per_minute: rates?.kept ?? 0,
    left_out_per_minute: rates?.leftOut ?? 0,
  }
}

function problemMessage({ kind, text, otherRule }: RuleProblem): FilterProblem {
  return { kind, text, other_rule: otherRule }
}

const PLACES = {
  kernel: FilterPlace.FILTER_PLACE_KERNEL,
  partly: FilterPlace.FILTER_PLACE_PARTLY,
  user: FilterPlace.FILTER_PLACE_USER,
} as const

function ruleMessage(
  consumer: string,
  { id, effect, origin }: FilterRule,
  decision: RuleDecision | undefined,
  problems: readonly RuleProblem[],
): FilterRuleMessage {
  const isInclude = effect === 'include'
  return {
    id,
    consumer,
    effect: isInclude ? FilterEffect.FILTER_EFFECT_INCLUDE : FilterEffect.FILTER_EFFECT_EXCLUDE,
    kind: origin.kind,
    name: origin.name,
    path: origin.path,
    label: origin.label,
    text: origin.text,
    place: decision === undefined ? FilterPlace.FILTER_PLACE_UNKNOWN : PLACES[decision.where],
    because: [...(decision?.because ?? [])],
    problems: problems.map(problemMessage),
  }
}

/**
 * @param rates what the counters say of the consumer where the flows measured are not all there were: what the kernel
 * left out of them is in there, which makes the figures without filters what they would be
 */
export function explainedConsumer(
  consumer: ExplainedConsumer,
  report: ExplainReport,
  rates: EventRates | undefined,
): ConsumerMessage {
  return {
    name: consumer.name,
    rules: consumer.rules,
    events: whole(consumer.events),
    with: amountMessage(consumer.with, report),
    without: atLeast(amountMessage(consumer.without, report), rates?.matched ?? 0),
    now: amountMessage(consumer.now, report),
    measured: true,
  }
}

/** What counters know of a rule that is in force. */
export interface KnownRule {
  readonly count: RuleCounts | undefined
  readonly rates: EventRates | undefined
  /** True where the flows measured are not all there were. */
  readonly isCounted: boolean
}

export function explainedRule(
  { consumer, rule, matched, kept, leftOut, without }: ExplainedRule,
  report: ExplainReport,
  decision: RuleDecision | undefined,
  problems: readonly RuleProblem[],
  known: KnownRule,
): RuleMessage {
  const { count, rates } = known
  const measured = {
    matched: perMinute(matched, report),
    kept: perMinute(kept, report),
    leftOut: perMinute(leftOut, report),
  }
  const counted = known.isCounted ? rates : undefined
  const leftOutRate = Math.max(measured.leftOut, counted?.leftOut ?? 0)
  const amount = without === undefined ? undefined : amountMessage(without, report)
  // What an exclude rule left in the kernel would be there without it.
  const missed = rule.effect === 'exclude' ? leftOutRate - measured.leftOut : 0
  return {
    rule: ruleMessage(consumer, rule, decision, problems),
    matched: whole(matched),
    kept: whole(kept),
    left_out: whole(leftOut),
    matched_per_minute: Math.max(measured.matched, counted?.matched ?? 0),
    kept_per_minute: measured.kept,
    left_out_per_minute: leftOutRate,
    without: amount && atLeast(amount, amount.kept_per_minute + missed),
    measured: without !== undefined,
    counted: count === undefined ? undefined : countOfRule(count, rates),
  }
}

/** Raises a rate to what is known to be there; the log grows with it, by lines like those that were measured. */
function atLeast(amount: AmountMessage, perMinute: number): AmountMessage {
  const { kept_per_minute: measured } = amount
  if (!amount.on || perMinute <= measured) return amount
  const growth = measured > 0 ? perMinute / measured : 1
  return { ...amount, kept_per_minute: perMinute, log_bytes_per_day: amount.log_bytes_per_day * growth }
}

function amountMessage(amount: ExplainedAmount, report: ExplainReport): AmountMessage {
  const { seconds } = report
  return {
    on: amount.isOn,
    kept: whole(amount.kept),
    kept_per_minute: perMinute(amount.kept, report),
    series: whole(amount.series),
    scrape_bytes: whole(amount.scrapeBytes),
    log_bytes: whole(amount.logBytes),
    log_bytes_per_day: seconds > 0 ? (SECONDS_PER_DAY * amount.logBytes) / seconds : 0,
  }
}
