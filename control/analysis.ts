import { finish, finishSliced, type Steps } from '../base/steps.ts'
import { isEverything } from '../filters/predicate.ts'
import { covers } from '../filters/resources/covers.ts'
import type { FilterConsumer, FilterCounts, FilterRule, RuleSet } from '../filters/rules.ts'

export type RuleProblemKind =
  /** Nothing matched since it is in force. */
  | 'never-matched'
  /** Another rule of the same effect matches all that it matches. */
  | 'shadowed'
  /** An include rule of which an exclude rule leaves nothing. */
  | 'conflict'

/** What is doubtful about a rule. */
export interface RuleProblem {
  readonly kind: RuleProblemKind
  /** One sentence for people. */
  readonly text: string
  /** Id of the rule that is in its way, '' for none. */
  readonly otherRule: string
}

/** By rule id; rules without problems are not in it. */
export type RuleProblems = ReadonlyMap<string, readonly RuleProblem[]>

/**
 * Rules that change nothing beside others of their consumer. Looks at the rules alone, so what it finds holds for all traffic;
 * it does not find all there is (two rules together may cover a third).
 */
export function ruleProblems(rules: RuleSet): RuleProblems {
  return finish(problemSteps(rules))
}

/** ruleProblems() in slices of some milliseconds: a thousand rules make a million pairs. */
export function ruleProblemsSliced(rules: RuleSet): Promise<RuleProblems> {
  return finishSliced(problemSteps(rules))
}

function* problemSteps(rules: RuleSet): Steps<RuleProblems> {
  const problems = new Map<string, RuleProblem[]>()
  for (const consumer of rules.consumers) {
    const include = consumer.rules.filter((rule) => rule.effect === 'include')
    const exclude = consumer.rules.filter((rule) => rule.effect === 'exclude')
    for (const list of [include, exclude]) {
      for (const [index, rule] of list.entries()) {
        const other = list.find((one, i) => i !== index && isShadowed(rule, one, i < index))
        if (other !== undefined) add(problems, rule, 'shadowed', `${named(other)} matches all that it matches`, other)
        yield
      }
    }
    for (const rule of include) {
      const other = exclude.find((one) => covers(one.predicate, rule.predicate))
      if (other !== undefined) add(problems, rule, 'conflict', `${named(other)} leaves out all that it matches`, other)
      yield
    }
  }
  return problems
}

/** Of two rules that match the same the later one is shadowed. A rule that matches everything shadows nobody alone. */
function isShadowed(rule: FilterRule, other: FilterRule, isEarlier: boolean): boolean {
  if (isEverything(other.predicate) && isEverything(rule.predicate)) return isEarlier
  if (!covers(other.predicate, rule.predicate)) return false
  return isEarlier || !covers(rule.predicate, other.predicate)
}

function add(
  problems: Map<string, RuleProblem[]>,
  rule: FilterRule,
  kind: RuleProblemKind,
  text: string,
  other?: FilterRule,
): void {
  const problem = { kind, text, otherRule: other?.id ?? '' }
  problems.set(rule.id, [...(problems.get(rule.id) ?? []), problem])
}

function named({ origin }: FilterRule): string {
  const label = origin.label === '' ? '' : ` "${origin.label}"`
  return `${origin.kind}/${origin.name} ${origin.path}${label}`.trim()
}

export interface NeverMatchedOptions {
  /** When a rule came into force, milliseconds since 1970; undefined when that is not known. */
  readonly since: (id: string) => number | undefined
  readonly now: number
  /** Younger rules had no chance yet, milliseconds. */
  readonly minAgeMs: number
}

/** Rules that nothing matched since they are in force. Rules of live queries and built-in ones are left out. */
export function neverMatched(rules: RuleSet, counts: FilterCounts, options: NeverMatchedOptions): RuleProblems {
  const matched = new Map(counts.rules.map((rule) => [rule.id, rule.matched]))
  const problems = new Map<string, RuleProblem[]>()
  for (const rule of rules.consumers.filter(isWatched).flatMap((consumer) => consumer.rules)) {
    const since = options.since(rule.id)
    if (matched.get(rule.id) !== 0 || since === undefined || options.now - since < options.minAgeMs) continue
    if (rule.origin.kind === 'query' || rule.origin.kind === 'built in') continue
    const time = `${new Date(since).toISOString().slice(0, 19)}Z`
    add(problems, rule, 'never-matched', `nothing matched it since ${time}`)
  }
  return problems
}

function isWatched(consumer: FilterConsumer): boolean {
  return consumer.isOn
}

/** Problems of several looks together. */
export function joinProblems(...all: readonly RuleProblems[]): RuleProblems {
  const joined = new Map<string, readonly RuleProblem[]>()
  for (const problems of all) {
    for (const [id, list] of problems) joined.set(id, [...(joined.get(id) ?? []), ...list])
  }
  return joined
}
