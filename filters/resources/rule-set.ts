import { createHash } from 'node:crypto'
import { describePredicate } from '../describe.ts'
import { flowFilterPredicate } from '../hubble/index.ts'
import type { FlowFilterMessage } from '../hubble/message.ts'
import { allOf, anyOf, EVERYTHING, not, type Predicate } from '../predicate.ts'
import {
  ALL_KINDS,
  CONSUMER_BITS,
  type ConsumerOffer,
  type FilterConsumer,
  type FilterRule,
  type RuleEffect,
  type RuleOrigin,
  type RuleSet,
} from '../rules.ts'
import type { CompiledFilter, CompiledResource, FilterGroup } from './compile.ts'

/** What of the filters the configuration says, once for the agent's life. */
export interface FilterSettings {
  readonly log: LogSettings
  /** `all` keeps every event for queries of the past, whatever the filters; `wanted` what somebody wants. */
  readonly history: 'wanted' | 'all'
  /** Merge several ContainerNetworkMetrics by OR; else the one named container-network-metric counts. */
  readonly merge: boolean
  /** Metrics that a ContainerNetworkMetric does not name, where it does not say itself. */
  readonly unlisted: 'keep' | 'drop'
}

export interface LogSettings {
  /** `resources`: what ContainerNetworkLogs ask for, nothing without one. `static`: everything. `off`: nothing. */
  readonly mode: 'off' | 'static' | 'resources'
  /** In each mode only flows that match one of these are written; none: all. */
  readonly allow: readonly FlowFilterMessage[]
  /** In each mode flows that match one of these are not written. */
  readonly deny: readonly FlowFilterMessage[]
}

/** Filters of one metric from Hubble's dynamic metrics file. */
export type MetricFilters = Pick<FilterGroup, 'include' | 'exclude'>

export interface RuleSources {
  readonly settings: FilterSettings
  /** Metric handlers. */
  readonly metrics: readonly ConsumerOffer[]
  /** Of Hubble's dynamic metrics file, by handler; a ContainerNetworkMetric that names the metric stands in their place. */
  readonly dynamic: ReadonlyMap<string, MetricFilters>
  /** Resources in force. */
  readonly resources: readonly CompiledResource[]
  readonly queries: readonly FilterConsumer[]
}

/** All filters of one moment as one set. Pure: the same sources give the same set, rule ids included. */
export function buildRuleSet(sources: RuleSources): RuleSet {
  const history: FilterConsumer = {
    name: 'history',
    bit: CONSUMER_BITS.HISTORY,
    kinds: ALL_KINDS,
    isOn: sources.settings.history === 'all' || isUnfiltered(sources),
    rules: [],
  }
  return { consumers: [...metricConsumers(sources), logConsumer(sources), history, ...sources.queries] }
}

/** Nobody said what is wanted: then queries of the past find everything, also where metrics and the log are off. */
function isUnfiltered({ settings, dynamic, resources }: RuleSources): boolean {
  const { allow, deny } = settings.log
  const hasDynamic = [...dynamic.values()].some(({ include, exclude }) => include.length + exclude.length > 0)
  return resources.length === 0 && !hasDynamic && allow.length + deny.length === 0
}

function metricConsumers({ settings, metrics, dynamic, resources }: RuleSources): FilterConsumer[] {
  const documents = resources.filter((one) => one.kind === 'ContainerNetworkMetric')
  // Each document speaks for itself: what one of them keeps is kept.
  const keepsUnlisted =
    documents.length === 0 || documents.some((one) => (one.unlisted ?? settings.unlisted) === 'keep')
  return metrics.map((offer) => {
    const groups = groupsFor(offer.name, documents)
    const isListed = groups.length > 0
    const rules = isListed ? resourceRules(offer.name, groups) : dynamicRules(offer.name, dynamic)
    return interested(offer, rules, isListed || keepsUnlisted)
  })
}

