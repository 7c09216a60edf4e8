import { isIPv4, isIPv6 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ipText } from '../model/flow-view.ts'
import { parseAddress, parsePrefix, prefixContains, prefixCovers } from './address.ts'

function contains(prefix: string, address: string): boolean {
  return prefixContains(parsePrefix(prefix)!, parseAddress(address)!.bytes, 0)
}

describe('parseAddress()', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1'],
    ['::', '::'],
    ['2001:DB8:0:0:0:0:A:B', '2001:db8::a:b'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
    ['fe80::1%eth0', 'fe80::1'],
  ])('reads %s', (text, canonical) => {
    expect(ipText(parseAddress(text)!.bytes, 0)).toBe(canonical)
  })

  test.each([
    '',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4%eth0',
    '1.2.3.4.5',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    '::1%',
    '1.2.3.4::',
    '::1.2.3',
    'host',
    ' 1.2.3.4',
  ])('refuses %j', (text) => {
    expect(parseAddress(text)).toBeUndefined()
  })

  test('agrees with node on every address that node can print', () => {
    fc.assert(fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => parseAddress(text) !== undefined))
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'0123456789abf.:') }), (text) => {
        // Go, like node, knows no leading zeros in IPv4.
        expect(parseAddress(text) !== undefined).toBe(isIPv4(text) || isIPv6(text))
      }),
      { numRuns: 2000 },
    )
  })
})

describe('prefixContains()', () => {
  test.each([
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['10.1.2.3/8', '10.9.9.9', true],
    ['10.0.0.1/32', '10.0.0.1', true],
    ['10.0.0.0/31', '10.0.0.2', false],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '10.0.0.1', false],
    ['::/0', 'fd00::1', true],
    ['::ffff:0:0/96', '10.0.0.1', false],
    ['fd00::/9', 'fd7f::1', true],
    ['fd00::/9', 'fd80::1', false],
  ])('%s holds %s: %s', (prefix, address, answer) => {
    expect(contains(prefix, address)).toBe(answer)
  })

  test.each(['10.0.0.0', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/-1', '10.0.0.0/', '::/129', 'fe80::%eth0/64', '/8'])(
    'parsePrefix() refuses %j',
    (text) => {
      expect(parsePrefix(text)).toBeUndefined()
    },
  )
})

test('prefixCovers() wants the wider prefix first', () => {
  const covers = (a: string, b: string) => prefixCovers(parsePrefix(a)!, parsePrefix(b)!)
  expect(covers('10.0.0.0/8', '10.1.0.0/16')).toBe(true)
  expect(covers('10.1.0.0/16', '10.0.0.0/8')).toBe(false)
  expect(covers('::/0', '10.0.0.0/8')).toBe(false)
})
