import { isMap, isNode, isScalar, LineCounter, type Node, parseAllDocuments, parseDocument } from 'yaml'
import type { z } from 'zod'
import { type ErrorCode, errorText, SluiceError } from './errors.ts'

/** A YAML text that fits a schema, or one error that lists every place where it does not. */
export interface YamlOptions {
  /** Named in messages. */
  readonly file: string
  /** Code of the error thrown. */
  readonly code: ErrorCode
  /** Largest text accepted, bytes. */
  readonly maxBytes?: number
}

/**
 * Parses YAML and validates it against a schema.
 *
 * @throws SluiceError listing each problem as `file:line: key = value: what is wrong`; nothing is half applied
 */
export function parseYaml<T extends z.ZodType>(text: string, schema: T, options: YamlOptions): z.output<T> {
  const { document, lines } = parseDocumentStrictly(text, options)
  const value: unknown = refusing(() => document.toJS({ maxAliasCount: 100 }), refusal(options)) ?? {}
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const problems = describeIssues(result.error.issues, value).map(({ path, text: problem }) => {
    const line = lineOf(document.contents, path, lines)
    return `${options.file}:${line}: ${problem}`
  })
  throw new SluiceError(options.code, joined(options.file, problems))
}

/** One problem of a value: where, and a sentence that names key, value and remedy. */
export interface ValueProblem {
  readonly path: readonly PropertyKey[]
  readonly text: string
}

/** Sentences for zod's issues; unknown keys are reported one by one. */
export function describeIssues(issues: readonly z.core.$ZodIssue[], value: unknown): ValueProblem[] {
  const problems: ValueProblem[] = []
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) {
        const path = [...issue.path, key]
        problems.push({ path, text: `"${pathText(path)}" is not a known key: remove it or correct its spelling` })
      }
      continue
    }
    if (issue.code === 'invalid_union' && issue.errors.length > 0) {
      const last = issue.errors.at(-1)?.[0]
      problems.push({ path: issue.path, text: sentence(issue.path, value, last?.message ?? issue.message) })
      continue
    }
    problems.push({ path: issue.path, text: sentence(issue.path, value, issue.message) })
  }
  return problems
}

function sentence(path: readonly PropertyKey[], root: unknown, message: string): string {
  const value = valueAt(root, path)
  const shown = value === undefined ? 'is missing' : `= ${shownValue(value).slice(0, 120)}`
  return `"${pathText(path)}" ${shown}: ${message}`
}

export const TOO_DEEP = 'Collections are nested too deeply'

/**
 * Calls the yaml package. It throws where a text is hostile: aliases that would grow into millions of nodes, collections
 * within collections until no stack is left.
 *
 * @param refuse makes the error of it
 */
export function refusing<T>(call: () => T, refuse: (problem: string) => SluiceError): T {
  try {
    return call()
  } catch (cause) {
    throw refuse(cause instanceof RangeError ? TOO_DEEP : errorText(cause))
  }
}

/** What one line may open; the package takes time that grows with the square of it, and more: minutes for 20,000. */
export const DEEP_LINE = /(?:[?-][ \t]+){64}/

/** parseDocument() of the yaml package, with keys unique and errors collected; refuses what it would take minutes for. */
export function yamlDocument(text: string, lineCounter: LineCounter, refuse: (problem: string) => SluiceError) {
  if (DEEP_LINE.test(text)) throw refuse(TOO_DEEP)
  return refusing(
    () => parseDocument(text, { lineCounter, uniqueKeys: true, prettyErrors: false, logLevel: 'error' }),
    refuse,
  )
}

/** One of the documents of a text, or what keeps it from being read. */
export interface TextDocument {
  /** Undefined for an empty document, and where there are problems. */
  readonly value: unknown
  /** `file:line: what is wrong`, in order. */
  readonly problems: readonly string[]
  /** Line of a value, or of the deepest one on the way to it, from 1. */
  lineOf(path: readonly PropertyKey[]): number
}

