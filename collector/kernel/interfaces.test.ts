import { describe, expect, it } from 'vitest'
import { hookOf } from './interfaces.ts'

describe('hookOf()', () => {
  it.each([
    ['Ethernet', 6, 'uplink'],
    ['tun and WireGuard, which have no address', 0, 'uplink-l3'],
    ['ipip and GRE, whose address is one of IPv4', 4, 'uplink-l3'],
    ['ip6tnl, whose address is one of IPv6', 16, 'uplink-l3'],
  ] as const)('knows by the address whether there is a link header: %s', (_what, bytes, hook) => {
    expect(hookOf({ mac: new Uint8Array(bytes) }, 'uplink')).toBe(hook)
  })
})
