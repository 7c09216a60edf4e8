import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseAddress, parsePrefix, prefixContains } from '../address.ts'
import { AddressSet } from './address-set.ts'

function bytesOf(text: string): Uint8Array {
  return parseAddress(text)!.bytes
}

function setOf(...texts: string[]): AddressSet {
  return new AddressSet(
    texts.filter((text) => !text.includes('/')).map(bytesOf),
    texts.filter((text) => text.includes('/')).map((text) => parsePrefix(text)!),
  )
}

describe('AddressSet.has()', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1', true],
    ['10.0.0.1', '10.0.0.2', false],
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.0.0.0/8', '9.255.255.255', false],
    ['10.1.2.3/8', '10.0.0.0', true],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '10.0.0.1', false],
    ['::/0', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', true],
    ['::ffff:0:0/96', '10.0.0.1', false],
    ['fd00::/9', 'fd7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff', true],
    ['fd00::/9', 'fd80::', false],
    ['2001:db8::/127', '2001:db8::2', false],
  ])('%s holds %s: %s', (member, address, answer) => {
    expect(setOf(member).has(bytesOf(address), 0)).toBe(answer)
  })

  test('finds an address behind a prefix that lies inside a wider one', () => {
    const set = setOf('10.0.0.0/8', '10.0.0.0/16', '10.1.0.0/16', '10.1.0.7', '12.0.0.0/8')
    expect(['10.2.0.1', '11.0.0.1', '12.0.0.1'].map((text) => set.has(bytesOf(text), 0))).toEqual([true, false, true])
  })

  test('holds nothing when empty', () => {
    expect([setOf().has(bytesOf('::1'), 0), setOf().has(bytesOf('0.0.0.0'), 0)]).toEqual([false, false])
  })

  test('answers as its prefixes one by one', () => {
    // Few distinct values, so that prefixes nest, touch and meet addresses.
    const four = fc
      .tuple(fc.constantFrom(0, 10, 11, 255), fc.constantFrom(0, 1, 128, 255))
      .map(([a, b]) => `${a}.${b}.0.${b}`)
    const six = fc
      .tuple(fc.constantFrom('fd00', 'fd80', 'ffff'), fc.constantFrom('0', '8000', 'ffff'))
      .map(([a, b]) => `${a}:${b}::${b}`)
    const address = fc.oneof(four, six)
    const prefix = address.chain((text) =>
      fc.integer({ min: 0, max: text.includes(':') ? 128 : 32 }).map((bits) => `${text}/${bits}`),
    )
    fc.assert(
      fc.property(
        fc.array(prefix, { maxLength: 8 }),
        fc.array(address, { maxLength: 4 }),
        address,
        (prefixes, members, asked) => {
          const bytes = bytesOf(asked)
          const wanted =
            members.some((text) => Buffer.from(bytesOf(text)).equals(bytes)) ||
            prefixes.some((text) => prefixContains(parsePrefix(text)!, bytes, 0))
          expect(setOf(...prefixes, ...members).has(bytes, 0)).toBe(wanted)
        },
      ),
      { numRuns: 2000 },
    )
  })

  test('looks 200,000 addresses up among 9,000 prefixes of many lengths in well under a second', () => {
    const prefixes = Array.from({ length: 9000 }, (_, i) => parsePrefix(`fd00:${i.toString(16)}::/${32 + (i % 97)}`)!)
    const set = new AddressSet([], prefixes)
    const address = bytesOf('fd00:2000:ffff::1')
    const began = performance.now()
    let held = 0
    for (let i = 0; i < 200_000; i++) {
      address[15] = i
      if (set.has(address, 0)) held++
    }
    // One by one this takes more than 10 s; the bound leaves room for a busy machine.
    expect(performance.now() - began).toBeLessThan(1000)
    expect(held).toBeLessThan(200_000)
  })
})
