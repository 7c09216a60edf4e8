import { DROP_REASONS } from '../model/drop-reasons.ts'
import { ipText } from '../model/flow-view.ts'
import { TRAFFIC_DIRECTION_NAMES, VERDICT_NAMES } from '../model/names.ts'
import type { Prefix } from './address.ts'
import { type FieldTest, isEverything, isNothing, type NamespacedName, type Predicate } from './predicate.ts'

/** Values of one test that are shown; the rest is counted. */
const MAX_VALUES = 4
/** Longest text made; the rest is cut. */
const MAX_LENGTH = 400

/**
 * A predicate in one line, for people: `from pod traffic/http, verdict dropped`. Commas are AND. Tests of one end stand
 * together behind `from` or `to`.
 */
export function describePredicate(predicate: Predicate): string {
  const text = describe(predicate)
  return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH - 1)}…` : text
}

function describe(predicate: Predicate): string {
  if (isEverything(predicate)) return 'everything'
  if (isNothing(predicate)) return 'nothing'
  switch (predicate.op) {
    case 'all':
      return describeAll(predicate.of)
    case 'any':
      return limited(predicate.of.map(bracketed)).join(' or ')
    case 'not':
      return `not ${bracketed(predicate.of)}`
    default: {
      const end = endOf(predicate)
      return end === undefined ? testText(predicate) : `${end} ${testText(predicate)}`
    }
  }
}

function bracketed(predicate: Predicate): string {
  const isOne = (predicate.op !== 'all' && predicate.op !== 'any') || predicate.of.length <= 1
  return isOne ? describe(predicate) : `(${describe(predicate)})`
}

function describeAll(parts: readonly Predicate[]): string {
  const ends: Record<string, string[]> = { from: [], to: [] }
  const rest: string[] = []
  for (const part of flattened(parts)) {
    const end = part.op === 'all' || part.op === 'any' || part.op === 'not' ? undefined : endOf(part)
    if (end === undefined) rest.push(bracketed(part))
    else ends[end]!.push(testText(part as FieldTest))
  }
  const sides = Object.entries(ends).flatMap(([end, tests]) =>
    tests.length === 0 ? [] : `${end} ${tests.join(' and ')}`,
  )
  return [...sides, ...rest].join(', ')
}

/** The parts of an AND, those of ANDs within it included. */
export function flattened(parts: readonly Predicate[]): Predicate[] {
  return parts.flatMap((part) => (part.op === 'all' && part.of.length > 0 ? flattened(part.of) : part))
}

function endOf(test: FieldTest): 'from' | 'to' | undefined {
  return 'side' in test ? (test.side === 'source' ? 'from' : 'to') : undefined
}

function testText(test: FieldTest): string {
  const [word, values] = parts(test)
  return values.length === 0 ? word : `${word} ${limited(values).join(' or ')}`
}

function limited(values: readonly string[]): string[] {
  if (values.length <= MAX_VALUES + 1) return [...values]
  return [...values.slice(0, MAX_VALUES), `${values.length - MAX_VALUES} more`]
}

/** Word and values of a test. */
function parts(test: FieldTest): [word: string, values: string[]] {
  switch (test.op) {
    case 'uuid':
    case 'trace-id':
      return [test.op.replace('-', ' '), [...test.values]]
    case 'event-type':
      return [
        'event type',
        test.entries.map(({ type, subType }) => (subType === undefined ? `${type}` : `${type}/${subType}`)),
      ]
    case 'verdict':
      return ['verdict', test.values.map((value) => (VERDICT_NAMES[value] ?? String(value)).toLowerCase())]
    case 'drop-reason':
      return ['reason', test.values.map((value) => DROP_REASONS[value]?.text ?? String(value))]
    case 'reply':
      return [test.values.length > 1 ? 'reply or not' : test.values[0] ? 'replies' : 'no replies', []]
    case 'encrypted':
      return [test.values.length > 1 ? 'encrypted or not' : test.values[0] ? 'encrypted' : 'not encrypted', []]
    case 'identity':
      return ['identity', test.values.map(String)]
    case 'protocol':
      return ['protocol', [...test.names]]
    case 'ip':
      return ['ip', [...test.addresses.map((bytes) => ipText(bytes, 0)), ...test.prefixes.map(prefixText)]]
    case 'pod':
    case 'service':
      return [test.op, test.names.map(nameText)]
    case 'workload':
      return ['workload', test.entries.map(({ kind, name }) => `${kind === '' ? 'any kind' : kind}/${name}`)]
    case 'fqdn':
      return ['name', [...test.pattern.globs]]
    case 'node-name':
      return ['node', [...test.pattern.globs]]
    case 'label':
      return ['label', test.selectors.map(({ source }) => source || 'any')]
    case 'node-label':
      return ['node label', test.selectors.map(({ source }) => source || 'any')]
    case 'port':
      return ['port', test.ports.map(String)]
    case 'dns-query':
      return ['DNS query', test.patterns.map(({ source }) => source)]
    case 'http-status':
      return ['HTTP status', [...test.full.map(String), ...test.prefixes.map((prefix) => `${prefix}+`)]]
    case 'http-method':
      return ['HTTP method', [...test.methods]]
    case 'http-path':
      return ['HTTP path', test.patterns.map(({ source }) => source)]
    case 'http-url':
      return ['HTTP URL', test.patterns.map(({ source }) => source)]
    case 'http-header':
      return ['HTTP header', test.headers.map(({ key, value }) => `${key}: ${value}`)]
    case 'tcp-flags':
      return ['TCP flags', test.masks.map(flagsText)]
    case 'cluster-name':
      return ['cluster', [...test.names]]
    case 'ip-version':
      return ['IP version', test.versions.map(String)]
    case 'traffic-direction':
      return ['direction', test.values.map((value) => (TRAFFIC_DIRECTION_NAMES[value] ?? String(value)).toLowerCase())]
    case 'interface':
      return ['interface', test.entries.map(({ name, index }) => name || String(index))]
    case 'cel':
      return ['CEL', test.programs.map(({ source }) => source)]
  }
}

function nameText({ namespace, prefix }: NamespacedName): string {
  return `${namespace}/${prefix}`
}

function prefixText({ bytes, bits }: Prefix): string {
  return `${ipText(bytes, 0)}/${bits}`
}

const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS']

function flagsText(mask: number): string {
  return FLAGS.filter((_, bit) => (mask >> bit) & 1).join('+') || 'any'
}
