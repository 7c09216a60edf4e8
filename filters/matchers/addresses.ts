import { FLOW_EVENT } from '../../model/layouts.gen.ts'
import { type Prefix, prefixContains } from '../address.ts'
import type { FlowPredicate, Side } from '../predicate.ts'

/** Tests on the 16 bytes in the record: no text is made. */
export function addressTest(side: Side, addresses: readonly Uint8Array[], prefixes: readonly Prefix[]): FlowPredicate {
  const offset = side === 'source' ? FLOW_EVENT.srcIp : FLOW_EVENT.dstIp
  const isListed = addressSet(addresses)
  if (prefixes.length === 0) {
    return (view) => view.ipVersion !== 0 && isListed(view.bytesArray, view.byteOffset + offset)
  }
  return (view) => {
    if (view.ipVersion === 0) return false
    const bytes = view.bytesArray
    const at = view.byteOffset + offset
    if (isListed(bytes, at)) return true
    for (const prefix of prefixes) if (prefixContains(prefix, bytes, at)) return true
    return false
  }
}

type AddressSet = (bytes: Uint8Array, at: number) => boolean

function addressSet(addresses: readonly Uint8Array[]): AddressSet {
  if (addresses.length === 0) return () => false
  if (addresses.length <= 4) {
    return (bytes, at) => {
      for (const address of addresses) if (isEqual(address, bytes, at)) return true
      return false
    }
  }
  // By the last four bytes: what differs between the addresses of a cluster.
  const buckets = new Map<number, Uint8Array[]>()
  for (const address of addresses) {
    const key = lastWord(address, 0)
    const bucket = buckets.get(key)
    if (bucket) bucket.push(address)
    else buckets.set(key, [address])
  }
  return (bytes, at) => {
    const bucket = buckets.get(lastWord(bytes, at))
    if (bucket === undefined) return false
    for (const address of bucket) if (isEqual(address, bytes, at)) return true
    return false
  }
}

function lastWord(bytes: Uint8Array, at: number): number {
  return (bytes[at + 12]! << 24) | (bytes[at + 13]! << 16) | (bytes[at + 14]! << 8) | bytes[at + 15]!
}

/** From the end: addresses of a cluster differ there. */
function isEqual(address: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 15; i >= 0; i--) if (address[i] !== bytes[at + i]) return false
  return true
}
