import type { BpfMap } from '../../native/index.ts'
import type { DatapathOptions } from './options.ts'

/** enum l7_kind of bpf/maps.h */
const L7_DNS = 1
const L7_HTTP = 2

/** Makes the map of ports whose payload is captured say what the configuration says; DNS wins where both name a port. */
export function writeL7Ports(map: BpfMap, options: Pick<DatapathOptions, 'dnsPorts' | 'httpPorts'>): void {
  const wanted = new Map<number, number>()
  for (const port of options.httpPorts) wanted.set(port, L7_HTTP)
  for (const port of options.dnsPorts) wanted.set(port, L7_DNS)
  for (const port of portsOf(map)) if (!wanted.has(port)) map.delete(keyOf(port))
  for (const [port, kind] of wanted) map.update(keyOf(port), Uint8Array.of(kind))
}

function portsOf(map: BpfMap): number[] {
  const ports: number[] = []
  const key = new Uint8Array(2)
  for (let more = map.nextKey(null, key); more; more = map.nextKey(key, key)) ports.push(key[0]! | (key[1]! << 8))
  return ports
}

function keyOf(port: number): Uint8Array {
  return Uint8Array.of(port & 0xff, port >> 8)
}
