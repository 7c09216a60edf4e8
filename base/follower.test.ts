import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Follower } from './follower.ts'

function setUp(pollMs = 60_000) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-follower-'))
  let looks = 0
  let running = 0
  let together = 0
  const follower = new Follower({
    settleMs: 20,
    pollMs,
    look: async () => {
      looks++
      together = Math.max(together, ++running)
      await new Promise((resolve) => setTimeout(resolve, 10))
      running--
    },
  })
  onTestFinished(async () => {
    await follower[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  })
  return { directory, follower, counts: () => ({ looks, together }) }
}

test('Follower looks once for changes that come together, and again for later ones', async () => {
  const { directory, follower, counts } = setUp()
  expect(follower.watch(directory)).toBeUndefined()
  for (const name of ['a', 'b', 'c']) writeFileSync(join(directory, name), '')
  await vi.waitFor(() => expect(counts().looks).toBe(1))
  await new Promise((resolve) => setTimeout(resolve, 60))
  writeFileSync(join(directory, 'a'), 'again')
  await vi.waitFor(() => expect(counts()).toEqual({ looks: 2, together: 1 }))
})

test('Follower looks now and then where nothing is watched, one look at a time', async () => {
  const { follower, counts } = setUp(5)
  follower.start()
  for (let i = 0; i < 20; i++) {
    follower.soon(0)
    await new Promise((resolve) => setTimeout(resolve, 3))
  }
  expect(counts().looks).toBeGreaterThan(3)
  expect(counts().together).toBe(1)
})

test('Follower.watch() tells why a directory cannot be watched', () => {
  const { directory, follower } = setUp()
  expect(follower.watch(join(directory, 'none'))).toMatchObject({ code: 'ENOENT' })
})

test('Follower begins no look once it is disposed of', async () => {
  const { directory, follower, counts } = setUp(5)
  follower.watch(directory)
  follower.start()
  follower.soon(0)
  await follower[Symbol.asyncDispose]()
  const { looks } = counts()
  writeFileSync(join(directory, 'a'), '')
  follower.soon(0)
  follower.start()
  expect(follower.watch(directory)).toBeUndefined()
  await new Promise((resolve) => setTimeout(resolve, 60))
  expect(counts().looks).toBe(looks)
})
