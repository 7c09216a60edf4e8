import { listField } from '../field.ts'

export const encrypted = listField('encrypted', (values) => ({ op: 'encrypted', values }))
