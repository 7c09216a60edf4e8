import { errorText, SluiceError } from '../../base/errors.ts'
import { parseYamlDocuments, type TextDocument } from '../../base/yaml-document.ts'
import { resourceKind } from './kinds.ts'

/** Longest file that is read, characters: what a ConfigMap can hold. Longer YAML would hold the event loop. */
export const MAX_FILE_CHARS = 1 << 20
/** Documents of one file. */
export const MAX_DOCUMENTS = 256

/** A document of a file that is of one of the kinds. */
export interface FileDocument {
  readonly kind: string
  /** metadata.name; '' when it has none that is text. */
  readonly name: string
  readonly value: unknown
  readonly file: string
  lineOf(path: readonly PropertyKey[]): number | undefined
}

export interface FileContent {
  readonly documents: readonly FileDocument[]
  /** What of the file cannot be used: `file:line: what is wrong`. */
  readonly problems: readonly string[]
}

/**
 * Reads the text of a file: YAML or JSON, several documents behind another, lists as kubectl writes them. What the
 * documents say is not looked at beyond kind and name; one that cannot be read leaves the others.
 *
 * @param file named in problems
 */
export function readResourceFile(text: string, file: string): FileContent {
  if (text.length > MAX_FILE_CHARS) {
    return { documents: [], problems: [`${file}: ${text.length} characters, want at most ${MAX_FILE_CHARS}`] }
  }
  let parsed: readonly TextDocument[]
  try {
    parsed = file.endsWith('.json')
      ? [jsonDocument(text)]
      : parseYamlDocuments(text, { file, code: 'SLUICE_FILTER_INVALID' })
  } catch (error) {
    return { documents: [], problems: [SluiceError.is(error) ? lastLine(error) : `${file}: ${errorText(error)}`] }
  }
  const documents: FileDocument[] = []
  const problems: string[] = []
  for (const document of parsed) {
    problems.push(...document.problems)
    for (const one of items(document, file)) {
      if (documents.length >= MAX_DOCUMENTS) {
        problems.push(`${file}: more than ${MAX_DOCUMENTS} documents, want at most as many`)
        return { documents, problems }
      }
      if (resourceKind(one.kind) === undefined) problems.push(foreign(one))
      else documents.push(one)
    }
  }
  return { documents, problems }
}

/** The problem itself, without the headline over it. */
function lastLine(error: SluiceError): string {
  return error.message.split('\n').at(-1)!.trim()
}

function jsonDocument(text: string): TextDocument {
  return { value: text.trim() === '' ? undefined : JSON.parse(text), problems: [], lineOf: () => 0 }
}

function* items(document: TextDocument, file: string): Generator<FileDocument> {
  const { value } = document
  if (value === undefined) return
  const list = isObject(value) && /List$/.test(String(value['kind'])) ? value['items'] : undefined
  if (!Array.isArray(list)) {
    yield item(value, [], document, file)
    return
  }
  for (const [index, one] of list.entries()) yield item(one, ['items', index], document, file)
}

function item(value: unknown, base: readonly PropertyKey[], document: TextDocument, file: string): FileDocument {
  const kind = isObject(value) ? value['kind'] : undefined
  const metadata = isObject(value) ? value['metadata'] : undefined
  const name = isObject(metadata) ? metadata['name'] : undefined
  return {
    kind: typeof kind === 'string' ? kind : '',
    name: typeof name === 'string' ? name : '',
    value,
    file,
    // 0 stands for "no lines": JSON.
    lineOf: (path) => document.lineOf([...base, ...path]) || undefined,
  }
}

function foreign({ kind, file, lineOf }: FileDocument): string {
  const line = lineOf(['kind'])
  const where = line === undefined ? file : `${file}:${line}`
  return `${where}: kind ${JSON.stringify(kind.slice(0, 80))} is no filter resource and is left out`
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
