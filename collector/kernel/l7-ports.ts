import type { BpfMap } from '../../native/index.ts'
import type { DatapathOptions } from './options.ts'

/** enum l7_kind of bpf/maps.h */
const L7_DNS = 1n
const L7_HTTP = 2n
/** L7_PORTS_PER_WORD of bpf/maps.h: two bits to a port. */
const PORTS_PER_WORD = 32

/** Makes the map of ports whose payload is captured say what the configuration says; DNS wins where both name a port. */
export function writeL7Ports(map: BpfMap, options: Pick<DatapathOptions, 'dnsPorts' | 'httpPorts'>): void {
  const kinds = new Map<number, bigint>()
  for (const port of options.httpPorts) kinds.set(port, L7_HTTP)
  for (const port of options.dnsPorts) kinds.set(port, L7_DNS)
  const words = new BigUint64Array(map.info.maxEntries)
  for (const [port, kind] of kinds)
    words[Math.floor(port / PORTS_PER_WORD)]! |= kind << BigInt((port % PORTS_PER_WORD) * 2)
  const key = new Uint32Array(1)
  const value = new BigUint64Array(1)
  const keyBytes = new Uint8Array(key.buffer)
  const valueBytes = new Uint8Array(value.buffer)
  for (let at = 0; at < words.length; at++) {
    key[0] = at
    // A pinned map has what an earlier agent wrote: only what differs is written.
    if (map.lookup(keyBytes, valueBytes) && value[0] === words[at]) continue
    value[0] = words[at]!
    map.update(keyBytes, valueBytes)
  }
}
