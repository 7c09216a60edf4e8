import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { purgeNode } from './purge.ts'

const directory = mkdtempSync(join(tmpdir(), 'sluice-purge-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

test('purgeNode() is done when there is nothing', () => {
  expect(purgeNode({ overrides: { 'kernel.pinPath': join(directory, 'none'), 'agentLog.level': 'error' } })).toBe(0)
})

test('purgeNode() refuses a configuration that an agent refuses', () => {
  expect(() => purgeNode({ overrides: { 'kernel.instance': 'A' } })).toThrow(/kernel\.instance/)
})
