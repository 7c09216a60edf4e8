import { eventKindBits, KINDS } from '../../filters/kinds.ts'
import type { FlowPredicate } from '../../filters/predicate.ts'
import type { FilterConsumer, FilterRule } from '../../filters/rules.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { EventKind } from '../../model/layouts.gen.ts'
import type { CheckedFiles } from './check.ts'
import { askTree, type PredicateTree, predicateTree, type TreeAnswer } from './predicate-tree.ts'

/** What a consumer does with one flow. */
export type Fate = 'kept' | 'left out' | 'not concerned' | 'off'

export interface RuleAnswer {
  readonly rule: FilterRule
  readonly matches: boolean
  readonly tree: TreeAnswer
}

export interface ConsumerAnswer {
  readonly consumer: string
  readonly fate: Fate
  /** Why, in a few words. */
  readonly because: string
  readonly rules: readonly RuleAnswer[]
}

interface JudgedRule {
  readonly rule: FilterRule
  readonly tree: PredicateTree
  readonly test: FlowPredicate
  matched: number
  kept: number
}

interface JudgedConsumer {
  readonly consumer: FilterConsumer
  readonly rules: readonly JudgedRule[]
  events: number
  kept: number
}

/** Counts of a rule over all flows judged. */
export interface RuleCount {
  readonly consumer: string
  readonly rule: FilterRule
  readonly matched: number
  readonly kept: number
}

const KIND_NAMES: Readonly<Record<number, string>> = {
  [EventKind.KIND_FLOW]: 'packets without SYN, FIN or RST',
  [EventKind.KIND_TCP_FLAG]: 'TCP packets with SYN, FIN or RST',
  [EventKind.KIND_DROP]: 'drops',
  [EventKind.KIND_DNS]: 'DNS messages',
  [EventKind.KIND_HTTP]: 'HTTP messages',
}

/** Says what checked filters do with flows, one after the other, and why. */
export class Judgement {
  readonly #consumers: JudgedConsumer[]
  readonly #offBecause: ReadonlyMap<string, string>
  flows = 0

  constructor({ rules, offBecause }: Pick<CheckedFiles, 'rules' | 'offBecause'>) {
    this.#offBecause = offBecause
    this.#consumers = rules.consumers.map((consumer) => ({
      consumer,
      events: 0,
      kept: 0,
      rules: consumer.rules.map((rule) => {
        const tree = predicateTree(rule.predicate)
        return { rule, tree, test: tree.test, matched: 0, kept: 0 }
      }),
    }))
  }

  /** Judges a flow and counts it. */
  count(view: FlowView): void {
    this.flows++
    for (const judged of this.#consumers) {
      const matched = judged.rules.filter(({ test }) => test(view))
      const fate = this.#fate(judged, view, matched)
      if (fate !== 'kept' && fate !== 'left out') continue
      judged.events++
      if (fate === 'kept') judged.kept++
      for (const rule of matched) {
        rule.matched++
        if (fate === 'kept') rule.kept++
      }
    }
  }

  /** What each consumer does with a flow, with the answer of every rule. */
  explain(view: FlowView): ConsumerAnswer[] {
    return this.#consumers.map((judged) => {
      const matched = judged.rules.filter(({ test }) => test(view))
      const fate = this.#fate(judged, view, matched)
      return {
        consumer: judged.consumer.name,
        fate,
        because: this.#because(judged, fate, matched),
        rules: judged.rules.map((one) => ({
          rule: one.rule,
          matches: matched.includes(one),
          tree: askTree(one.tree, view),
        })),
      }
    })
  }

  /** Counts of every rule; matched less kept were left out. */
  ruleCounts(): RuleCount[] {
    return this.#consumers.flatMap(({ consumer, rules }) =>
      rules.map(({ rule, matched, kept }) => ({ consumer: consumer.name, rule, matched, kept })),
    )
  }

  consumerCounts(): {
    readonly consumer: string
    readonly isOn: boolean
    readonly events: number
    readonly kept: number
  }[] {
    return this.#consumers.map(({ consumer, events, kept }) => ({
      consumer: consumer.name,
      isOn: consumer.isOn,
      events,
      kept,
    }))
  }

  #fate({ consumer, rules }: JudgedConsumer, view: FlowView, matched: readonly JudgedRule[]): Fate {
    if (!consumer.isOn) return 'off'
    if ((eventKindBits(view) & consumer.kinds) === 0) return 'not concerned'
    if (matched.some(({ rule }) => rule.effect === 'exclude')) return 'left out'
    const isIncluded = matched.length > 0 || !rules.some(({ rule }) => rule.effect === 'include')
    return isIncluded ? 'kept' : 'left out'
  }

  #because({ consumer, rules }: JudgedConsumer, fate: Fate, matched: readonly JudgedRule[]): string {
    if (fate === 'off') return this.#offBecause.get(consumer.name) ?? 'switched off'
    if (fate === 'not concerned') {
      const kinds = KINDS.filter((kind) => (consumer.kinds & (1 << kind)) !== 0).map((kind) => KIND_NAMES[kind])
      return `it is about ${kinds.join(' and ')} only`
    }
    if (rules.length === 0) return 'it has no rule and takes everything'
    const decisive = matched.find(({ rule }) => (rule.effect === 'exclude') === (fate === 'left out'))
    if (decisive !== undefined) return `${decisive.rule.effect} rule ${decisive.rule.origin.path} matches`
    return fate === 'kept' ? 'no exclude rule matches' : 'no include rule matches'
  }
}
