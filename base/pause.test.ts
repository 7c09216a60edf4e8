import { expect, test } from 'vitest'
import { Pause } from './pause.ts'

/** What ended first. */
async function first(pause: Promise<void>, ms: number): Promise<'pause' | 'time'> {
  let timer: NodeJS.Timeout | undefined
  const time = new Promise<'time'>((resolve) => {
    timer = setTimeout(() => resolve('time'), ms)
  })
  const ended = await Promise.race([pause.then(() => 'pause' as const), time])
  clearTimeout(timer)
  return ended
}

test('ends at its time, at end(), or at once when it was ended before', async () => {
  const pause = new Pause()
  const began = performance.now()
  await pause.wait(20)
  expect(performance.now() - began).toBeGreaterThanOrEqual(18)
  const waiting = pause.wait(10_000)
  setTimeout(() => pause.end(), 5)
  expect(await first(waiting, 2000)).toBe('pause')
  pause.end()
  pause.end()
  expect(await first(pause.wait(10_000), 2000)).toBe('pause')
  // That was all: the next one waits.
  const next = pause.wait()
  expect(await first(next, 30)).toBe('time')
  pause.end()
  await next
})
