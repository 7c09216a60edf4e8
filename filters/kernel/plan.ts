import { finish, type Steps } from '../../base/steps.ts'
import { FilterLimit } from '../../model/layouts.gen.ts'
import { KNOWN_KINDS } from '../kinds.ts'
import type { Predicate } from '../predicate.ts'
import type { FilterConsumer, FilterRule, RuleDecision, RuleSet } from '../rules.ts'
import { type Branch, branchesOf } from './branches.ts'
import { Capacity } from './capacity.ts'
import { encodeRules } from './encode.ts'
import { EndpointIndex } from './endpoint-index.ts'
import { type PortTable, type PrefixTable, portTable, prefixTable } from './field-tables.ts'
import { KernelRule } from './kernel-rule.ts'
import { lower, type RuleNode } from './term.ts'

/** A rule and the kernel's bits that stand for it: one for each way to match it. */
export interface PlannedRule {
  readonly id: string
  readonly bits: readonly number[]
  readonly decision: RuleDecision
}

export interface PlannedConsumer {
  readonly name: string
  readonly bit: number
  /** Bit per EventKind. */
  readonly kinds: number
  /** Whether the kernel's bit in a record is the answer; else user space asks the rules again. */
  readonly isExact: boolean
  readonly rules: readonly PlannedRule[]
}

/**
 * A set of rules as the kernel's tables have it. What the kernel takes for a consumer is never less than what the consumer
 * wants; it is exactly that for the consumers of `exactBits`.
 */
export interface KernelPlan {
  /** struct filter_rules; FILTER_USES_NETWORKS is the writer's to set. */
  readonly bytes: Uint8Array
  readonly ports: PortTable
  readonly prefixes: PrefixTable
  readonly endpoints: EndpointIndex
  readonly consumers: readonly PlannedConsumer[]
  readonly exactBits: number
  /** By rule id. */
  readonly decisions: ReadonlyMap<string, RuleDecision>
  /** Whether a rule looks at the node's labels: the plan is right as long as they stay as they are. */
  readonly readsNodeLabels: boolean
  /** Whether some consumer takes every event anyway and none has a rule: nothing need be judged. */
  readonly filtersNothing: boolean
  /** Whether the rule behind a bit of the masks can match events of a kind. */
  acceptsKind(bit: number, kind: number): boolean
}

const EXACT: RuleDecision = { where: 'kernel', because: [] }

/** Compiles a set of rules for the kernel. Tens of thousands of prefixes take a tenth of a second: see planSteps(). */
export function compileKernelPlan(set: RuleSet, node: RuleNode): KernelPlan {
  return finish(planSteps(set, node))
}

/** The same in steps. */
export function* planSteps(set: RuleSet, node: RuleNode): Steps<KernelPlan> {
  const rules: KernelRule[] = []
  const capacity = new Capacity()
  const consumers: PlannedConsumer[] = []
  for (const consumer of set.consumers) {
    consumers.push(consumer.isOn ? yield* planConsumer(consumer, node, rules, capacity) : idleConsumer(consumer))
  }
  const ports = yield* portTable(rules.map((rule) => rule.sided('port')))
  const prefixes = yield* prefixTable(rules.map((rule) => rule.sided('ip')))
  const endpoints = yield* EndpointIndex.of(rules.map((rule) => rule.sided('endpoint')))
  return {
    bytes: encodeRules({ consumers: set.consumers, planned: consumers, rules, ports, prefixes }),
    ports,
    prefixes,
    endpoints,
    consumers,
    exactBits: consumers.reduce((bits, { bit, isExact }) => (isExact ? bits | (1 << bit) : bits), 0),
    decisions: new Map(consumers.flatMap((one) => one.rules.map(({ id, decision }) => [id, decision]))),
    readsNodeLabels: set.consumers.some((one) => one.rules.some(({ predicate }) => readsNodeLabels(predicate))),
    filtersNothing: filtersNothing(set),
    acceptsKind: (bit, kind) => rules[bit]!.accepts('kind', kind),
  }
}

