import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RingPages } from '../../native/index.ts'
import { RingReader } from './ring.ts'

const SIZE = 4096

/** The kernel's side of a ring, in plain memory: the data is written to both copies, as the double mapping shows it. */
class FakeRing implements RingPages {
  readonly size = SIZE
  readonly consumer = new ArrayBuffer(4096)
  readonly producer = new ArrayBuffer(4096)
  readonly data = new ArrayBuffer(2 * SIZE)
  readonly #words = new DataView(this.data)
  #produced: bigint

  constructor(start = 0n) {
    this.#produced = start
    new BigUint64Array(this.consumer)[0] = start
    new BigUint64Array(this.producer)[0] = start
  }

  get consumed(): bigint {
    return new BigUint64Array(this.consumer)[0]!
  }

  /** @returns where the header is, or undefined when the record does not fit */
  write(payload: readonly number[], flags: { busy?: boolean; discarded?: boolean } = {}): number | undefined {
    const total = BigInt((8 + payload.length + 7) & ~7)
    if (this.#produced + total - this.consumed > BigInt(SIZE)) return undefined
    const at = Number(this.#produced % BigInt(SIZE))
    this.#header(at, payload.length, flags)
    payload.forEach((byte, i) => {
      this.#byte(at + 8 + i, byte)
    })
    this.#produced += total
    new BigUint64Array(this.producer)[0] = this.#produced
    return at
  }

  commit(at: number, length: number): void {
    this.#header(at, length, {})
  }

  #header(at: number, length: number, flags: { busy?: boolean; discarded?: boolean }): void {
    const word = (length | (flags.busy ? 0x8000_0000 : 0) | (flags.discarded ? 0x4000_0000 : 0)) >>> 0
    for (let i = 0; i < 4; i++) this.#byte(at + i, (word >>> (8 * i)) & 0xff)
    for (let i = 4; i < 8; i++) this.#byte(at + i, 0xee) // the page offset: not ours to look at
  }

  #byte(at: number, value: number): void {
    this.#words.setUint8(at % SIZE, value)
    this.#words.setUint8((at % SIZE) + SIZE, value)
  }
}

function read(reader: RingReader, at: number, length: number): number[] {
  return [...reader.u8.subarray(at, at + length)]
}

