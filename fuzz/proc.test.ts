import { describe, expect } from 'vitest'
import { parseDev, parsePairs, sockstat, TcpStateCounter } from '../exporters/prometheus/node/proc-net.ts'
import { fuzzBytes, fuzzText } from '../test/helpers/fuzz.ts'

const isCount = (value: number): boolean => Number.isFinite(value)

describe('fuzz: /proc', () => {
  fuzzText('readers of netstat, snmp, sockstat and dev take any text and give finite numbers', {
    corpus: 'proc-net',
    tokens: ['TcpExt:', 'UDP: ', 'inuse', ' ', '\n', '1', '99999999999999999999', '-', 'lo:', 'eth0:', 'x', '\t'],
    target: (text) => {
      for (const section of parsePairs(text).values()) {
        expect(section.size).toBeLessThanOrEqual(text.length)
        for (const value of section.values()) expect(isCount(value)).toBe(true)
      }
      expect(isCount(sockstat(text, 'UDP', 'inuse'))).toBe(true)
      for (const value of parseDev(text).values()) expect(isCount(value) && value >= 0).toBe(true)
    },
  })

  fuzzBytes('TcpStateCounter counts the same whatever the pieces', 'proc-net', (bytes) => {
    const whole = new Uint32Array(16)
    const pieces = new Uint32Array(16)
    const one = new TcpStateCounter(whole)
    const many = new TcpStateCounter(pieces)
    one.add(bytes)
    for (let at = 0; at < bytes.length; at += 7) many.add(bytes.subarray(at, at + 7))
    expect(pieces).toEqual(whole)
    expect(many.sockets).toBe(one.sockets)
    expect(whole.reduce((sum, count) => sum + count, 0)).toBe(one.sockets)
  })
})
