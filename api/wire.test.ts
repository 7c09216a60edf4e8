import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { WireWriter } from './wire.ts'

describe('WireWriter', () => {
  test('writes the bytes of another writer for numbers and strings', () => {
    const value = fc.record({
      number: fc.nat({ max: 0xffff_ffff }),
      big: fc.maxSafeNat(),
      text: fc.string({ unit: 'binary' }),
    })
    fc.assert(
      fc.property(value, ({ number, big, text }) => {
        const ours = new WireWriter(8)
        ours.ensure(64)
        ours.uint(3, number)
        ours.tag(1000, 0)
        ours.varint53(big)
        ours.text(100000, text)
        const theirs = new BinaryWriter()
        if (number !== 0) theirs.uint32(3 << 3).uint32(number)
        theirs.uint32(1000 << 3).uint64(BigInt(big))
        if (text !== '') theirs.uint32((100000 << 3) | 2).string(text)
        expect(Buffer.compare(ours.slice(0), theirs.finish())).toBe(0)
      }),
    )
  })

  const lengths = [0, 1, 127, 128, 16_383, 16_384, 70_000]
  test.each(lengths)('end() and endLong() put the shortest length in front of %i bytes', (length) => {
    for (const isLong of [false, true]) {
      const writer = new WireWriter(16)
      writer.ensure(8)
      writer.byte(0x0a)
      const mark = isLong ? writer.beginLong() : writer.begin()
      const content = new Uint8Array(length).map((_, i) => i)
      writer.raw(content)
      if (isLong) writer.endLong(mark)
      else writer.end(mark)
      expect([...writer.slice(0)]).toEqual([...new BinaryWriter().uint32(0x0a).bytes(content).finish()])
    }
  })

  test('ensure() throws RangeError when the buffer would pass its limit', () => {
    const writer = new WireWriter(16, 64)
    writer.raw(new Uint8Array(60))
    expect(() => writer.raw(new Uint8Array(8))).toThrow(/limit is 64/)
    expect(writer.at).toBe(60)
  })

  test('element() writes the empty string, text() leaves it out', () => {
    const writer = new WireWriter(16)
    writer.text(1, '')
    writer.element(2, '')
    const reader = new BinaryReader(writer.slice(0))
    expect([reader.uint32(), reader.string(), reader.pos === reader.len]).toEqual([(2 << 3) | 2, '', true])
  })
})
