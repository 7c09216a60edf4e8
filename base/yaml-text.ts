import { stringify } from 'yaml'
import type { Steps } from './steps.ts'

/** The YAML text of plain data, a scalar at a time: a long one takes a hundred milliseconds in all. */
export function* yamlText(value: unknown): Steps<string> {
  return `${(yield* linesOf(value)).join('\n')}\n`
}

function* linesOf(value: unknown): Steps<string[]> {
  if (!hasEntries(value)) {
    yield
    return [scalar(value)]
  }
  const lines: string[] = []
  if (Array.isArray(value)) {
    for (const item of value) {
      const [first, ...rest] = yield* linesOf(item)
      lines.push(`- ${first}`)
      for (const line of rest) lines.push(`  ${line}`)
    }
    return lines
  }
  for (const [key, inner] of Object.entries(value)) {
    const innerLines = yield* linesOf(inner)
    if (!hasEntries(inner)) lines.push(`${scalar(key)}: ${innerLines[0]}`)
    else {
      lines.push(`${scalar(key)}:`)
      for (const line of innerLines) lines.push(`  ${line}`)
    }
  }
  return lines
}

function hasEntries(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0
}

/** In one line, whatever is in it. */
function scalar(value: unknown): string {
  if (typeof value === 'string' && value.includes('\n')) return JSON.stringify(value)
  return stringify(value, { lineWidth: 0 }).trimEnd()
}
