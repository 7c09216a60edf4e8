import { describe, expect, it } from 'vitest'
import { constantsOf, DATAPATH_DEFAULTS, encodeConstant, mapSizesOf } from './options.ts'
import { pressureOf } from './sweep.ts'

describe('encodeConstant()', () => {
  it.each([
    [0x07n, 1, [7]],
    [0x0102n, 4, [2, 1, 0, 0]],
    [0xffffffff81000000n, 8, [0, 0, 0, 0x81, 0xff, 0xff, 0xff, 0xff]],
  ])('writes %d in %d bytes, lowest first', (value, size, bytes) => {
    expect([...encodeConstant(value, size)]).toEqual(bytes)
  })
})

describe('constantsOf()', () => {
  it('turns milliseconds into nanoseconds and booleans into numbers', () => {
    const options = { ...DATAPATH_DEFAULTS, aggregationIntervalMs: 0.5, perPacket: true }
    expect(constantsOf(options, { kernelBase: 5n, netnsCookie: 6n })).toEqual({
      aggregation_interval_ns: 500_000n,
      report_flags: 7n,
      per_packet: 1n,
      l7_rate_per_cpu: 10_000n,
      l7_payload: 512n,
      kernel_base: 5n,
      node_netns_cookie: 6n,
      default_consumers: 0xffff_ffffn,
    })
  })
})

describe('mapSizesOf()', () => {
  it('gives devices beyond the counters’ slots room in the other maps', () => {
    const sizes = mapSizesOf({ ...DATAPATH_DEFAULTS, maxEndpoints: 100 })
    expect(sizes).toMatchObject({ endpoint_counters: 100, endpoints: 200, netns: 200 })
  })
})

describe('pressureOf()', () => {
  it.each([
    [0, 1],
    [0.5, 1],
    [0.725, 0.53125],
    [0.95, 1 / 16],
    [1, 1 / 16],
  ])('with %d of the table used, time-outs are taken times %d', (fill, factor) => {
    expect(pressureOf(fill)).toBeCloseTo(factor, 10)
  })
})
