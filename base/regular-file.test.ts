import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { readRegularFile } from './regular-file.ts'

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'sluice-file-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

test('reads a file, also by a link, up to its bound', async () => {
  const path = folder()
  writeFileSync(join(path, 'a'), 'äb')
  symlinkSync('a', join(path, 'link'))
  expect(await readRegularFile(join(path, 'a'), 3)).toBe('äb')
  expect(await readRegularFile(join(path, 'link'), 3)).toBe('äb')
  await expect(readRegularFile(join(path, 'a'), 2)).rejects.toThrow('has 3 bytes, want at most 2')
  await expect(readRegularFile(join(path, 'b'), 2)).rejects.toThrow('ENOENT')
})

test('waits for no pipe, device or directory', async () => {
  const path = folder()
  execFileSync('mkfifo', [join(path, 'pipe')])
  await expect(readRegularFile(join(path, 'pipe'), 10)).rejects.toThrow('is no regular file')
  await expect(readRegularFile('/dev/zero', 10)).rejects.toThrow('is no regular file')
  await expect(readRegularFile(path, 10)).rejects.toThrow('is no regular file')
})
