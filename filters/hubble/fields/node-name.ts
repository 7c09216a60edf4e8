import { errorText } from '../../../base/errors.ts'
import { filterError, quoted } from '../../errors.ts'
import { compileNodeGlobs } from '../../names.ts'
import { listField } from '../field.ts'

/** Globs over `cluster/node`. */
export const nodeName = listField('node_name', (values, field) => {
  try {
    return { op: 'node-name', pattern: compileNodeGlobs(values) }
  } catch (error) {
    throw filterError(field, `${quoted(values)}: ${errorText(error)}; want "node" or "cluster/node"`, { cause: error })
  }
})
