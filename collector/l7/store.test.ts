import { describe, expect, test } from 'vitest'
import type { L7Record } from '../../model/l7.ts'
import { L7Store } from './store.ts'

const dns: L7Record = {
  type: 2,
  latencyNs: 1_234_567,
  traceId: '',
  dns: {
    query: 'ü.example.',
    ips: ['10.0.0.1', 'fd00::1'],
    ttl: 30,
    cnames: ['a.'],
    observationSource: 'kernel',
    rcode: 0,
    qtypes: ['A'],
    rrtypes: ['A', 'AAAA'],
  },
}
const http: L7Record = {
  type: 1,
  latencyNs: 0,
  traceId: '0af7651916cd43dd8448eb211c80319c',
  http: {
    code: 0,
    method: 'GET',
    url: 'http://shop/"quoted"/\u2028',
    protocol: 'HTTP/1.1',
    headers: [
      { key: 'Accept', value: '*/*' },
      { key: 'Host', value: 'shop' },
    ],
  },
}

/** Fills the cache of decoded records with others, so that get() has to decode. */
function forgetDecoded(store: L7Store): void {
  for (let i = 0; i < 5000; i++) store.put(dns, 1_000_000 + i)
}

describe('L7Store', () => {
  test('get() gives back what put() took, from the cache and decoded', () => {
    const store = new L7Store(8 << 20)
    const refs = [store.put(dns, 1), store.put(http, 2), store.put({ type: 3, latencyNs: 5, traceId: '' }, 3)]
    expect(refs.map((ref) => store.get(ref))).toEqual([dns, http, { type: 3, latencyNs: 5, traceId: '' }])
    forgetDecoded(store)
    expect(refs.map((ref) => store.get(ref))).toEqual([dns, http, { type: 3, latencyNs: 5, traceId: '' }])
    expect(store.get(0)).toBeUndefined()
    expect(store.complete).toBe(0)
  })

  test('put() refuses messages of more than 64 KiB and counts them', () => {
    const store = new L7Store(1 << 20)
    expect(store.put({ ...http, http: { ...http.http!, url: 'x'.repeat(40_000) } }, 1)).toBe(0)
    expect([store.oversize, store.stored]).toEqual([1, 0])
  })

  test('keeps the newest messages whole over many turns of the ring', () => {
    const store = new L7Store(256 * 1024)
    const kept: { ref: number; sequence: number; url: string }[] = []
    for (let sequence = 0; sequence < 20_000; sequence++) {
      const url = `http://h/${'x'.repeat((sequence * 7919) % 700)}${sequence}`
      kept.push({ ref: store.put({ ...http, http: { ...http.http!, url } }, sequence), sequence, url })
    }
    expect(store.used).toBeLessThanOrEqual(store.capacity)
    for (const { ref, sequence, url } of kept) {
      expect(store.get(ref)?.http?.url).toBe(sequence < store.complete ? undefined : url)
    }
    expect(20_000 - store.complete).toBeGreaterThan(200)
  })
})
