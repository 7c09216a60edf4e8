import { filterError } from '../../errors.ts'
import { sidesField } from '../field.ts'

/** Exact names: no globs here. */
export const clusterName = sidesField<string>(
  'source_cluster_name',
  'destination_cluster_name',
  (names, side, field) => {
    if (names.includes('')) throw filterError(field, 'name must not be empty; want the name of a cluster')
    return { op: 'cluster-name', side, names }
  },
)
