import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { EXIT_CODES } from './exit-codes.ts'
import { createProgram } from './program.ts'
import { referenceText } from './reference.ts'

const program = createProgram({
  io: {
    stdout: { write: () => true, once: () => {}, removeListener: () => {} },
    stderr: { write: () => true, once: () => {}, removeListener: () => {} },
    stdin: process.stdin,
    env: {},
    now: Date.now,
    signal: new AbortController().signal,
  },
  exitCode: 0,
})

test('docs/cli-reference.md is what the commands say', async () => {
  await expect(referenceText(program)).toMatchFileSnapshot('../docs/cli-reference.md')
})

test('docs/cli.md names every command and every exit code', () => {
  const text = readFileSync(new URL('../docs/cli.md', import.meta.url), 'utf8')
  for (const command of program.commands) expect(text).toContain(`sluice ${command.name()}`)
  for (const { code, meaning } of Object.values(EXIT_CODES)) expect(text).toContain(`| ${code} | ${meaning} |`)
})
