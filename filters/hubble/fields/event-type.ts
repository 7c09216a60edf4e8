import { listField } from '../field.ts'

/** Type 0 is any; the sub-type counts only where match_sub_type is set. */
export const eventType = listField('event_type', (entries) => ({
  op: 'event-type',
  entries: entries.map((entry) => ({
    type: entry.type ?? 0,
    subType: entry.match_sub_type ? (entry.sub_type ?? 0) : undefined,
  })),
}))
