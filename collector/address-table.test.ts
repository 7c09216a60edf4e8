import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseCidr } from '../base/ip.ts'
import { ipText } from '../model/flow-view.ts'
import { ipBytes } from '../test/helpers/flow-store.ts'
import { AddressTable } from './address-table.ts'
import { CidrTable } from './cidr-table.ts'
import { isLinkScope, WorldCache } from './world.ts'

const words = (text: string) => new Uint32Array(ipBytes(text).buffer)

describe('AddressTable', () => {
  test('behaves as a Map of address and word, through growth and deletion', () => {
    const operation = fc.record({
      kind: fc.constantFrom('set', 'set', 'set', 'delete'),
      // Few distinct keys, so that they meet again.
      key: fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 2 })),
      value: fc.integer({ min: 1, max: 0xffff_ffff }),
    })
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 900 }), fc.integer(), (operations, seed) => {
        const table = new AddressTable(10_000, seed)
        const model = new Map<string, number>()
        for (const { kind, key, value } of operations) {
          const [a, b, extra] = key
          const at = new Uint32Array([a, 0, 0xffff_0000, b])
          if (kind === 'set') {
            expect(table.set(at, 0, extra, value)).toBe(true)
            model.set(key.join(), value)
          } else {
            expect(table.delete(at, 0, extra)).toBe(model.delete(key.join()))
          }
        }
        expect(table.size).toBe(model.size)
        for (let a = 0; a <= 40; a++) {
          for (let b = 0; b <= 40; b++) {
            const at = new Uint32Array([9, a, 0, 0xffff_0000, b])
            expect(table.get(at, 1, 1)).toBe(model.get([a, b, 1].join()) ?? 0)
          }
        }
      }),
      { seed: 5, numRuns: 60, interruptAfterTimeLimit: 8000 },
    )
  })

  test('set() refuses new entries beyond the bound and still changes old ones', () => {
    const table = new AddressTable(2)
    expect(table.set(words('10.0.0.1'), 0, 0, 1)).toBe(true)
    expect(table.set(words('10.0.0.2'), 0, 0, 2)).toBe(true)
    expect(table.set(words('10.0.0.3'), 0, 0, 3)).toBe(false)
    expect(table.set(words('10.0.0.1'), 0, 0, 9)).toBe(true)
    expect(table.get(words('10.0.0.1'), 0, 0)).toBe(9)
    expect(table.get(words('10.0.0.3'), 0, 0)).toBe(0)
  })
})

describe('CidrTable', () => {
  const table = new CidrTable()
  const ranges = [
    '10.0.0.0/8',
    '10.1.0.0/16',
    '10.1.2.128/25',
    '10.1.2.3/32',
    '0.0.0.0/0',
    'fd00::/8',
    'fd00:1::/33',
    '::/0',
  ]
  ranges.forEach((text, i) => {
    table.set(parseCidr(text)!, i + 1)
  })

  test.each([
    ['10.1.2.3', '10.1.2.3/32'],
    ['10.1.2.129', '10.1.2.128/25'],
    ['10.1.2.4', '10.1.0.0/16'],
    ['10.200.0.1', '10.0.0.0/8'],
    ['192.0.2.1', '0.0.0.0/0'],
    ['fd00:1:7fff::1', 'fd00:1::/33'],
    ['fd00:1:8000::1', 'fd00::/8'],
    ['2001:db8::1', '::/0'],
  ])('get(%s) gives the longest range', (address, range) => {
    const family = address.includes(':') ? 6 : 4
    expect(ranges[table.get(words(address), 0, family) - 1]).toBe(range)
  })

  test('get() gives 0 where no range holds the address, and ::/0 holds no IPv4', () => {
    const six = new CidrTable()
    six.set(parseCidr('::/0')!, 1)
    expect(six.get(words('10.0.0.1'), 0, 4)).toBe(0)
    expect(new CidrTable().get(words('fd00::1'), 0, 6)).toBe(0)
  })

  test('WorldCache gives the same answers, also for addresses that share a slot', () => {
    const cache = new WorldCache()
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0xffff_ffff }), { minLength: 1, maxLength: 50 }), (addresses) => {
        for (const address of [...addresses, ...addresses]) {
          const at = new Uint32Array([0, 0, 0xffff_0000, address])
          expect(cache.lookup(at, 0, 4, table)).toBe(table.get(at, 0, 4))
        }
      }),
      { seed: 9, numRuns: 300 },
    )
  })
})

describe('isLinkScope()', () => {
  test.each([
    ['0.0.0.0', true],
    ['127.0.0.53', true],
    ['169.254.1.1', true],
    ['224.0.0.251', true],
    ['255.255.255.255', true],
    ['224.0.1.1', false],
    ['10.0.0.1', false],
    ['169.253.1.1', false],
    ['::', true],
    ['::1', true],
    ['fe80::1', true],
    ['febf::1', true],
    ['fec0::1', false],
    ['ff02::1:ff00:1', true],
    ['ff05::2', false],
    ['2001:db8::1', false],
  ])('%s: %s', (address, expected) => {
    expect(isLinkScope(words(address), 0, address.includes(':') ? 6 : 4)).toBe(expected)
  })
})

test('parseCidr() clears host bits and refuses what is no range', () => {
  const range = parseCidr('10.1.2.255/25')
  expect(range && [ipText(range.bytes, 0), range.bits, range.prefixLength, range.family]).toEqual([
    '10.1.2.128',
    121,
    25,
    4,
  ])
  for (const text of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', '10.0.0.0/-1', '10.0.0.0/08', 'x/8', '10.0.0/8', '/8']) {
    expect(parseCidr(text)).toBeUndefined()
  }
})
