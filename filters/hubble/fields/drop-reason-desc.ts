import { listField } from '../field.ts'

/** Matches dropped flows only, also for DROP_REASON_UNKNOWN. */
export const dropReasonDesc = listField('drop_reason_desc', (values) => ({ op: 'drop-reason', values }))
