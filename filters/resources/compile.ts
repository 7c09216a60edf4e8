import { SluiceError } from '../../base/errors.ts'
import { finish, finishSliced, type Steps } from '../../base/steps.ts'
import { pathText } from '../../base/yaml-document.ts'
import { describePredicate } from '../describe.ts'
import { flowFilterPredicate } from '../hubble/index.ts'
import { checkSize } from '../hubble/limits.ts'
import type { FlowFilterMessage } from '../hubble/message.ts'
import { isEverything, type Predicate } from '../predicate.ts'
import type { RuleEffect, RuleOrigin } from '../rules.ts'
import { adviseFilter } from './advice.ts'
import { covers } from './covers.ts'
import { type FilterResource, readSteps } from './document.ts'
import { flowFilterOf } from './filter.ts'
import type { KindName, MetricFamily } from './kinds.ts'
import { LIMITS } from './limits.ts'
import { limited } from './mistakes.ts'
import { type Problem, remark } from './problem.ts'
import type { FilterSpec } from './schema.ts'

/** One filter of a resource. */
export interface CompiledFilter {
  readonly effect: RuleEffect
  readonly predicate: Predicate
  /** The same as Hubble's FlowFilter. */
  readonly message: FlowFilterMessage
  readonly origin: RuleOrigin
  /** Of the filter in its document: what origin.path spells. */
  readonly path: readonly PropertyKey[]
}

/** The filters of one consumer: any include, or all flows when there is none, and no exclude. */
export interface FilterGroup {
  /** `metric/flow`, `log` */
  readonly consumer: string
  readonly include: readonly CompiledFilter[]
  readonly exclude: readonly CompiledFilter[]
}

export interface CompiledResource {
  readonly kind: KindName
  readonly name: string
  readonly groups: readonly FilterGroup[]
  /** What becomes of metrics that it does not name; undefined for what is configured. */
  readonly unlisted: 'keep' | 'drop' | undefined
}

export type CompileResult =
  | { readonly compiled: CompiledResource; readonly warnings: readonly Problem[]; readonly mistakes?: undefined }
  | { readonly compiled?: undefined; readonly warnings?: undefined; readonly mistakes: readonly Problem[] }

/** What a resource says: what it means, what is wrong with it, and what is hardly meant. */
export function compileResource(resource: FilterResource): CompileResult {
  return finish(compileSteps(resource))
}

/** readDocument() and compileResource() in slices of some milliseconds. @param value anything */
export function compileDocument(value: unknown): Promise<CompileResult> {
  return finishSliced(documentSteps(value))
}

function* documentSteps(value: unknown): Steps<CompileResult> {
  const { resource, mistakes } = yield* readSteps(value)
  return resource === undefined ? { mistakes } : yield* compileSteps(resource)
}

/** A list of filters in its place. */
interface FilterList {
  readonly consumer: string
  readonly metric: MetricFamily | undefined
  readonly effect: RuleEffect
  readonly path: readonly PropertyKey[]
  readonly specs: readonly FilterSpec[]
}

/** A filter on its way. */
interface Draft {
  readonly list: FilterList
  readonly spec: FilterSpec
  readonly path: readonly PropertyKey[]
  readonly message: FlowFilterMessage
}

function* compileSteps(resource: FilterResource): Steps<CompileResult> {
  const warnings: Problem[] = []
  const warn = (problem: Problem) => {
    if (warnings.length <= LIMITS.mistakes) warnings.push(problem)
  }
  const drafts: Draft[] = []
  for (const list of filterLists(resource)) {
    for (const [index, spec] of list.specs.entries()) {
      const path = [...list.path, index]
      const message = flowFilterOf(spec, path, warn)
      drafts.push({ list, spec, path, message })
      adviseFilter({ spec, message, path, effect: list.effect, isAlone: list.specs.length === 1 }, list.metric, warn)
      yield
    }
  }
  const mistakes: Problem[] = []
  const compiled = new Map<FilterList, CompiledFilter[]>()
  const tooLarge = sizeProblem(drafts)
  if (tooLarge !== undefined) return { mistakes: [tooLarge] }
  for (const draft of drafts) {
    const filter = compileDraft(draft, resource, mistakes)
    if (filter !== undefined) compiled.set(draft.list, [...(compiled.get(draft.list) ?? []), filter])
    yield
  }
  if (mistakes.length > 0) return { mistakes: limited(mistakes) }
  const groups = groupsOf(compiled)
  for (const group of groups) yield* adviseGroup(group, warn)
  const unlisted = resource.about === 'metrics' ? resource.spec.unlisted : undefined
  const result: CompiledResource = { kind: resource.kind, name: resource.name, groups, unlisted }
  return { compiled: result, warnings: limited(warnings) }
}

