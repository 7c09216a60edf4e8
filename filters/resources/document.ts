import { pathText } from '../../base/yaml-document.ts'
import { type KindName, RESOURCE_KINDS, resourceKind } from './kinds.ts'
import { LIMITS } from './limits.ts'
import { describeMistakes } from './mistakes.ts'
import { type Problem, remark, wanted } from './problem.ts'
import { type LogSpec, logDocumentSchema, type MetricSpec, metricDocumentSchema } from './schema.ts'

/** A document that has the right form. */
export type FilterResource =
  | { readonly kind: KindName; readonly name: string; readonly about: 'metrics'; readonly spec: MetricSpec }
  | { readonly kind: KindName; readonly name: string; readonly about: 'log'; readonly spec: LogSpec }

export type ReadResult =
  | { readonly resource: FilterResource; readonly mistakes?: undefined }
  | { readonly resource?: undefined; readonly mistakes: readonly Problem[] }

/**
 * Checks the form of a document: every mistake at once, up to LIMITS.mistakes. What it says is not looked at here
 * (compile.ts). Takes milliseconds for the largest document that is not refused for its size.
 *
 * @param value anything
 */
export function readDocument(value: unknown): ReadResult {
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
  if (tooLarge !== undefined) return { mistakes: [tooLarge] }
  const parsed = kind.about === 'metrics' ? metricDocumentSchema.safeParse(value) : logDocumentSchema.safeParse(value)
  if (!parsed.success) return { mistakes: describeMistakes(parsed.error.issues, value, kind.about) }
  const { metadata } = parsed.data
  // The schema of the kind made the spec.
  return {
    resource: { kind: kind.kind, name: metadata.name, about: kind.about, spec: parsed.data.spec } as FilterResource,
  }
}

/** Walks the spec before anything of it is read: what is beyond the bounds costs no more than the walk up to there. */
function checkSize(spec: unknown): Problem | undefined {
  let nodes = 0
  let characters = 0
  const walk = (value: unknown, path: readonly PropertyKey[]): Problem | undefined => {
    if (++nodes > LIMITS.nodes) {
      return { path: ['spec'], text: remark(`more than ${LIMITS.nodes} values, want at most as many`) }
    }
    if (typeof value === 'string') characters += value.length
    if (characters > LIMITS.characters) {
      return { path: ['spec'], text: remark(`more than ${LIMITS.characters} characters, want at most as many`) }
    }
    if (typeof value !== 'object' || value === null) return undefined
    if (path.length > LIMITS.depth) {
      return { path: ['spec'], text: remark(`nested deeper than ${LIMITS.depth} at ${pathText(path)}`) }
    }
    for (const [key, inner] of Object.entries(value)) {
      characters += key.length
      const problem = walk(inner, [...path, Array.isArray(value) ? Number(key) : key])
      if (problem !== undefined) return problem
    }
    return undefined
  }
  return walk(spec, ['spec'])
}