function readsNodeLabels(predicate: Predicate): boolean {
  if (predicate.op === 'not') return readsNodeLabels(predicate.of)
  if (predicate.op === 'all' || predicate.op === 'any') return predicate.of.some(readsNodeLabels)
  return predicate.op === 'node-label'
}

/**
 * Whether the kernel need not judge: somebody takes every event, and nobody wrote a rule. What narrows a consumer to
 * what it can use at all costs less in user space than judging each flow in the kernel.
 */
function filtersNothing({ consumers }: RuleSet): boolean {
  const on = consumers.filter(({ isOn }) => isOn)
  const isWritten = on.some(({ rules }) => rules.some(({ origin }) => origin.kind !== 'built in'))
  return !isWritten && on.some(({ kinds, rules }) => (kinds & KNOWN_KINDS) === KNOWN_KINDS && rules.length === 0)
}

/** One that is off takes nothing, which the kernel does exactly. */
function idleConsumer({ name, bit, kinds, rules }: FilterConsumer): PlannedConsumer {
  const planned = rules.map(({ id }): PlannedRule => ({ id, bits: [], decision: EXACT }))
  return { name, bit, kinds, isExact: true, rules: planned }
}

/** Adds the consumer's rules to the kernel's, all of them or none. */
function* planConsumer(
  consumer: FilterConsumer,
  node: RuleNode,
  rules: KernelRule[],
  capacity: Capacity,
): Steps<PlannedConsumer> {
  const { name, bit, kinds } = consumer
  const branched = yield* branchRules(consumer.rules, node, FilterLimit.RULES - rules.length)
  if (branched === undefined) {
    const because = [`the kernel holds ${FilterLimit.RULES} rules at once, and those of "${name}" do not fit`]
    const planned = consumer.rules.map(
      ({ id }): PlannedRule => ({ id, bits: [], decision: { where: 'user', because } }),
    )
    return { name, bit, kinds, isExact: false, rules: planned }
  }
  const planned = consumer.rules.map((rule, index): PlannedRule => {
    const { kept, decision } = decide(
      rule,
      branched[index]!.map((branch) => capacity.fit(branch)),
    )
    const bits = kept.map((branch) => {
      rules.push(new KernelRule(rules.length, bit, rule.effect, branch))
      return rules.length - 1
    })
    return { id: rule.id, bits, decision }
  })
  return { name, bit, kinds, isExact: planned.every(({ decision }) => decision.where === 'kernel'), rules: planned }
}

/** @returns undefined when together they have more than `room` alternatives */
function* branchRules(
  rules: readonly FilterRule[],
  node: RuleNode,
  room: number,
): Steps<(readonly Branch[])[] | undefined> {
  if (rules.length > FilterLimit.RULES) return undefined
  const branched: (readonly Branch[])[] = []
  let count = 0
  for (const rule of rules) {
    const branches = branchesOf(lower(rule.predicate, node)).filter((branch) => KernelRule.canMatch(branch))
    // What cannot be told about one alternative of an include rule makes the others no narrower.
    const blank = rule.effect === 'include' ? branches.find(({ tests }) => tests.length === 0) : undefined
    branched.push(blank === undefined ? branches : [blank])
    count += branched.at(-1)!.length
    if (count > room) return undefined
    yield
  }
  return branched
}

/** Which alternatives the kernel tests: of an exclude rule only those that it can tell exactly. */
function decide(
  { effect }: FilterRule,
  branches: readonly Branch[],
): { readonly kept: readonly Branch[]; readonly decision: RuleDecision } {
  const because = [...new Set(branches.flatMap((branch) => [...branch.because]))]
  if (because.length === 0) return { kept: branches, decision: EXACT }
  const kept = effect === 'include' ? branches : branches.filter((branch) => branch.because.size === 0)
  const narrows = effect === 'exclude' ? kept.length > 0 : kept.every(({ tests }) => tests.length > 0)
  return { kept, decision: { where: narrows ? 'partly' : 'user', because } }
}
