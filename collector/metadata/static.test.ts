import { mkdirSync, mkdtempSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { MetadataSink } from '../../model/contracts.ts'
import { StaticMetadata } from './static.ts'

async function follow(text: string) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-static-'))
  const path = join(directory, 'm.yaml')
  writeFileSync(path, text)
  const nodes: string[] = []
  const sink: Partial<MetadataSink> = {
    upsertNode: ({ name }) => nodes.push(`+${name}`),
    deleteNode: (name) => nodes.push(`-${name}`),
    setCidrs: () => {},
  }
  const source = new StaticMetadata({ path, settleMs: 5, pollMs: 20 })
  onTestFinished(async () => {
    await source[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  })
  await source.start(sink as MetadataSink, new AbortController().signal)
  return { source, nodes, path }
}

const ONE = 'nodes: [{name: node-1, ips: []}]'

test('StaticMetadata is well again when the file that was away comes back as it was', async () => {
  const { source, path, nodes } = await follow(ONE)
  renameSync(path, `${path}.away`)
  await vi.waitFor(() => expect(source.lastError).toContain('ENOENT'))
  renameSync(`${path}.away`, path)
  await vi.waitFor(() => expect(source.lastError).toBe(''))
  expect([source.loads, source.failures, nodes]).toEqual([1, 1, ['+node-1']])
})

test('StaticMetadata tries again a file that could be seen but not read', async () => {
  const { source, path, nodes } = await follow(ONE)
  rmSync(path)
  mkdirSync(path)
  await vi.waitFor(() => expect(source.lastError).toContain('EISDIR'))
  rmdirSync(path)
  writeFileSync(path, 'nodes: [{name: node-2, ips: []}]')
  await vi.waitFor(() => expect(nodes).toEqual(['+node-1', '-node-1', '+node-2']))
  expect([source.lastError, source.loads]).toEqual(['', 2])
})
