import { FLOW_EVENT } from '../../model/layouts.gen.ts'
import type { Prefix } from '../address.ts'
import type { FlowPredicate, Side } from '../predicate.ts'
import { AddressSet } from './address-set.ts'

/** Tests on the 16 bytes in the record: no text is made. */
export function addressTest(side: Side, addresses: readonly Uint8Array[], prefixes: readonly Prefix[]): FlowPredicate {
  const offset = side === 'source' ? FLOW_EVENT.srcIp : FLOW_EVENT.dstIp
  const set = new AddressSet(addresses, prefixes)
  return (view) => view.ipVersion !== 0 && set.has(view.bytesArray, view.byteOffset + offset)
}
