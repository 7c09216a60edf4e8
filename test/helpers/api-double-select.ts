import { type KubeObject, Refusal } from './api-double-store.ts'

export type Selects = (object: KubeObject) => boolean

/** Label and field selectors of a query, as one function. @throws Refusal 400 */
export function selectorOf(query: URLSearchParams): Selects {
  const labels = labelTerms(query.get('labelSelector') ?? '')
  const fields = fieldTerms(query.get('fieldSelector') ?? '')
  return (object) => labels.every((term) => term(object)) && fields.every((term) => term(object))
}

function labelTerms(text: string): Selects[] {
  // Commas inside of parentheses belong to a set.
  const parts = text === '' ? [] : text.split(/,(?![^(]*\))/)
  return parts.map((part) => labelTerm(part.trim()))
}

function labelTerm(part: string): Selects {
  const set = /^([^\s!=]+)\s+(in|notin)\s+\(([^)]*)\)$/.exec(part)
  if (set !== null) {
    const values = set[3]!.split(',').map((value) => value.trim())
    const isIn = set[2] === 'in'
    return (object) => {
      const value = object.metadata.labels?.[set[1]!]
      return value === undefined ? !isIn : values.includes(value) === isIn
    }
  }
  const equality = /^([^\s!=]+)\s*(==|=|!=)\s*(\S*)$/.exec(part)
  if (equality !== null) {
    const [, key, operator, value] = equality
    return (object) => (object.metadata.labels?.[key!] === value) === (operator !== '!=')
  }
  const existence = /^(!?)([^\s!=]+)$/.exec(part)
  if (existence !== null) {
    return (object) => (object.metadata.labels?.[existence[2]!] !== undefined) === (existence[1] === '')
  }
  throw new Refusal(400, 'BadRequest', `unable to parse requirement: ${part}`)
}

const FIELDS: Readonly<Record<string, readonly string[]>> = {
  'metadata.name': ['metadata', 'name'],
  'metadata.namespace': ['metadata', 'namespace'],
  'spec.nodeName': ['spec', 'nodeName'],
  'status.phase': ['status', 'phase'],
}

function fieldTerms(text: string): Selects[] {
  const parts = text === '' ? [] : text.split(',')
  return parts.map((part) => {
    const match = /^([^=!]+)(=|==|!=)(.*)$/.exec(part)
    const path = FIELDS[match?.[1] ?? '']
    if (match === null || path === undefined) throw new Refusal(400, 'BadRequest', `field label not supported: ${part}`)
    return (object) => {
      let value: unknown = object
      for (const field of path) value = (value as Record<string, unknown> | undefined)?.[field]
      return ((value ?? '') === match[3]) === (match[2] !== '!=')
    }
  })
}
