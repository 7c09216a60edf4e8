import { compileRegex } from '../../regex.ts'
import { listField, parsed } from '../field.ts'

/** RE2 expressions over the question of a DNS message, which ends in a dot. */
export const dnsQuery = listField('dns_query', (values, field) => ({
  op: 'dns-query',
  patterns: values.map((value) => parsed(field, value, compileRegex)),
}))
