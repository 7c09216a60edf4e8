import { expect, test } from 'vitest'
import { FragmentCache } from './fragment-cache.ts'

function cacheOf(slots: number, maxBytes: number) {
  return new FragmentCache<string | undefined>(slots, maxBytes, (source, key) => Buffer.from(`${key}:${source}`))
}

test('FragmentCache.get() makes a piece once for a key and what it is made from', () => {
  const cache = cacheOf(4, 1000)
  expect(cache.get(1, 'a').toString()).toBe('1:a')
  expect(cache.get(1, 'a')).toBe(cache.get(1, 'a'))
  expect(cache.misses).toBe(1)
  // A new name for the same number, the same name for a number of the same slot, and nothing at all.
  expect([cache.get(1, 'b'), cache.get(5, 'b'), cache.get(2, undefined)].map(String)).toEqual([
    '1:b',
    '5:b',
    '2:undefined',
  ])
  expect([cache.misses, cache.bytes]).toEqual([4, 3 + 11])
})

test('FragmentCache holds no more than its bytes', () => {
  const cache = cacheOf(64, 100)
  for (let key = 0; key < 64; key++) {
    cache.get(key, 'x'.repeat(20))
    expect(cache.bytes).toBeLessThanOrEqual(100)
  }
  expect(cache.get(1, 'y'.repeat(200)).length).toBe(202)
  expect(cache.bytes).toBe(0)
  expect(cache.get(2, 'z').toString()).toBe('2:z')
})
