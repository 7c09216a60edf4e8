import type { z } from 'zod'
import { closest } from './closest.ts'
import { LIMITS } from './limits.ts'
import { type Problem, remark, wanted } from './problem.ts'
import { endpointFields, filterFields, specFields } from './schema.ts'

type About = keyof typeof specFields

/**
 * Sentences for zod's issues; the last one says when there are more.
 *
 * @param about which kind's fields are known
 */
export function describeMistakes(issues: readonly z.core.$ZodIssue[], root: unknown, about: About): Problem[] {
  const problems: Problem[] = []
  for (const issue of issues) {
    if (problems.length > LIMITS.mistakes) break
    describe(issue, [], root, about, problems)
  }
  return limited(problems)
}

/** The first LIMITS.mistakes, and a word about the rest. */
export function limited(problems: readonly Problem[]): Problem[] {
  if (problems.length <= LIMITS.mistakes) return [...problems]
  return [...problems.slice(0, LIMITS.mistakes), { path: ['spec'], text: remark('and more of the kind') }]
}

function describe(
  issue: z.core.$ZodIssue,
  base: readonly PropertyKey[],
  root: unknown,
  about: About,
  out: Problem[],
): void {
  const path = [...base, ...issue.path]
  const value = valueAt(root, path)
  if (issue.code === 'unrecognized_keys') {
    const keys = knownKeys(path, about)
    for (const key of issue.keys) out.push({ path: [...path, key], text: remark(unknownKey(key, path, keys)) })
    return
  }
  const branch = issue.code === 'invalid_union' ? matchingBranch(issue.errors, value) : undefined
  if (branch !== undefined && branch.length > 0) {
    for (const inner of branch) describe(inner, path, root, about, out)
    return
  }
  if (issue.code === 'invalid_key') {
    const message = issue.issues[0]?.message ?? issue.message
    out.push({ path, text: wanted(String(issue.path.at(-1) ?? ''), message) })
    return
  }
  // Every schema but those of objects has words of its own.
  const want = issue.message.startsWith('Invalid input') ? 'want an object' : issue.message
  out.push({ path, text: wanted(value, want) })
}

/** Of a value that may be a list or one element: what is wrong with the form that it has. */
function matchingBranch(
  branches: readonly (readonly z.core.$ZodIssue[])[],
  value: unknown,
): readonly z.core.$ZodIssue[] | undefined {
  if (Array.isArray(value)) return branches[0]
  return typeof value === 'object' && value !== null ? branches.at(-1) : undefined
}

const ENDPOINT_HINTS: Readonly<Record<string, string>> = {
  pod: 'namespacedPod',
  pods: 'namespacedPod',
  podname: 'namespacedPod',
  namespace: 'namespacedPod with the value "namespace/"',
  cidr: 'ip',
  ips: 'ip',
  address: 'ip',
  labels: 'labelSelector.matchLabels',
  matchlabels: 'labelSelector.matchLabels',
  matchexpressions: 'labelSelector.matchExpressions',
  deployment: 'workload',
}

const FILTER_HINTS: Readonly<Record<string, string>> = {
  port: 'from.port or to.port',
  namespacedpod: 'from.namespacedPod or to.namespacedPod',
  labelselector: 'from.labelSelector or to.labelSelector',
  ip: 'from.ip or to.ip',
  service: 'from.service or to.service',
  workload: 'from.workload or to.workload',
  source: 'from',
  destination: 'to',
  source_pod: 'from.namespacedPod',
  destination_pod: 'to.namespacedPod',
  source_ip: 'from.ip',
  destination_ip: 'to.ip',
  direction: 'trafficDirection',
  drop_reason_desc: 'reason',
}

function unknownKey(key: string, path: readonly PropertyKey[], known: readonly string[]): string {
  const hints = path.at(-1) === 'from' || path.at(-1) === 'to' ? ENDPOINT_HINTS : isFilter(path) ? FILTER_HINTS : {}
  const lower = key.toLowerCase()
  const meant =
    known.find((name) => name.toLowerCase() === lower) ??
    (Object.hasOwn(hints, lower) ? hints[lower] : undefined) ??
    closest(key, known)
  const list = known.length === 0 ? '' : `; want one of ${known.join(', ')}`
  return meant === undefined ? `unknown field${list}` : `unknown field, did you mean ${meant}?`
}

const LISTS = /^(?:include|exclude)filters$/i

/** Is the place a filter: an element of a list of filters, or the one that stands in place of the list? */
function isFilter(path: readonly PropertyKey[]): boolean {
  const last = typeof path.at(-1) === 'number' ? path.at(-2) : path.at(-1)
  return LISTS.test(String(last))
}

function knownKeys(path: readonly PropertyKey[], about: About): readonly string[] {
  const last = path.at(-1)
  if (path.length === 0) return ['apiVersion', 'kind', 'metadata', 'spec']
  if (path.length === 1) return specFields[about]
  if (last === 'from' || last === 'to') return endpointFields
  if (last === 'labelSelector') return ['matchLabels', 'matchExpressions']
  if (isFilter(path)) return filterFields
  const inList = typeof last === 'number' ? path.at(-2) : last
  if (inList === 'matchExpressions') return ['key', 'operator', 'values']
  if (inList === 'workload') return ['kind', 'name']
  if (inList === 'filters') return ['metric', 'includeFilters', 'excludeFilters']
  return []
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Record<PropertyKey, unknown>)[key]
  }
  return value
}
