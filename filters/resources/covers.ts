import { Verdict } from '../../model/layouts.gen.ts'
import { type Prefix, prefixContains, prefixCovers } from '../address.ts'
import { flattened } from '../describe.ts'
import type { LabelRequirement } from '../label-grammar.ts'
import type { LabelSelector } from '../label-selector.ts'
import { type FieldTest, isEverything, isNothing, type NamespacedName, type Predicate } from '../predicate.ts'

/** Pairs of values that one comparison may take: longer lists are compared as wholes. */
const MAX_PAIRS = 4096
/** Lists up to here are searched, longer ones get a set. */
const SHORT = 8

/**
 * Does one predicate accept every flow that another one accepts? Compares field by field and is sure of its yes; a no can
 * also mean that it cannot tell (regular expressions, CEL, long lists).
 */
export function covers(wide: Predicate, narrow: Predicate): boolean {
  if (isEverything(wide) || isNothing(narrow)) return true
  if (isNothing(wide)) return false
  if (narrow.op === 'any') return narrow.of.every((part) => covers(wide, part))
  const tests = partsOf(narrow)
  return partsOf(wide).every((one) => isImplied(one, tests))
}

/** Parts of predicates by identity: each is compared with many. */
const knownParts = new WeakMap<Predicate, readonly Predicate[]>()

/** What has to hold all together. */
function partsOf(predicate: Predicate): readonly Predicate[] {
  let parts = knownParts.get(predicate)
  if (parts === undefined) {
    parts = predicate.op === 'all' ? flattened(predicate.of) : [predicate]
    knownParts.set(predicate, parts)
  }
  return parts
}

/** Does some part of an AND see to it that a condition holds? */
function isImplied(wanted: Predicate, tests: readonly Predicate[]): boolean {
  if (wanted.op === 'any' && wanted.of.some((part) => covers(part, { op: 'all', of: tests }))) return true
  return tests.some((test) => {
    if (test.op === 'any') return test.of.length > 0 && test.of.every((part) => covers(wanted, part))
    if (test.op === 'all') return false
    if (wanted.op === 'not') return test.op === 'not' && covers(test.of, wanted.of)
    if (wanted.op === 'all' || wanted.op === 'any' || test.op === 'not') return false
    return testCovers(wanted, test)
  })
}

function testCovers(wide: FieldTest, narrow: FieldTest): boolean {
  if (wide.op === 'verdict' && narrow.op === 'drop-reason') return wide.values.includes(Verdict.DROPPED)
  if ('side' in wide && (!('side' in narrow) || wide.side !== narrow.side)) return false
  if (wide.op !== narrow.op) return false
  return isSubset(wide, narrow) ?? JSON.stringify(wide) === JSON.stringify(narrow)
}

/** @returns undefined for tests that are compared as wholes */
function isSubset(wide: FieldTest, narrow: FieldTest): boolean | undefined {
  if ('values' in wide && 'values' in narrow) return hasAll<unknown>(wide.values, narrow.values)
  switch (wide.op) {
    case 'protocol':
      return hasAll(protocols(wide.names), protocols((narrow as typeof wide).names))
    case 'port':
      return hasAll(wide.ports, (narrow as typeof wide).ports)
    case 'ip-version':
      return hasAll(wide.versions, (narrow as typeof wide).versions)
    case 'cluster-name':
      return hasAll(wide.names, (narrow as typeof wide).names)
    case 'http-method':
      return hasAll(wide.methods.map(lower), (narrow as typeof wide).methods.map(lower))
    case 'dns-query':
    case 'http-path':
    case 'http-url':
      return hasAll(wide.patterns.map(source), (narrow as typeof wide).patterns.map(source))
    case 'fqdn':
    case 'node-name':
      return hasAll(wide.pattern.globs, (narrow as typeof wide).pattern.globs)
    case 'pod':
    case 'service':
      return eachBySome(wide.names, (narrow as typeof wide).names, nameCovers)
    case 'label':
    case 'node-label':
      return eachBySome(wide.selectors, (narrow as typeof wide).selectors, selectorCovers)
    case 'workload':
      return eachBySome(
        wide.entries,
        (narrow as typeof wide).entries,
        (a, b) => (a.name === '' || a.name === b.name) && (a.kind === '' || a.kind === b.kind),
      )
    case 'tcp-flags':
      return eachBySome(wide.masks, (narrow as typeof wide).masks, (a, b) => (a & b) === a)
    case 'ip':
      return addressesCover(wide, narrow as typeof wide)
    default:
      return undefined
  }
}

const lower = (text: string) => text.toLowerCase()
const source = (pattern: { readonly source: string }) => pattern.source

function hasAll<T>(wide: readonly T[], narrow: readonly T[]): boolean {
  if (wide.length <= SHORT) return narrow.every((value) => wide.includes(value))
  const set = new Set(wide)
  return narrow.every((value) => set.has(value))
}

/** Is each of the narrow ones covered by one of the wide ones? No, where that takes too long to find out. */
function eachBySome<T>(wide: readonly T[], narrow: readonly T[], test: (wide: T, narrow: T) => boolean): boolean {
  if (wide.length * narrow.length > MAX_PAIRS) return false
  return narrow.every((one) => wide.some((other) => test(other, one)))
}

/** `icmp` is both of its versions. */
function protocols(names: readonly string[]): string[] {
  return names.flatMap((name) => (name === 'icmp' ? ['icmpv4', 'icmpv6'] : [name]))
}

function nameCovers(wide: NamespacedName, narrow: NamespacedName): boolean {
  return (wide.namespace === '' || wide.namespace === narrow.namespace) && narrow.prefix.startsWith(wide.prefix)
}

function addressesCover(wide: Extract<FieldTest, { op: 'ip' }>, narrow: Extract<FieldTest, { op: 'ip' }>): boolean {
  const key = (bytes: Uint8Array) => bytes.join('.')
  const known = new Set(wide.addresses.map(key))
  const holds = (prefix: Prefix, bytes: Uint8Array) => prefixContains(prefix, bytes, 0)
  const rest = narrow.addresses.filter((bytes) => !known.has(key(bytes)))
  if ((rest.length + narrow.prefixes.length) * wide.prefixes.length > MAX_PAIRS) return false
  return (
    rest.every((bytes) => wide.prefixes.some((prefix) => holds(prefix, bytes))) &&
    narrow.prefixes.every((inner) => wide.prefixes.some((outer) => prefixCovers(outer, inner)))
  )
}

function selectorCovers(wide: LabelSelector, narrow: LabelSelector): boolean {
  if (wide.requirements.length * narrow.requirements.length > MAX_PAIRS) return false
  return wide.requirements.every((wanted) => narrow.requirements.some((given) => requirementCovers(wanted, given)))
}

function requirementCovers(wide: LabelRequirement, narrow: LabelRequirement): boolean {
  if (wide.key.source !== narrow.key.source || wide.key.key !== narrow.key.key) return false
  switch (wide.operator) {
    case 'exists':
      return narrow.operator !== '!' && narrow.operator !== 'notin'
    case 'in':
      return narrow.operator === 'in' && hasAll(wide.values, narrow.values)
    case 'notin':
      if (narrow.operator === '!') return true
      if (narrow.operator === 'notin') return hasAll(narrow.values, wide.values)
      return narrow.operator === 'in' && !narrow.values.some((value) => wide.values.includes(value))
    default:
      return wide.operator === narrow.operator && wide.values.join() === narrow.values.join()
  }
}