/** The text is read as a whole; a mistake in one document leaves the others. @throws SluiceError for what is hostile */
export function parseYamlDocuments(text: string, options: YamlOptions): TextDocument[] {
  const refuse = refusal(options)
  const maxBytes = options.maxBytes ?? 64 << 20
  if (text.length > maxBytes) throw refuse(`${text.length} characters, want at most ${maxBytes}`)
  if (DEEP_LINE.test(text)) throw refuse(TOO_DEEP)
  const lines = new LineCounter()
  const settings = { lineCounter: lines, uniqueKeys: true, prettyErrors: false, logLevel: 'error' } as const
  const documents = refusing(() => parseAllDocuments(text, settings), refuse)
  if (!Array.isArray(documents)) return []
  return documents.map((document) => {
    const problems = [...document.errors, ...document.warnings].map(({ pos, message }) => {
      const { line } = lines.linePos(pos[0])
      return shortened(`${options.file}:${line}: ${message}`)
    })
    const value = problems.length > 0 ? undefined : refusing(() => document.toJS({ maxAliasCount: 100 }), refuse)
    const start = document.contents?.range?.[0] ?? 0
    return { value: value ?? undefined, problems, lineOf: (path) => lineOf(document.contents, path, lines, start) }
  })
}

/** A value of a document in one line, for a message. */
export function shownValue(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    // An alias may stand inside of what it names.
    return '(a value that contains itself)'
  }
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<PropertyKey, unknown>)[key]
  }
  return value
}

/** `log.maxBackups`, `pods[3].ips[0]` */
export function pathText(path: readonly PropertyKey[]): string {
  let text = ''
  for (const key of path) text += typeof key === 'number' ? `[${key}]` : text === '' ? String(key) : `.${String(key)}`
  return text === '' ? '(document)' : text
}

function parseDocumentStrictly(text: string, options: YamlOptions) {
  const maxBytes = options.maxBytes ?? 64 << 20
  if (text.length > maxBytes) {
    throw new SluiceError(options.code, `Cannot read "${options.file}": ${text.length} bytes, at most ${maxBytes}`)
  }
  const lines = new LineCounter()
  const document = yamlDocument(text, lines, refusal(options))
  // An unknown tag is only a warning to the parser; here it is a mistake like any other.
  const problems = [...document.errors, ...document.warnings].map((problem) => {
    const { line, col } = lines.linePos(problem.pos[0])
    return `${options.file}:${line}:${col}: ${problem.message}`
  })
  if (problems.length > 0) throw new SluiceError(options.code, joined(options.file, problems))
  return { document, lines }
}

function refusal(options: YamlOptions): (problem: string) => SluiceError {
  return (problem) => new SluiceError(options.code, joined(options.file, [`${options.file}:1: ${problem}`]))
}

function lineOf(root: Node | null, path: readonly PropertyKey[], lines: LineCounter, start = 0): number {
  let node: unknown = root
  let offset = start
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key))
      if (!pair) break
      if (isNode(pair.key) && pair.key.range) offset = pair.key.range[0]
      node = pair.value
      continue
    }
    const items: unknown = (node as { items?: unknown } | null)?.items
    const item: unknown = Array.isArray(items) ? items[Number(key)] : undefined
    if (!isNode(item)) break
    if (item.range) offset = item.range[0]
    node = item
  }
  return lines.linePos(offset).line || 1
}

/** Longest text of one mistake: the yaml package quotes what it met as a whole. */
const MAX_PROBLEM_CHARS = 500

/** Text of one mistake, cut where it is too long to be read. */
export function shortened(problem: string): string {
  return problem.length > MAX_PROBLEM_CHARS ? `${problem.slice(0, MAX_PROBLEM_CHARS)}…` : problem
}

function joined(file: string, problems: readonly string[]): string {
  const shown = problems.slice(0, 50)
  const rest = problems.length - shown.length
  const count = problems.length === 1 ? '1 mistake' : `${problems.length} mistakes`
  return `Cannot use "${file}": ${count}\n${shown.map((p) => `  ${shortened(p)}`).join('\n')}${rest > 0 ? `\n  … and ${rest} more` : ''}`
}
