import { sidesField } from '../field.ts'
import type { WorkloadMessage } from '../message.ts'

/** Name and kind exact; an empty one is any. */
export const workload = sidesField<WorkloadMessage>('source_workload', 'destination_workload', (values, side) => ({
  op: 'workload',
  side,
  entries: values.map(({ name = '', kind = '' }) => ({ name, kind })),
}))
