import { filterError, quoted } from '../../errors.ts'
import { PROTOCOL_NAMES, type ProtocolName } from '../../predicate.ts'
import { listField } from '../field.ts'

/** Names in any case. Layer 4 names look at the packet, layer 7 names at the message: an L7 flow has both. */
export const protocol = listField('protocol', (values, field) => ({
  op: 'protocol',
  names: values.map((value): ProtocolName => {
    const name = value.toLowerCase()
    const known = PROTOCOL_NAMES.find((one) => one === name)
    if (known === undefined) {
      throw filterError(field, `unknown protocol: ${quoted(value)}; want one of ${PROTOCOL_NAMES.join(', ')}`)
    }
    return known
  }),
}))
