import { listField } from '../field.ts'

export const verdict = listField('verdict', (values) => ({ op: 'verdict', values }))
