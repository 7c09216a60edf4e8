import { expect, test } from 'vitest'
import { TokenBucket } from './token-bucket.ts'

test('TokenBucket.take() lets a burst through, then as many as come in a second', () => {
  let now = 5000
  const bucket = new TokenBucket(3, 10, () => now)
  expect([bucket.take(), bucket.take(), bucket.take()]).toEqual([0, 0, 0])
  expect([bucket.take(), bucket.take()]).toEqual([100, 200])
  now += 200
  expect(bucket.take()).toBe(100)
  now += 100
  expect(bucket.take()).toBe(100)
  now += 60_000
  expect([bucket.take(), bucket.take(), bucket.take(), bucket.take()]).toEqual([0, 0, 0, 100])
})
