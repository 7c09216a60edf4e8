import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect } from 'vitest'
import { cutTornLine } from '../exporters/json-log/repair.ts'
import { fuzzBytes } from '../test/helpers/fuzz.ts'

const directory = mkdtempSync(join(tmpdir(), 'sluice-fuzz-repair-'))
afterAll(() => rmSync(directory, { recursive: true }))
const path = join(directory, 'events.log')

describe('fuzz: torn log', () => {
  fuzzBytes(
    'cutTornLine() leaves exactly what ends with the last newline',
    'torn-log',
    async (bytes) => {
      writeFileSync(path, bytes)
      const file = await open(path, 'r+')
      const cut = await cutTornLine(file)
      const again = await cutTornLine(file)
      await file.close()
      const keep = Buffer.from(bytes).lastIndexOf(10) + 1
      expect([cut, again]).toEqual([bytes.length - keep, 0])
      expect(readFileSync(path).equals(bytes.subarray(0, keep))).toBe(true)
    },
    { maxMs: 500 },
  )
})
