import { ipText } from '../../../model/flow-view.ts'
import { type Prefix, parseAddress, parsePrefix } from '../../address.ts'
import { filterError, quoted } from '../../errors.ts'
import { NOTHING } from '../../predicate.ts'
import { listField, sidesField } from '../field.ts'

interface Addresses {
  readonly addresses: readonly Uint8Array[]
  readonly prefixes: readonly Prefix[]
}

/**
 * Addresses are compared as text, prefixes by containment. Text means that only the canonical spelling of an address
 * can be met in a flow: `2001:DB8::1` is accepted and matches nothing.
 */
export const ip = sidesField<string>('source_ip', 'destination_ip', (values, side, field) => ({
  op: 'ip',
  side,
  ...parse(values, field),
}))

/** No flow here has an address before translation: the test is checked and never true. */
export const ipXlated = listField('source_ip_xlated', (values, field) => {
  parse(values, field)
  return NOTHING
})

function parse(values: readonly string[], field: string): Addresses {
  const addresses: Uint8Array[] = []
  const prefixes: Prefix[] = []
  for (const value of values) {
    if (value.includes('/')) {
      const prefix = parsePrefix(value)
      if (prefix === undefined) {
        throw filterError(field, `invalid IP prefix ${quoted(value)}; want a CIDR such as 10.0.0.0/8 or fd00::/8`)
      }
      prefixes.push(prefix)
    } else {
      const address = parseAddress(value)
      if (address === undefined) {
        throw filterError(field, `invalid IP address ${quoted(value)}; want an IPv4 or IPv6 address, or a CIDR`)
      }
      if (ipText(address.bytes, 0) === value) addresses.push(address.bytes)
    }
  }
  return { addresses, prefixes }
}
