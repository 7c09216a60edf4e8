import { listField } from '../field.ts'

export const uuid = listField('uuid', (values) => ({ op: 'uuid', values }))
