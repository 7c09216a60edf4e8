import { filterError, quoted } from '../../errors.ts'
import { sidesField } from '../field.ts'

/** Ports in decimals; TCP, UDP and SCTP have some. */
export const port = sidesField<string>('source_port', 'destination_port', (values, side, field) => ({
  op: 'port',
  side,
  ports: values.map((value) => {
    const number = /^[0-9]+$/.test(value) ? Number(value) : Number.NaN
    if (!(number <= 65_535)) throw filterError(field, `invalid port ${quoted(value)}; want a number from 0 to 65535`)
    return number
  }),
}))
