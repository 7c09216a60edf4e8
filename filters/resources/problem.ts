import { pathText } from '../../base/yaml-document.ts'
import { quoted } from '../errors.ts'

/** Something about a place in a document: a mistake, or a warning. */
export interface Problem {
  readonly path: readonly PropertyKey[]
  /** One sentence that names the value and what is wanted. */
  readonly text: string
}

/** How a document's places are shown: with the line where it came from a file. */
export interface Place {
  readonly file: string
  lineOf?(path: readonly PropertyKey[]): number | undefined
}

/** `filters.yaml:12: spec.filters[0].metric "http": want one of ...`; without a file it begins with the path. */
export function problemText(problem: Problem, place: Place): string {
  const { file } = place
  const line = file === '' ? undefined : place.lineOf?.(problem.path)
  const where = file === '' ? '' : line === undefined ? `${file}: ` : `${file}:${line}: `
  return `${where}${pathText(problem.path)}${problem.text}`
}

/** What follows the path: the value met, and what is wanted. */
export function wanted(value: unknown, want: string): string {
  return value === undefined ? ` is missing: ${want}` : ` ${quoted(value)}: ${want}`
}

/** What follows the path when the place as a whole is meant. */
export function remark(text: string): string {
  return `: ${text}`
}
