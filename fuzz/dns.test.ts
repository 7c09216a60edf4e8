import { describe, expect } from 'vitest'
import { parseDns } from '../collector/l7/dns.ts'
import { fuzzBytes } from '../test/helpers/fuzz.ts'

/** More text than a message of this length can spell: each byte at most `\ddd`, each name at most 255 bytes. */
const MAX_NAME_TEXT = 4 * 255

describe('fuzz: DNS', () => {
  for (const isTcp of [false, true]) {
    fuzzBytes(`parseDns() reads or refuses any message over ${isTcp ? 'TCP' : 'UDP'}`, 'dns', (bytes) => {
      // What lies around the message must not matter.
      const around = new Uint8Array(bytes.length + 32).fill(0xc0)
      around.set(bytes, 16)
      const message = parseDns(around, 16, bytes.length, isTcp)
      expect(message).toEqual(parseDns(bytes, 0, bytes.length, isTcp))
      if (message === undefined) return
      const { query, ips, cnames, rrtypes, qtypes, ttl, rcode } = message.record
      for (const name of [query, ...cnames]) expect(name.length).toBeLessThanOrEqual(MAX_NAME_TEXT)
      expect(ips.length + cnames.length).toBeLessThanOrEqual(rrtypes.length)
      expect(qtypes.length).toBeLessThanOrEqual(16)
      expect(rrtypes.length).toBeLessThanOrEqual(bytes.length / 11)
      expect(ttl).toBeGreaterThanOrEqual(0)
      expect(ttl).toBeLessThan(0x8000_0000)
      expect(rcode).toBeLessThan(4096)
    })
  }
})