function filterLists(resource: FilterResource): FilterList[] {
  if (resource.about === 'log') {
    const { includefilters, excludefilters } = resource.spec
    const list = (effect: RuleEffect, field: string, specs: readonly FilterSpec[] = []): FilterList => ({
      consumer: 'log',
      metric: undefined,
      effect,
      path: ['spec', field],
      specs,
    })
    return [list('include', 'includefilters', includefilters), list('exclude', 'excludefilters', excludefilters)]
  }
  return resource.spec.filters.flatMap(({ metric, includeFilters, excludeFilters }, index) => {
    const list = (effect: RuleEffect, field: string, specs: readonly FilterSpec[] = []): FilterList => ({
      consumer: `metric/${metric}`,
      metric,
      effect,
      path: ['spec', 'filters', index, field],
      specs,
    })
    return [list('include', 'includeFilters', includeFilters), list('exclude', 'excludeFilters', excludeFilters)]
  })
}

function sizeProblem(drafts: readonly Draft[]): Problem | undefined {
  try {
    checkSize(
      'spec',
      drafts.map(({ message }) => message),
    )
    return undefined
  } catch (error) {
    if (!SluiceError.is(error)) throw error
    return { path: ['spec'], text: remark(withoutPrefix(error.message)) }
  }
}

function compileDraft(draft: Draft, resource: FilterResource, mistakes: Problem[]): CompiledFilter | undefined {
  const { list, message, path, spec } = draft
  try {
    const predicate = flowFilterPredicate(message)
    const origin: RuleOrigin = {
      kind: resource.kind,
      name: resource.name,
      path: pathText(path),
      label: spec.name ?? '',
      text: describePredicate(predicate),
    }
    return { effect: list.effect, predicate, message, origin, path }
  } catch (error) {
    if (!SluiceError.is(error)) throw error
    mistakes.push({ path: [...path, ...fieldPath(error.message)], text: remark(withoutPrefix(error.message)) })
    return undefined
  }
}

/** `invalid source_label filter: ...`: what filterError() begins with. */
const PREFIX = /^invalid ([a-z_]+) filter: /

function withoutPrefix(message: string): string {
  return message.replace(PREFIX, '')
}

const ENDPOINT_FIELDS: Readonly<Record<string, string>> = { pod: 'namespacedPod', label: 'labelSelector' }

/** Where the field of a FlowFilter came from, below the filter. */
function fieldPath(message: string): string[] {
  const name = PREFIX.exec(message)?.[1]
  if (name === undefined) return []
  const side = /^(source|destination)_(.+)$/.exec(name)
  if (side === null) return [name === 'drop_reason_desc' ? 'reason' : camelCase(name)]
  const field = side[2]!
  return [side[1] === 'source' ? 'from' : 'to', ENDPOINT_FIELDS[field] ?? camelCase(field)]
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

/** Lists of one consumer together. */
function groupsOf(lists: ReadonlyMap<FilterList, readonly CompiledFilter[]>): FilterGroup[] {
  const groups = new Map<string, { include: CompiledFilter[]; exclude: CompiledFilter[] }>()
  for (const [{ consumer, effect }, filters] of lists) {
    const group = groups.get(consumer) ?? { include: [], exclude: [] }
    group[effect].push(...filters)
    groups.set(consumer, group)
  }
  return [...groups].map(([consumer, group]) => ({ consumer, ...group }))
}

/** Filters of a group that change nothing beside others. */
function* adviseGroup(group: FilterGroup, warn: (problem: Problem) => void): Steps<void> {
  for (const filters of [group.include, group.exclude]) {
    for (const [index, filter] of filters.entries()) {
      const other = filters.find((one, i) => i !== index && isShadowed(filter, one, i < index))
      if (other !== undefined) warn({ path: filter.path, text: remark(shadowText(filter, other)) })
      yield
    }
  }
  for (const filter of group.include) {
    const other = group.exclude.find((one) => !isEverything(one.predicate) && covers(one.predicate, filter.predicate))
    if (other !== undefined) {
      const text = `has no effect: ${other.origin.path} leaves out all that it matches`
      warn({ path: filter.path, text: remark(text) })
    }
    yield
  }
}

/** Of two filters that match the same the later one is shadowed. */
function isShadowed(filter: CompiledFilter, other: CompiledFilter, isEarlier: boolean): boolean {
  // A filter that matches everything has a warning of its own, which says the same of all others.
  if (isEverything(other.predicate) || !covers(other.predicate, filter.predicate)) return false
  return isEarlier || !covers(filter.predicate, other.predicate)
}

function shadowText(filter: CompiledFilter, other: CompiledFilter): string {
  return covers(filter.predicate, other.predicate)
    ? `is the same as ${other.origin.path}`
    : `changes nothing: ${other.origin.path} matches all that it matches`
}
