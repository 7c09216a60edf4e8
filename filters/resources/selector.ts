import { isIdentityLabel } from '../../model/identity-labels.ts'
import { type Problem, remark, wanted } from './problem.ts'
import type { EndpointSpec } from './schema.ts'

type Path = readonly PropertyKey[]
type Selector = NonNullable<EndpointSpec['labelSelector']>

/** Keys that stand for the namespace of a pod. */
const NAMESPACE_KEYS: ReadonlySet<string> = new Set([
  'k8s.io/namespace',
  'io.kubernetes.pod.namespace',
  'kubernetes.io/metadata.name',
])
const NAMESPACE_LABEL = 'k8s:io.kubernetes.pod.namespace'

/**
 * A Kubernetes selector as text that Hubble reads.
 *
 * @returns '' for a selector that matches everything, undefined for null, which matches nothing
 */
export function selectorText(
  selector: Selector | null,
  path: Path,
  warn: (problem: Problem) => void,
): string | undefined {
  if (selector === null) {
    warn({ path, text: remark('a null selector matches nothing, and so does the filter; leave the field out instead') })
    return undefined
  }
  const parts: string[] = []
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) {
    parts.push(`${labelKey(key, [...path, 'matchLabels', key], warn)}=${value}`)
  }
  for (const [index, { key, operator, values }] of (selector.matchExpressions ?? []).entries()) {
    const label = labelKey(key, [...path, 'matchExpressions', index, 'key'], warn)
    parts.push(expression(label, operator, values ?? []))
  }
  if (parts.length === 0) warn({ path, text: remark('an empty selector matches every flow') })
  return parts.join(',')
}

function expression(key: string, operator: string, values: readonly string[]): string {
  switch (operator) {
    case 'In':
      return `${key} in (${values.join(',')})`
    case 'NotIn':
      return `${key} notin (${values.join(',')})`
    case 'Exists':
      return key
    default:
      return `!${key}`
  }
}

function labelKey(key: string, path: Path, warn: (problem: Problem) => void): string {
  const bare = key.startsWith('k8s:') ? key.slice(4) : key
  if (NAMESPACE_KEYS.has(bare)) return NAMESPACE_LABEL
  if (!bare.includes(':') && !isIdentityLabel(bare)) {
    warn({ path, text: wanted(key, 'flows do not carry this label: it differs between the pods of one workload') })
  }
  return key
}
