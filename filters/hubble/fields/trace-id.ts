import { filterError, quoted } from '../../errors.ts'
import { EVERYTHING, NOTHING } from '../../predicate.ts'
import { listField } from '../field.ts'

export const traceId = listField('trace_id', (values) => ({ op: 'trace-id', values }))

const MAX_UINT64 = 2n ** 64n - 1n

/** Packets carry no trace option here, which Hubble reads as id 0: the answer is the same for every flow. */
export const ipTraceId = listField('ip_trace_id', (values, field) => {
  const ids = values.map((value) => {
    const isNumber =
      typeof value === 'bigint' || (typeof value === 'number' ? Number.isInteger(value) : /^[0-9]{1,20}$/.test(value))
    const id = isNumber ? BigInt(value) : -1n
    if (id < 0n || id > MAX_UINT64) throw filterError(field, `${quoted(value)} is no unsigned 64-bit number`)
    return id
  })
  return ids.includes(0n) ? EVERYTHING : NOTHING
})
