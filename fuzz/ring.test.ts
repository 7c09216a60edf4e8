import fc from 'fast-check'
import { describe, expect } from 'vitest'
import { RingReader } from '../collector/kernel/ring.ts'
import type { RingPages } from '../native/index.ts'
import { fuzz } from '../test/helpers/fuzz.ts'

const SIZE = 4096

/** Garbage in the kernel's place: data seen twice, as the double mapping shows it, and a producer position. */
function ringOf(bytes: Uint8Array): { pages: RingPages; produced: number } {
  const data = new ArrayBuffer(2 * SIZE)
  const copy = new Uint8Array(data)
  const body = bytes.subarray(4, 4 + SIZE)
  copy.set(body)
  copy.set(body, SIZE)
  const head = new DataView(new Uint8Array([...bytes.subarray(0, 4), 0, 0, 0, 0]).buffer)
  const start = head.getUint16(0, true) * 8
  const produced = head.getUint16(2, true) % (SIZE + 1)
  const consumer = new ArrayBuffer(4096)
  const producer = new ArrayBuffer(4096)
  new BigUint64Array(consumer)[0] = BigInt(start)
  new BigUint64Array(producer)[0] = BigInt(start + (produced & ~7))
  return { pages: { size: SIZE, consumer, producer, data }, produced: produced & ~7 }
}

describe('fuzz: ring', () => {
  fuzz('RingReader ends, stays inside and never goes back whatever the headers say', {
    corpus: 'ring',
    from: (seed) => seed,
    generated: fc.uint8Array({ minLength: 4, maxLength: SIZE, size: 'max' }),
    target: (bytes) => {
      const { pages, produced } = ringOf(bytes)
      const reader = new RingReader(pages)
      const waiting = reader.waitingRecords()
      let records = 0
      for (let last = reader.position; ; records++) {
        const offset = reader.next()
        if (offset < 0) break
        expect(offset % 8).toBe(0)
        expect(offset).toBeLessThan(SIZE + 8)
        expect(reader.position).toBeGreaterThan(last)
        last = reader.position
        // A header takes eight bytes: more records than that are records read twice.
        if (records > produced / 8) throw new Error(`${records} records of a ring that holds ${produced} bytes`)
      }
      expect(waiting).toBe(records)
      if (reader.broken > 0) expect(reader.position % 8).toBe(0)
      reader.release(reader.position)
      expect(reader.usedBytes).toBeLessThanOrEqual(SIZE)
    },
  })
})