describe('RingReader', () => {
  it('next() gives the records in order, then -1', () => {
    const ring = new FakeRing()
    const reader = new RingReader(ring)
    expect(reader.next()).toBe(-1)
    ring.write([1, 2, 3])
    ring.write([4])
    expect(read(reader, reader.next(), 3)).toEqual([1, 2, 3])
    expect(read(reader, reader.next(), 1)).toEqual([4])
    expect(reader.next()).toBe(-1)
    expect(reader.position).toBe(32)
  })

  it('next() skips discarded records and waits at one that is being written', () => {
    const ring = new FakeRing()
    const reader = new RingReader(ring)
    ring.write([1], { discarded: true })
    const busy = ring.write([2], { busy: true })!
    ring.write([3])
    expect(reader.next()).toBe(-1)
    expect(reader.next()).toBe(-1)
    ring.commit(busy, 1)
    expect(read(reader, reader.next(), 1)).toEqual([2])
    expect(read(reader, reader.next(), 1)).toEqual([3])
  })

  it('release() tells the kernel, and refuses what was not read', () => {
    const ring = new FakeRing()
    const reader = new RingReader(ring)
    ring.write([1])
    ring.write([2])
    reader.next()
    const first = reader.position
    reader.next()
    reader.release(first)
    expect(ring.consumed).toBe(16n)
    expect(reader.usedBytes).toBe(16)
    expect(() => reader.release(reader.position + 8)).toThrow('Cannot release up to 40: read up to 32')
    reader.release(reader.position)
    reader.release(first) // less than before: nothing
    expect(ring.consumed).toBe(32n)
    expect(reader.usedBytes).toBe(0)
  })

  it('next() skips what is written when a header reaches beyond it, and goes on behind', () => {
    const ring = new FakeRing()
    const reader = new RingReader(ring)
    ring.write([1])
    const at = ring.write([2])!
    ring.write([3])
    ring.commit(at, 5000)
    expect(reader.waitingRecords()).toBe(1)
    expect(read(reader, reader.next(), 1)).toEqual([1])
    expect(reader.next()).toBe(-1)
    expect([reader.broken, reader.position]).toEqual([1, 48])
    ring.write([4])
    expect(read(reader, reader.next(), 1)).toEqual([4])
    reader.release(reader.position)
    expect([ring.consumed, reader.broken]).toEqual([64n, 1])
  })

  it('gives back a ring that is full of discarded records', () => {
    const ring = new FakeRing()
    const reader = new RingReader(ring)
    while (ring.write([1], { discarded: true }) !== undefined);
    expect(reader.next()).toBe(-1)
    reader.release(reader.position)
    expect([ring.consumed, reader.usedBytes]).toEqual([BigInt(SIZE), 0])
    ring.write([2])
    expect(read(reader, reader.next(), 1)).toEqual([2])
  })

  it('waitingRecords() counts what is committed and not read, and reads nothing', () => {
    const ring = new FakeRing()
    const reader = new RingReader(ring)
    for (const byte of [1, 2, 3]) ring.write([byte])
    ring.write([4], { discarded: true })
    ring.write([5])
    expect(reader.waitingRecords()).toBe(4)
    expect(read(reader, reader.next(), 1)).toEqual([1])
    expect(reader.waitingRecords()).toBe(3)
    ring.write([6], { busy: true })
    expect(reader.waitingRecords()).toBe(3)
  })

  it('a new reader goes on where the last one released', () => {
    const ring = new FakeRing()
    const before = new RingReader(ring)
    for (const byte of [1, 2, 3]) ring.write([byte])
    before.next()
    before.release(before.position)
    before.next()
    const after = new RingReader(ring)
    expect(read(after, after.next(), 1)).toEqual([2])
    expect(after.position).toBe(32)
  })

  it.each([2n ** 31n - 16n, 2n ** 32n - 16n, 2n ** 33n - 16n, 2n ** 52n - 16n])(
    'positions are right when they pass %d + 16',
    (start) => {
      const ring = new FakeRing(start)
      const reader = new RingReader(ring)
      for (let i = 0; i < 3000; i++) {
        expect(ring.write([i & 0xff, i >> 8])).toBeDefined()
        expect(read(reader, reader.next(), 2)).toEqual([i & 0xff, i >> 8])
        reader.release(reader.position)
        expect(ring.consumed).toBe(start + 16n * BigInt(i + 1))
      }
      expect(reader.next()).toBe(-1)
    },
  )

  it('gives back exactly what was written, whatever the sizes, discards and releases', () => {
    const step = fc.oneof(
      fc.record({ op: fc.constant('write' as const), length: fc.nat(600), discarded: fc.boolean() }),
      fc.record({ op: fc.constant('read' as const), count: fc.nat(8) }),
      fc.record({ op: fc.constant('release' as const) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.bigInt(0n, 2n ** 40n), (steps, start) => {
        const ring = new FakeRing((start / 8n) * 8n)
        const reader = new RingReader(ring)
        const expected: number[][] = []
        let serial = 0
        for (const each of steps) {
          if (each.op === 'write') {
            const payload = Array.from({ length: each.length }, () => serial++ & 0xff)
            if (ring.write(payload, each) !== undefined && !each.discarded) expected.push(payload)
          } else if (each.op === 'read') {
            for (let i = 0; i < each.count; i++) {
              const at = reader.next()
              const wanted = expected.shift()
              expect(at >= 0).toBe(wanted !== undefined)
              if (wanted) expect(read(reader, at, wanted.length)).toEqual(wanted)
            }
          } else {
            reader.release(reader.position)
          }
        }
      }),
      { seed: 1, numRuns: 300 },
    )
  })
})
