import { listField } from '../field.ts'

export const reply = listField('reply', (values) => ({ op: 'reply', values }))
