import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseIp } from './ip.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

test.each([
  ['10.1.2.3', 4, '00000000000000000000ffff0a010203'],
  ['::', 6, '00000000000000000000000000000000'],
  ['::1', 6, '00000000000000000000000000000001'],
  ['1::', 6, '00010000000000000000000000000000'],
  ['fd00:1::7:8', 6, 'fd000001000000000000000000070008'],
  ['1:2:3:4:5:6:7:8', 6, '00010002000300040005000600070008'],
  ['1:2:3:4:5:6:7::', 6, '00010002000300040005000600070000'],
  ['::ffff:10.1.2.3', 6, '00000000000000000000ffff0a010203'],
  ['64:ff9b::192.0.2.1', 6, '0064ff9b0000000000000000c0000201'],
  ['1:2:3:4:5:6:192.0.2.1', 6, '000100020003000400050006c0000201'],
  ['1::2:192.0.2.1', 6, '000100000000000000000002c0000201'],
  ['FD00::A', 6, 'fd00000000000000000000000000000a'],
])('parseIp(%s) writes family %i', (text, family, expected) => {
  const bytes = new Uint8Array(16).fill(0xaa)
  expect(parseIp(text, bytes)).toBe(family)
  expect(hex(bytes)).toBe(expected)
})

test.each(['', '10.0.0', '10.0.0.256', '1:2:3', 'fe80::1%eth0', '::g', ' 10.0.0.1', '1::2::3'])(
  'parseIp(%j) refuses it and writes nothing',
  (text) => {
    const bytes = new Uint8Array(16).fill(0xaa)
    expect(parseIp(text, bytes)).toBe(0)
    expect(hex(bytes)).toBe('aa'.repeat(16))
  },
)

test('parseIp() reads any IPv6 text that fast-check writes without leaving its 16 bytes', () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const bytes = new Uint8Array(24).fill(0xaa)
      expect(parseIp(text, bytes, 4)).toBe(6)
      expect([...bytes.subarray(0, 4), ...bytes.subarray(20)]).toEqual(new Array(8).fill(0xaa))
    }),
    { seed: 2, numRuns: 1000 },
  )
})
