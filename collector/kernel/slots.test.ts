import { describe, expect, it } from 'vitest'
import { SlotTable } from './slots.ts'

describe('SlotTable', () => {
  it('allocate() gives every slot but 0 once, then shares 0 and counts', () => {
    const slots = new SlotTable(4)
    expect([slots.allocate(), slots.allocate(), slots.allocate()].map(({ slot }) => slot)).toEqual([1, 2, 3])
    expect(slots.allocate()).toEqual({ slot: 0, fresh: true })
    expect(slots.used).toBe(3)
    expect(slots.exhausted).toBe(1)
  })

  it('release() hands a slot on last, and not as fresh', () => {
    const slots = new SlotTable(4)
    slots.allocate()
    slots.release(1)
    expect([slots.allocate(), slots.allocate(), slots.allocate()]).toEqual([
      { slot: 2, fresh: true },
      { slot: 3, fresh: true },
      { slot: 1, fresh: false },
    ])
  })

  it('release() of a slot that is free, or of slot 0, does nothing', () => {
    const slots = new SlotTable(3)
    const { slot } = slots.allocate()
    slots.release(slot)
    slots.release(slot)
    slots.release(0)
    expect([slots.allocate().slot, slots.allocate().slot, slots.allocate().slot]).toEqual([2, 1, 0])
  })

  it('claim() takes a former agent’s slot once, within the table', () => {
    const slots = new SlotTable(4)
    expect([slots.claim(2), slots.claim(2), slots.claim(0), slots.claim(4)]).toEqual([true, false, false, false])
    expect([slots.allocate().slot, slots.allocate().slot, slots.allocate().slot]).toEqual([1, 3, 0])
  })

  it('soilAll() makes every slot in need of clearing', () => {
    const slots = new SlotTable(3)
    slots.soilAll()
    expect(slots.allocate()).toEqual({ slot: 1, fresh: false })
  })
})
