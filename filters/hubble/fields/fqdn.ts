import { errorText } from '../../../base/errors.ts'
import { filterError, quoted } from '../../errors.ts'
import { compileFqdnGlobs } from '../../names.ts'
import { sidesField } from '../field.ts'

/** Globs over the DNS names known for an address. */
export const fqdn = sidesField<string>('source_fqdn', 'destination_fqdn', (values, side, field) => {
  try {
    return { op: 'fqdn', side, pattern: compileFqdnGlobs(values) }
  } catch (error) {
    throw filterError(field, `${quoted(values)}: ${errorText(error)}; want names with '*' as wildcard`, {
      cause: error,
    })
  }
})
