import { expect, test } from 'vitest'
import { finish, finishSliced, type Steps } from './steps.ts'

function* work(ms: number): Steps<number> {
  let steps = 0
  for (const end = performance.now() + ms; performance.now() < end; steps++) yield
  return steps
}

test('finish() does all steps at once, finishSliced() lets others in', async () => {
  let turns = 0
  const turn = setInterval(() => turns++, 0)
  expect(finish(work(20))).toBeGreaterThan(10)
  expect(turns).toBe(0)
  expect(await finishSliced(work(40))).toBeGreaterThan(10)
  clearInterval(turn)
  expect(turns).toBeGreaterThan(3)
})
