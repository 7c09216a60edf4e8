import type { FilterCounts, FilterRule, RuleSet } from '../filters/rules.ts'
import type { TelemetrySink } from '../model/contracts.ts'
import type { ToldResource } from './filter-state.ts'
import type { RuleApplier } from './rule-applier.ts'

/** Rules that have series of their own: three each. */
const MAX_RULES = 512

/** Numbers of a FilterControl. */
export interface FilterFacts {
  readonly applier: RuleApplier
  /** Resources that there was no room for. */
  readonly refused: number
  readonly liveQueries: number
  /** Of those, queries without a bit of their own. */
  readonly sharedQueries: number
}

const KINDS = ['ContainerNetworkMetric', 'ContainerNetworkLog', 'RetinaNetworkFlowLog'] as const
const STATES = ['CONFIGURED', 'FAILED', 'PENDING'] as const

/** Tells what filters do. Rules of live queries have no series: they come and go with their clients. */
export function collectFilterMetrics(
  sink: TelemetrySink,
  { applier, refused, liveQueries, sharedQueries }: FilterFacts,
  resources: readonly ToldResource[],
  rules: RuleSet,
  counts: FilterCounts | undefined,
): void {
  sink.counter('sluice_filter_applies_total', 'Rule sets that were put into force', applier.applies)
  sink.counter('sluice_filter_apply_failures_total', 'Rule sets that could not be put into force', applier.failures)
  sink.counter('sluice_filter_apply_seconds_total', 'Time that putting rule sets into force took', applier.seconds)
  sink.gauge('sluice_filter_generation', 'Number of the rule set in force', applier.news?.generation ?? 0)
  sink.gauge('sluice_filter_live_queries', 'Live queries that events leave the kernel for', liveQueries)
  const help = 'Live queries that found no bit of their own and are given everything'
  sink.gauge('sluice_filter_live_queries_shared', help, sharedQueries)
  sink.counter('sluice_filter_resources_refused_total', 'Resources that there was no room for', refused)
  for (const kind of KINDS) {
    for (const state of STATES) {
      const count = resources.filter(({ ref, status }) => ref.kind === kind && (status?.state ?? 'PENDING') === state)
      sink.gauge('sluice_filter_resources', 'Filter resources by state', count.length, { kind, state })
    }
  }
  if (counts !== undefined) collectRules(sink, rules, counts)
}

function collectRules(sink: TelemetrySink, rules: RuleSet, counts: FilterCounts): void {
  const byId = new Map(counts.rules.map((rule) => [rule.id, rule]))
  let told = 0
  for (const { name, rules: list } of rules.consumers) {
    for (const rule of list) {
      const count = byId.get(rule.id)
      if (count === undefined || rule.origin.kind === 'query' || rule.origin.kind === 'built in') continue
      if (++told > MAX_RULES) continue
      const labels = ruleLabels(name, rule)
      sink.counter('sluice_filter_rule_matched_total', 'Events that matched a rule', count.matched, labels)
      sink.counter(
        'sluice_filter_rule_kept_total',
        'Events that matched a rule and that its consumer took',
        count.kept,
        labels,
      )
      const leftOut = 'Events that matched a rule and that its consumer did not take'
      sink.counter('sluice_filter_rule_left_out_total', leftOut, count.leftOut, labels)
    }
  }
  const help = 'Rules that have no series of their own because there are too many'
  sink.gauge('sluice_filter_rules_without_series', help, Math.max(0, told - MAX_RULES))
}

/** Origin and effect tell the rules of a consumer apart; the name is for people. */
function ruleLabels(consumer: string, { effect, origin }: FilterRule): Record<string, string> {
  return {
    consumer,
    effect,
    resource: `${origin.kind}/${origin.name}`,
    rule: origin.path,
    name: origin.label,
  }
}
