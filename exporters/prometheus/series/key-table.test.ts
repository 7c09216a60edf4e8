import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { KeyTable } from './key-table.ts'

const key = (a: number, b: number) => new Uint32Array([a, b])

describe('KeyTable', () => {
  test('agrees with a Map under any inserts and removes', () => {
    const step = fc.record({
      a: fc.integer({ min: 0, max: 12 }),
      b: fc.integer({ min: 0, max: 12 }),
      remove: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), fc.integer(), (steps, seed) => {
        const table = new KeyTable(2, seed)
        const oracle = new Map<string, number>()
        for (const { a, b, remove } of steps) {
          const name = `${a},${b}`
          const slot = table.find(key(a, b))
          expect(slot).toBe(oracle.get(name) ?? -1)
          if (remove && slot >= 0) {
            table.remove(slot)
            oracle.delete(name)
          } else if (!remove && slot < 0) {
            const made = table.insert(key(a, b))
            expect([...oracle.values()]).not.toContain(made)
            oracle.set(name, made)
          }
          expect(table.size).toBe(oracle.size)
        }
        for (const [name, slot] of oracle) {
          const [a, b] = name.split(',').map(Number)
          expect(table.find(key(a!, b!))).toBe(slot)
          expect([table.word(slot, 0), table.word(slot, 1)]).toEqual([a, b])
        }
      }),
      { numRuns: 200 },
    )
  })

  test('finds every key among many, and reuses the slots of removed ones', () => {
    const table = new KeyTable(2, 1)
    const count = 20_000
    for (let i = 0; i < count; i++) table.insert(key(i, i ^ 0x5555))
    for (let i = 0; i < count; i += 2) table.remove(table.find(key(i, i ^ 0x5555)))
    for (let i = 0; i < count; i++) expect(table.find(key(i, i ^ 0x5555)) >= 0).toBe(i % 2 === 1)
    for (let i = 0; i < count / 2; i++) table.insert(key(i, 0xffff_ffff))
    expect(table.highWater).toBe(count)
    expect(table.find(key(7, 0xffff_ffff))).toBeGreaterThanOrEqual(0)
  })
})
