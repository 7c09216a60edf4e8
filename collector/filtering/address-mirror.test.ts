import { expect, test } from 'vitest'
import { AddressMirror, NO_CLASS } from './address-mirror.ts'

const address = (n: number) => Uint32Array.from([0, 0, 0xffff0000, n])

test('AddressMirror notes each address once until it is taken, as it is in the end', () => {
  const mirror = new AddressMirror(100)
  for (let ref = 1; ref <= 5; ref++) mirror.set(address(7), 0, ref)
  mirror.set(address(8), 0, 9)
  const slots = mirror.takeDirty(10)
  expect(slots.map((slot) => mirror.refs[slot])).toEqual([5, 9])
  mirror.set(address(8), 0, 9)
  expect(mirror.takeDirty(10)).toEqual([])
  mirror.set(address(8), 0, 0)
  expect([mirror.dirtyCount, mirror.has(address(8), 0)]).toEqual([1, true])
})

test('AddressMirror uses the slot of an address again when its deletion is written', () => {
  const mirror = new AddressMirror(2)
  mirror.set(address(1), 0, 1)
  mirror.set(address(2), 0, 2)
  const [first] = mirror.takeDirty(2) as [number]
  mirror.setClasses(first, [4, 5])
  expect(mirror.set(address(3), 0, 3)).toBe(false)
  mirror.set(address(1), 0, 0)
  for (const slot of mirror.takeDirty(1)) mirror.drop(slot)
  expect(mirror.set(address(3), 0, 3)).toBe(true)
  expect([mirror.refs[first], mirror.classesOf(first), mirror.end]).toEqual([3, [NO_CLASS, NO_CLASS], 2])
  expect(Array.from(mirror.words.subarray(first * 4, first * 4 + 4))).toEqual([...address(3)])
})

test('AddressMirror grows, and keeps what it holds', () => {
  const mirror = new AddressMirror(10_000)
  for (let n = 0; n < 5000; n++) mirror.set(address(n), 0, n + 1)
  mirror.setClasses(17, [1, 2])
  for (let n = 5000; n < 10_000; n++) mirror.set(address(n), 0, n + 1)
  expect([mirror.size, mirror.end, mirror.dirtyCount]).toEqual([10_000, 10_000, 10_000])
  expect([mirror.refs[17], mirror.classesOf(17), mirror.classesOf(9999)]).toEqual([18, [1, 2], [NO_CLASS, NO_CLASS]])
  // An address that came and went unseen leaves nothing.
  expect(mirror.set(address(20_000), 0, 0)).toBe(true)
  expect(mirror.size).toBe(10_000)
})
