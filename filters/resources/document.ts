import type { z } from 'zod'
import { finish, type Steps } from '../../base/steps.ts'
import { type KindName, RESOURCE_KINDS, resourceKind } from './kinds.ts'
import { LIMITS } from './limits.ts'
import { describeMistakes, limited } from './mistakes.ts'
import { type Problem, remark, wanted } from './problem.ts'
import {
  type FilterSpec,
  filterSchema,
  type LogSpec,
  logDocumentSchema,
  type MetricSpec,
  metricDocumentSchema,
} from './schema.ts'

/** A document that has the right form. */
export type FilterResource =
  | { readonly kind: KindName; readonly name: string; readonly about: 'metrics'; readonly spec: MetricSpec }
  | { readonly kind: KindName; readonly name: string; readonly about: 'log'; readonly spec: LogSpec }

export type ReadResult =
  | { readonly resource: FilterResource; readonly mistakes?: undefined }
  | { readonly resource?: undefined; readonly mistakes: readonly Problem[] }

/**
 * Checks the form of a document: every mistake at once, up to LIMITS.mistakes. What it says is not looked at here
 * (compile.ts). Takes some 100 ms for the largest document that is not refused for its size.
 *
 * @param value anything
 */
export function readDocument(value: unknown): ReadResult {
  return finish(readSteps(value))
}

/** readDocument() in steps of less than a millisecond, but for one filter with thousands of values. */
export function* readSteps(value: unknown): Steps<ReadResult> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { mistakes: [{ path: [], text: wanted(value, 'want an object with apiVersion, kind, metadata and spec') }] }
  }
  const { kind: kindName, spec } = value as { kind?: unknown; spec?: unknown }
  const kind = resourceKind(kindName)
  if (kind === undefined) {
    const kinds = RESOURCE_KINDS.map((one) => one.kind).join(', ')
    return { mistakes: [{ path: ['kind'], text: wanted(kindName, `want one of ${kinds}`) }] }
  }
  const tooLarge = checkSize(spec)
  if (tooLarge !== undefined) return { mistakes: [{ path: ['spec'], text: remark(tooLarge) }] }
  yield
  const { about } = kind
  const form = about === 'metrics' ? metricDocumentSchema.safeParse(value) : logDocumentSchema.safeParse(value)
  const mistakes = form.success ? [] : describeMistakes(form.error.issues, value, about)
  // Also of a document with mistakes the filters are looked at: all that is wrong is told at once.
  const filters = new Map<unknown, FilterSpec>()
  for (const { path, value: filter } of filtersIn(spec)) {
    const parsed = filterSchema.safeParse(filter)
    if (parsed.success) filters.set(filter, parsed.data)
    else mistakes.push(...describeMistakes(below(path, parsed.error.issues), value, about))
    if (mistakes.length > LIMITS.mistakes) break
    yield
  }
  if (mistakes.length > 0 || !form.success) return { mistakes: limited(mistakes) }
  const { data } = form
  const checked = withFilters(data.spec as Lists, filters)
  // The schemas of the kind and of its filters made these parts.
  return { resource: { kind: kind.kind, name: data.metadata.name, about, spec: checked } as FilterResource }
}

function below(path: readonly PropertyKey[], issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue[] {
  return issues.map((issue) => ({ ...issue, path: [...path, ...issue.path] }))
}

const LISTS = ['includeFilters', 'excludeFilters', 'includefilters', 'excludefilters'] as const
/** What holds lists of filters: the spec of a log, the metrics of the other kind. */
type Lists = { readonly filters?: readonly Lists[] } & { readonly [K in (typeof LISTS)[number]]?: readonly unknown[] }

/** Filters of a spec of any form, where they are: as many as there may be, and one more. */
function* filtersIn(spec: unknown): Generator<{ path: readonly PropertyKey[]; value: unknown }> {
  const holders = [{ holder: spec, path: ['spec'] as PropertyKey[] }]
  const metrics = isObject(spec) ? spec['filters'] : undefined
  if (Array.isArray(metrics)) {
    for (const [i, holder] of metrics.slice(0, 16).entries()) holders.push({ holder, path: ['spec', 'filters', i] })
  } else if (isObject(metrics)) holders.push({ holder: metrics, path: ['spec', 'filters'] })
  for (const { holder, path } of holders) {
    if (!isObject(holder)) continue
    for (const name of LISTS) {
      const list = holder[name]
      if (Array.isArray(list)) {
        for (const [i, value] of list.slice(0, LIMITS.filters).entries()) yield { path: [...path, name, i], value }
      } else if (list !== undefined) yield { path: [...path, name], value: list }
    }
  }
}

function withFilters(lists: Lists, filters: ReadonlyMap<unknown, FilterSpec>): object {
  const made: Record<string, unknown> = { ...lists }
  for (const name of LISTS) {
    const list = lists[name]
    if (list !== undefined) made[name] = list.map((filter) => filters.get(filter))
  }
  if (lists.filters !== undefined) made['filters'] = lists.filters.map((metric) => withFilters(metric, filters))
  return made
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Walks the spec before anything of it is read: what is beyond the bounds costs no more than the walk up to there.
 *
 * @returns what is too much
 */
function checkSize(spec: unknown): string | undefined {
  let nodes = 0
  let characters = 0
  const walk = (value: unknown, depth: number): string | undefined => {
    if (++nodes > LIMITS.nodes) return `more than ${LIMITS.nodes} values, want at most as many`
    if (typeof value === 'string') characters += value.length
    if (characters > LIMITS.characters) return `more than ${LIMITS.characters} characters, want at most as many`
    if (typeof value !== 'object' || value === null) return undefined
    if (depth > LIMITS.depth) return `nested deeper than ${LIMITS.depth}, want less`
    if (Array.isArray(value)) {
      for (const inner of value) {
        const problem = walk(inner, depth + 1)
        if (problem !== undefined) return problem
      }
      return undefined
    }
    for (const key in value) {
      if (!Object.hasOwn(value, key)) continue
      characters += key.length
      const problem = walk((value as Record<string, unknown>)[key], depth + 1)
      if (problem !== undefined) return problem
    }
    return undefined
  }
  return walk(spec, 0)
}