/** Narrows a consumer's rules to what it can use at all. */
function interested(offer: ConsumerOffer, rules: readonly FilterRule[], isOn: boolean): FilterConsumer {
  const { name, bit, interest } = offer
  const { kinds, predicate } = interest
  if (predicate === undefined) return { name, bit, kinds, isOn, rules }
  const narrowed = rules.map((rule) =>
    rule.effect === 'include' ? { ...rule, predicate: allOf(predicate, rule.predicate) } : rule,
  )
  if (rules.some((rule) => rule.effect === 'include')) return { name, bit, kinds, isOn, rules: narrowed }
  const origin: RuleOrigin = {
    kind: 'built in',
    name: name.replace(/^metric\//, ''),
    path: '',
    label: '',
    text: describePredicate(predicate),
  }
  return { name, bit, kinds, isOn, rules: [makeRule(name, 'include', predicate, origin), ...narrowed] }
}

function logConsumer({ settings, resources }: RuleSources): FilterConsumer {
  const { mode, allow, deny } = settings.log
  const groups = mode === 'resources' ? groupsFor('log', resources) : []
  const isOn = mode === 'static' || groups.length > 0
  const rules: FilterRule[] = []
  if (isOn && groups.length > 0) {
    const allowed = allow.length === 0 ? EVERYTHING : anyOf(...allow.map(flowFilterPredicate))
    for (const rule of resourceRules('log', groups)) {
      rules.push(rule.effect === 'include' ? { ...rule, predicate: allOf(rule.predicate, allowed) } : rule)
    }
    // Without an include rule the resource wants all flows, of which the configuration allows some.
    if (!rules.some((rule) => rule.effect === 'include')) rules.push(...configured('include', 'log.allowList', allow))
  } else if (isOn) {
    rules.push(...configured('include', 'log.allowList', allow))
  }
  if (isOn) rules.push(...configured('exclude', 'log.denyList', deny))
  return { name: 'log', bit: CONSUMER_BITS.LOG, kinds: ALL_KINDS, isOn, rules: distinct(rules) }
}

function configured(effect: RuleEffect, key: string, messages: readonly FlowFilterMessage[]): FilterRule[] {
  return messages.map((message, index) => {
    const predicate = flowFilterPredicate(message)
    const origin = {
      kind: 'configuration',
      name: key,
      path: `${key}[${index}]`,
      label: '',
      text: describePredicate(predicate),
    }
    return makeRule('log', effect, predicate, origin)
  })
}

function groupsFor(consumer: string, resources: readonly CompiledResource[]): FilterGroup[] {
  return resources.flatMap(({ groups }) => groups.filter((group) => group.consumer === consumer))
}

function dynamicRules(consumer: string, dynamic: ReadonlyMap<string, MetricFilters>): FilterRule[] {
  const filters = dynamic.get(consumer.replace(/^metric\//, ''))
  return filters === undefined ? [] : resourceRules(consumer, [filters])
}

/**
 * Rules of one or more groups, of which each is an answer of its own: what one group takes is taken. Where a group has
 * excludes and is not alone, they are part of its includes, as they must not take from the others.
 */
function resourceRules(consumer: string, groups: readonly MetricFilters[]): FilterRule[] {
  const isPlain = groups.length === 1 || groups.every((group) => group.exclude.length === 0)
  if (!isPlain) return distinct(groups.flatMap((group) => folded(consumer, group)))
  return distinct(
    groups.flatMap((group) => [
      ...group.include.map((filter) => ruleOf(consumer, filter)),
      ...group.exclude.map((filter) => ruleOf(consumer, filter)),
    ]),
  )
}

function folded(consumer: string, { include, exclude }: MetricFilters): FilterRule[] {
  if (exclude.length === 0) return include.map((filter) => ruleOf(consumer, filter))
  const rest = not(anyOf(...exclude.map(({ predicate }) => predicate)))
  if (include.length === 0) {
    const { origin } = exclude[0]!
    return [makeRule(consumer, 'include', rest, { ...origin, label: '', text: describePredicate(rest) })]
  }
  return include.map(({ predicate, origin }) => {
    const whole = allOf(predicate, rest)
    return makeRule(consumer, 'include', whole, { ...origin, text: describePredicate(whole) })
  })
}

function ruleOf(consumer: string, { effect, predicate, origin }: CompiledFilter): FilterRule {
  return makeRule(consumer, effect, predicate, origin)
}

/** Content of predicates by identity: they are immutable, and most are the same from set to set. */
const hashes = new WeakMap<Predicate, string>()

/** A rule with the id that its consumer, effect, origin and content give it. */
export function makeRule(consumer: string, effect: RuleEffect, predicate: Predicate, origin: RuleOrigin): FilterRule {
  return {
    id: `${consumer} ${effect} ${origin.kind}/${origin.name} ${contentHash(predicate)}`,
    effect,
    predicate,
    origin,
  }
}

/** 12 hexadecimal digits; the same for predicates that say the same in the same order. */
export function contentHash(predicate: Predicate): string {
  let hash = hashes.get(predicate)
  if (hash === undefined) {
    hash = createHash('sha256').update(JSON.stringify(predicate)).digest('hex').slice(0, 12)
    hashes.set(predicate, hash)
  }
  return hash
}

/** A filter that is there twice is one rule: ids are unique. */
function distinct(rules: readonly FilterRule[]): FilterRule[] {
  return [...new Map(rules.map((rule) => [rule.id, rule])).values()]
}

/** Do two sets say the same? */
export function sameRules(a: RuleSet, b: RuleSet): boolean {
  return a.consumers.length === b.consumers.length && a.consumers.every((one, i) => sameConsumer(one, b.consumers[i]!))
}

export function sameConsumer(a: FilterConsumer, b: FilterConsumer): boolean {
  return (
    a.name === b.name &&
    a.bit === b.bit &&
    a.kinds === b.kinds &&
    a.isOn === b.isOn &&
    a.rules.length === b.rules.length &&
    // The interest that narrows a rule is in its predicate, not in its id.
    a.rules.every(
      (rule, i) => rule.id === b.rules[i]!.id && contentHash(rule.predicate) === contentHash(b.rules[i]!.predicate),
    )
  )
}
