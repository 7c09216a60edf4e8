import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { run } from '../test/helpers/run-cli.ts'

const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))

/** Flags, and the file that holds what `hubble` 1.19 prints for the same flags and flows. */
const CASES: readonly [string, string[]][] = [
  ['compact', []],
  ['dict', ['-o', 'dict']],
  ['table', ['-o', 'table']],
  ['json', ['-o', 'json']],
  ['node-names', ['--print-node-name', '--print-policy-names']],
  ['dict-node-names', ['-o', 'dict', '--print-node-name', '--print-policy-names']],
  ['table-node-names', ['-o', 'table', '--print-node-name']],
  ['numeric', ['--numeric', '--time-format', 'RFC3339Nano']],
  ['addresses', ['--ip-translation=false']],
  ['color', ['--color', 'always', '--print-policy-names']],
  ['color-dict', ['-o', 'dict', '--color', 'always']],
  ['rfc1123', ['--time-format', 'RFC1123Z']],
]

describe('observe --input-file', () => {
  test.each(CASES)('prints what hubble prints: %s', async (name, flags) => {
    const { code, stdout, stderr } = await run(['observe', '--input-file', fixture('flows.jsonl'), ...flags])
    expect(stdout).toBe(readFileSync(fixture(`${name}.out.txt`), 'utf8'))
    expect(stderr).toBe(readFileSync(fixture(`${name}.err.txt`), 'utf8'))
    expect(code).toBe(0)
  })
})
