import { errorText, SluiceError } from '../../base/errors.ts'
import { parseYamlDocumentsApart } from '../../base/yaml-apart.ts'
import { parseYamlDocuments, type TextDocument, type YamlOptions } from '../../base/yaml-document.ts'
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
  /** Some of the problems are of the text: documents may be in it that cannot be told. */
  readonly isBroken: boolean
}

/**
 * Reads the text of a file: YAML or JSON, several documents behind another, lists as kubectl writes them. What the
 * documents say is not looked at beyond kind and name; one that cannot be read leaves the others.
 *
 * @param file named in problems; its ending says what it is
 */
export function readResourceFile(text: string, file: string): FileContent {
  const refused = tooLong(text, file)
  if (refused !== undefined) return refused
  try {
    return contentOf(isJson(file) ? [jsonDocument(text)] : parseYamlDocuments(text, yamlOptions(file)), file)
  } catch (error) {
    return unreadable(error, file)
  }
}

/** readResourceFile() that does not hold the event loop. */
export async function readResourceFileApart(text: string, file: string): Promise<FileContent> {
  const refused = tooLong(text, file)
  if (refused !== undefined) return refused
  try {
    const parsed = isJson(file) ? [jsonDocument(text)] : await parseYamlDocumentsApart(text, yamlOptions(file))
    return contentOf(parsed, file)
  } catch (error) {
    return unreadable(error, file)
  }
}

function isJson(file: string): boolean {
  return file.endsWith('.json')
}

function yamlOptions(file: string): YamlOptions {
  return { file, code: 'SLUICE_FILTER_INVALID' }
}

function tooLong(text: string, file: string): FileContent | undefined {
  if (text.length <= MAX_FILE_CHARS) return undefined
  const problem = `${file}: ${text.length} characters, want at most ${MAX_FILE_CHARS}`
  return { documents: [], problems: [problem], isBroken: true }
}

function unreadable(error: unknown, file: string): FileContent {
  const text = SluiceError.is(error) ? lastLine(error) : `${file}: ${errorText(error)}`
  return { documents: [], problems: [text], isBroken: true }
}

function contentOf(parsed: readonly TextDocument[], file: string): FileContent {
  const documents: FileDocument[] = []
  const problems: string[] = []
  const isBroken = parsed.some((document) => document.problems.length > 0)
  for (const document of parsed) {
    problems.push(...document.problems)
    for (const one of items(document, file)) {
      if (documents.length >= MAX_DOCUMENTS) {
        problems.push(`${file}: more than ${MAX_DOCUMENTS} documents, want at most as many`)
        return { documents, problems, isBroken }
      }
      if (resourceKind(one.kind) === undefined) problems.push(foreign(one))
      else documents.push(one)
    }
  }
  return { documents, problems, isBroken }
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
