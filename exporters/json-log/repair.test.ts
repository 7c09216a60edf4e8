import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { cutTornLine } from './repair.ts'

const directory = mkdtempSync(join(tmpdir(), 'sluice-repair-'))
afterAll(() => rmSync(directory, { recursive: true }))

const LINE = `{"flow":{"verdict":"FORWARDED"}}\n`
const HUGE = 'x'.repeat(300_000)

describe('cutTornLine()', () => {
  test.each([
    ['an empty file', '', ''],
    ['a whole line', LINE, LINE],
    ['many whole lines', LINE.repeat(5000), LINE.repeat(5000)],
    ['half a line', `${LINE}{"flow":`, LINE],
    ['half a line and nothing before it', '{"flow":', ''],
    ['one byte', 'x', ''],
    ['one newline', '\n', '\n'],
    ['a torn line longer than a block', LINE + HUGE, LINE],
    ['only garbage, longer than a block', HUGE, ''],
    ['a torn line of exactly a block', `${LINE}${'y'.repeat(65_536)}`, LINE],
    ['a newline as first byte of a block', `a\n${'y'.repeat(65_535)}`, 'a\n'],
    ['zeros that a crash of the machine left', `${LINE}${'\0'.repeat(4096)}`, LINE],
    ['an empty line at the end', `${LINE}\n`, `${LINE}\n`],
    ['half a character', Buffer.concat([Buffer.from(LINE), Buffer.from([0xe2, 0x82])]), LINE],
  ])('leaves what is whole of %s', async (name, before, after) => {
    const path = join(directory, name.replaceAll(/\W/g, '-'))
    writeFileSync(path, before)
    const file = await open(path, 'r+')
    const cut = await cutTornLine(file)
    await file.close()
    expect(readFileSync(path, 'utf8')).toBe(after)
    expect(cut).toBe(Buffer.byteLength(before as string) - after.length)
  })
})
