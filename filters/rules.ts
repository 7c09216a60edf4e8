import type { FlowView } from '../model/flow-view.ts'
import type { Predicate } from './predicate.ts'

/**
 * The filters in force, as plain data: what resources, configuration and live queries compile to, and what the kernel's
 * masks and the JavaScript of judge.ts are made of.
 *
 * A consumer takes an event when it is of a kind that concerns it, matches one of its include rules (or it has none), and
 * matches none of its exclude rules.
 */

/** Consumers' bits in a record; numbers below 30 (enum filter_limit). */
export const CONSUMER_BITS = {
  /** Metric handlers, in the order of the exporter's registry: bits 0 to 14. */
  FIRST_METRIC: 0,
  METRICS: 15,
  /** The JSON log. */
  LOG: 15,
  /** The history itself: what nobody else wants is kept for queries of the past, where that is configured. */
  HISTORY: 16,
  /** Live queries; when there are more than bits, the last bit is shared and takes everything. */
  FIRST_QUERY: 17,
  QUERIES: 13,
} as const

/** Every kind of event: bit per EventKind. */
export const ALL_KINDS = 0xff

export type RuleEffect = 'include' | 'exclude'

/** Where a rule was written, for people: what `sluice filters list` and errors name. */
export interface RuleOrigin {
  /** `ContainerNetworkMetric`, `ContainerNetworkLog`, `configuration`, `dynamic metrics`, `query`, `built in`. */
  readonly kind: string
  /** Name of the resource, the file, or the client. */
  readonly name: string
  /** `spec.filters[0].includeFilters[1]` */
  readonly path: string
  /** The filter's own name, empty when it has none. */
  readonly label: string
  /** The rule in one line: `from pod traffic/http, verdict dropped`. */
  readonly text: string
}

export interface FilterRule {
  /**
   * Unique among the rules in force and the same as long as the rule is: counters are kept by it. A changed rule is another
   * rule: made of origin, effect and a hash of the content.
   */
  readonly id: string
  readonly effect: RuleEffect
  readonly predicate: Predicate
  readonly origin: RuleOrigin
}

/**
 * What a consumer can use at all, whatever the rules say: a superset of what it counts or writes. It narrows what the
 * kernel brings up for the consumer; nothing that the consumer would have used is outside of it.
 */
export interface ConsumerInterest {
  /** Bit per EventKind (`1 << EventKind.KIND_DROP`). */
  readonly kinds: number
  /** Flows of these kinds that concern it; absent when all of them do. */
  readonly predicate?: Predicate
}

/** A consumer as its owner offers it, before any rules: what control makes FilterConsumers of. */
export interface ConsumerOffer {
  /** `metric/flow`: unique among all consumers. */
  readonly name: string
  /** Bit in flow_event.consumers, from CONSUMER_BITS. */
  readonly bit: number
  readonly interest: ConsumerInterest
}

/** Says which events a consumer takes; class Judge is one. Answers at once and allocates nothing. */
export interface FlowJudge {
  /**
   * By the rules that judged the event when it was made. Asked once for each event and consumer.
   *
   * @param bit of the consumer @param view on the event
   */
  wants(bit: number, view: FlowView): boolean
  /** By the rules in force now, whichever judged it. Counts nothing. */
  wouldTake(bit: number, view: FlowView): boolean
}

export interface FilterConsumer {
  /** `metric/flow`, `log`, `history`, `query/3`: unique. */
  readonly name: string
  /** Bit in flow_event.consumers, below 30; unique. */
  readonly bit: number
  /** Kinds of events that concern it at all: bit per EventKind. */
  readonly kinds: number
  /** False takes nothing, whatever the rules: the log while no resource asks for one. */
  readonly isOn: boolean
  readonly rules: readonly FilterRule[]
}

/** All filters of one moment. */
export interface RuleSet {
  readonly consumers: readonly FilterConsumer[]
}

/** How much of a rule the kernel decides. */
export interface RuleDecision {
  /**
   * `kernel`: exactly there. `partly`: the kernel leaves out what surely does not match (include rules), user space decides
   * the rest. `user`: user space alone.
   */
  readonly where: 'kernel' | 'partly' | 'user'
  /** Why not in the kernel alone, in a few words each: `drop reasons are known in user space`. Empty for `kernel`. */
  readonly because: readonly string[]
}

/** What became of a rule set that was put into force. */
export interface AppliedRules {
  /** Number of the set; grows by one with each. */
  readonly generation: number
  /** By rule id. */
  readonly decisions: ReadonlyMap<string, RuleDecision>
  /** Milliseconds from the call until the set was in force. */
  readonly tookMs: number
}

/**
 * What puts rules into force. Calls do not overlap: the caller waits for one to end. Between two calls every event is
 * judged by one set as a whole.
 */
export interface RuleTarget {
  apply(rules: RuleSet): Promise<AppliedRules>
}

/** Events judged by one rule since the rule came into force; doubles, exact below 2^53. */
export interface RuleCounts {
  readonly id: string
  /** Events that matched. */
  readonly matched: number
  /** Of those, events that its consumer took. */
  readonly kept: number
  /** Of those, events that its consumer did not take, this rule or another exclude rule being the reason. */
  readonly leftOut: number
  /** False when the kernel's share is an upper bound: the kernel decides the rule in part. */
  readonly isExact: boolean
}

export interface ConsumerCounts {
  readonly name: string
  /** Events of kinds that concern it, kept and left out. */
  readonly events: number
  readonly kept: number
  readonly leftOut: number
}

/** Counts of all rules and consumers in force. */
export interface FilterCounts {
  readonly rules: readonly RuleCounts[]
  readonly consumers: readonly ConsumerCounts[]
  /** Events that no consumer wanted and that never left the kernel. */
  readonly filteredInKernel: number
  /** Events whose rules are not known: the kernel's table of matches was full. */
  readonly unattributed: number
}
