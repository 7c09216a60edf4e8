import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { SluiceError } from './errors.ts'
import { DEEP_LINE, parseYamlDocuments, type TextDocument, TOO_DEEP, type YamlOptions } from './yaml-document.ts'

/** Texts up to here are parsed in place: a few milliseconds. */
const SHORT = 4096
/** What a text may take: the largest takes a second or two. */
const TIME_LIMIT_MS = 20_000
const HEAP_LIMIT_MB = 256

/** Lines of a value: its own, and of what is in it. */
interface LineTree {
  readonly line: number
  readonly children?: { readonly [key: string]: LineTree }
}

/** A document as the thread gives it back. */
interface Parsed {
  readonly value?: unknown
  readonly problems: readonly { readonly line: number; readonly message: string }[]
  readonly lines: LineTree
}

type Answer = { readonly documents: readonly Parsed[] } | { readonly fault: string }

/** One thread at a time: each has a heap of its own. */
let queue: Promise<unknown> = Promise.resolve()

/**
 * parseYamlDocuments() that does not hold the event loop: long texts are parsed in a thread, one after another, within
 * bounds of time and memory.
 *
 * @throws SluiceError for what is hostile, takes too long or too much memory
 */
export async function parseYamlDocumentsApart(text: string, options: YamlOptions): Promise<TextDocument[]> {
  if (text.length <= SHORT) return parseYamlDocuments(text, options)
  // Would take minutes even apart.
  if (DEEP_LINE.test(text)) throw new SluiceError(options.code, `Cannot use "${options.file}": ${TOO_DEEP}`)
  const turn = queue.then(() => parseInThread(text))
  queue = turn.catch(() => undefined)
  const answer = await turn
  if ('fault' in answer) throw new SluiceError(options.code, `Cannot use "${options.file}": ${answer.fault}`)
  return answer.documents.map(({ value, problems, lines }) => ({
    value,
    problems: problems.map(({ line, message }) => `${options.file}:${line}: ${message}`),
    lineOf: (path) => lineIn(lines, path),
  }))
}

function lineIn(tree: LineTree, path: readonly PropertyKey[]): number {
  let at = tree
  for (const key of path) {
    const children = at.children
    if (children === undefined || !Object.hasOwn(children, key)) break
    at = children[String(key)]!
  }
  return at.line
}

function parseInThread(text: string): Promise<Answer> {
  return new Promise((resolve) => {
    const worker = new Worker(`const __name = (f) => f\n;(${threadMain.toString()})()`, {
      eval: true,
      workerData: { text, yaml: createRequire(import.meta.url).resolve('yaml') },
      resourceLimits: { maxOldGenerationSizeMb: HEAP_LIMIT_MB },
      // Nothing of the agent's own start is meant for the thread.
      execArgv: [],
      env: {},
    })
    const end = (answer: Answer) => {
      clearTimeout(timer)
      resolve(answer)
      void worker.terminate()
    }
    const timer = setTimeout(
      () => end({ fault: `it takes more than ${TIME_LIMIT_MS / 1000} s to read` }),
      TIME_LIMIT_MS,
    )
    worker.once('message', end)
    worker.once('error', (error) => end({ fault: error.message }))
    worker.once('exit', () => end({ fault: 'reading it ended early' }))
    worker.unref()
  })
}

/**
 * Runs in the thread, as text: it can use nothing of this module, so that it works from sources and from what is built
 * of them alike.
 */
function threadMain(): void {
  const threads: typeof import('node:worker_threads') = require('node:worker_threads')
  const { text, yaml } = threads.workerData as { text: string; yaml: string }
  const { isMap, isScalar, isSeq, LineCounter, parseAllDocuments }: typeof import('yaml') = require(yaml)
  const counter = new LineCounter()
  type Tree = { line: number; children?: Record<string, Tree> }
  const linesOf = (node: unknown, line: number): Tree => {
    const range = (node as { range?: readonly number[] } | null)?.range
    const own = range?.[0] === undefined ? line : counter.linePos(range[0]).line || line
    const children: Record<string, Tree> = Object.create(null)
    if (isMap(node)) {
      for (const { key, value } of node.items) {
        if (!isScalar(key)) continue
        const at = key.range === undefined || key.range === null ? own : counter.linePos(key.range[0]).line
        const tree = linesOf(value, at)
        children[String(key.value)] = { ...tree, line: at }
      }
    } else if (isSeq(node)) {
      for (const [index, item] of node.items.entries()) children[index] = linesOf(item, own)
    } else {
      return { line: own }
    }
    return { line: own, children }
  }
  let answer: unknown
  try {
    const documents = parseAllDocuments(text, { lineCounter: counter, prettyErrors: false, logLevel: 'error' })
    const list = Array.isArray(documents) ? documents : []
    answer = {
      documents: list.map((document) => {
        const problems = [...document.errors, ...document.warnings].map(({ pos, message }) => ({
          line: counter.linePos(pos[0]).line,
          message: message.slice(0, 500),
        }))
        const value = problems.length > 0 ? undefined : (document.toJS({ maxAliasCount: 100 }) ?? undefined)
        return { value, problems, lines: linesOf(document.contents, 1) }
      }),
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    answer = { fault: error instanceof RangeError ? 'Collections are nested too deeply' : message.slice(0, 500) }
  }
  threads.parentPort?.postMessage(answer)
}
