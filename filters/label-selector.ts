import { type Prefix, parsePrefix, prefixCovers } from './address.ts'
import { type LabelKey, type LabelRequirement, parseSelector } from './label-grammar.ts'

/** Longest selector accepted, characters. */
export const MAX_SELECTOR_LENGTH = 4096

/** A label selector; all requirements must hold. */
export interface LabelSelector {
  readonly source: string
  readonly requirements: readonly LabelRequirement[]
  /** @param labels as flow.proto Endpoint.labels has them: `source:key=value`; parse them once with parseLabels() */
  matches(labels: readonly ParsedLabel[]): boolean
}

/** A label of a flow. */
export interface ParsedLabel {
  readonly source: string
  readonly key: string
  readonly value: string
  /** Set on labels of source `cidr` whose key is a prefix. */
  readonly prefix: Prefix | undefined
}

/**
 * Selectors in Kubernetes' grammar with Cilium's sources: `k8s:app=web`, `!any:tier`, `cidr:10.0.0.0/8`, `env in (a, b)`.
 * A key without source is looked for in every source.
 *
 * @throws Error naming what was found and what was expected
 */
export function compileSelector(source: string): LabelSelector {
  if (source.length > MAX_SELECTOR_LENGTH) {
    throw new Error(`selector of ${source.length} characters, want at most ${MAX_SELECTOR_LENGTH}`)
  }
  const requirements = parseSelector(source)
  const tests = requirements.map(requirementTest)
  return { source, requirements, matches: (labels) => tests.every((test) => test(labels)) }
}

/** Reads labels the way Cilium does; sorted by key, so that the first of several sources is the same one everywhere. */
export function parseLabels(labels: readonly string[]): readonly ParsedLabel[] {
  return labels.map(parseLabel).sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
}

function parseLabel(text: string): ParsedLabel {
  const [source, rest] = splitSource(text)
  const equals = rest.indexOf('=')
  let key = equals < 0 ? rest : rest.slice(0, equals)
  let value = equals < 0 ? '' : rest.slice(equals + 1)
  if (equals === 0 && source === 'reserved') {
    key = value
    value = ''
  }
  return {
    source: source === '' ? 'unspec' : source,
    key,
    value,
    prefix: source === 'cidr' ? keyPrefix(key) : undefined,
  }
}

function splitSource(text: string): [source: string, rest: string] {
  if (text.startsWith('$')) return ['reserved', text.slice(1)]
  const colon = text.indexOf(':')
  if (colon >= 0) return [text.slice(0, colon), text.slice(colon + 1)]
  return text.startsWith('reserved.') ? ['reserved', text.slice('reserved.'.length)] : ['', text]
}

/** Keys of CIDR labels write `-` for the colons of IPv6. */
function keyPrefix(key: string): Prefix | undefined {
  return parsePrefix(key.replaceAll('-', ':'))
}

function requirementTest(requirement: LabelRequirement): (labels: readonly ParsedLabel[]) => boolean {
  const find = finder(requirement.key)
  const { values } = requirement
  switch (requirement.operator) {
    case 'exists':
      return (labels) => find(labels) !== undefined
    case '!':
      return (labels) => find(labels) === undefined
    case 'in':
      return (labels) => {
        const label = find(labels)
        return label !== undefined && values.includes(label.value)
      }
    case 'notin':
      return (labels) => {
        const label = find(labels)
        return label === undefined || !values.includes(label.value)
      }
    case '>':
      return numeric(find, values[0]!, (a, b) => a > b)
    case '<':
      return numeric(find, values[0]!, (a, b) => a < b)
  }
}

type Finder = (labels: readonly ParsedLabel[]) => ParsedLabel | undefined

function finder({ source, key }: LabelKey): Finder {
  if (source === 'any') return (labels) => labels.find((label) => label.key === key)
  if (source !== 'cidr') return (labels) => labels.find((label) => label.source === source && label.key === key)
  const wanted = keyPrefix(key)
  if (wanted === undefined) return () => undefined
  return (labels) => labels.find((label) => label.prefix !== undefined && prefixCovers(wanted, label.prefix))
}

function numeric(find: Finder, limit: string, compare: (a: bigint, b: bigint) => boolean) {
  const wanted = BigInt(limit)
  return (labels: readonly ParsedLabel[]) => {
    const value = parseInt64(find(labels)?.value)
    return value !== undefined && compare(value, wanted)
  }
}

function parseInt64(text: string | undefined): bigint | undefined {
  if (text === undefined || !/^[+-]?[0-9]{1,30}$/.test(text)) return undefined
  const value = BigInt(text.startsWith('+') ? text.slice(1) : text)
  return BigInt.asIntN(64, value) === value ? value : undefined
}
