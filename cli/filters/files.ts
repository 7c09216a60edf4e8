import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { errorText, SluiceError } from '../../base/errors.ts'
import type { Io } from '../io.ts'

/** A file of filter resources, as it is. */
export interface FilterText {
  /** As the user named it, for messages. */
  readonly name: string
  readonly content: string
}

/** As many as a server takes in one request (EXPLAIN_LIMITS in api/filter-service.ts). */
const MAX_FILES = 100
const MAX_CHARS = 900_000

const RESOURCE_FILE = /\.(ya?ml|json)$/i

/**
 * Reads files of filter resources.
 *
 * @param paths files, directories (their *.yaml, *.yml and *.json, by name), `-` for standard input
 * @throws SluiceError SLUICE_USAGE naming the path, or the bound that all of them together pass
 */
export async function readFilterFiles(io: Io, paths: readonly string[]): Promise<FilterText[]> {
  const files: FilterText[] = []
  let chars = 0
  const take = (name: string, content: string): void => {
    files.push({ name, content })
    chars += content.length
    if (files.length > MAX_FILES) throw tooMuch(`more than ${MAX_FILES} files`, `at most ${MAX_FILES}`)
    if (chars > MAX_CHARS) throw tooMuch(`more than ${MAX_CHARS} characters in "${name}" and before`, 'no more in all')
  }
  for (const path of paths) {
    if (path === '-') take('standard input', await readInput(io))
    else for (const file of filesOf(path)) take(file, readFile(file))
  }
  return files
}

function filesOf(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path]
    const names = readdirSync(path).filter((name) => RESOURCE_FILE.test(name) && !name.startsWith('.'))
    if (names.length === 0) throw new Error('the directory has no *.yaml, *.yml or *.json')
    return names.sort().map((name) => join(path, name))
  } catch (cause) {
    throw unreadable(path, cause)
  }
}

function readFile(path: string): string {
  try {
    const { size } = statSync(path)
    // Characters take at most four bytes.
    if (size > 4 * MAX_CHARS) throw new Error(`${size} bytes, at most ${MAX_CHARS} characters are accepted`)
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw unreadable(path, cause)
  }
}

async function readInput(io: Io): Promise<string> {
  let text = ''
  for await (const chunk of io.stdin) {
    text += String(chunk)
    if (text.length > MAX_CHARS) break
  }
  return text
}

function unreadable(path: string, cause: unknown): SluiceError {
  return new SluiceError('SLUICE_USAGE', `Cannot read "${path}": ${errorText(cause)}`, {
    cause,
    remedy: 'Name a file or a directory of filter resources, or - for standard input',
  })
}

function tooMuch(found: string, wanted: string): SluiceError {
  return new SluiceError('SLUICE_USAGE', `Cannot use --filename: ${found}, want ${wanted}`)
}
