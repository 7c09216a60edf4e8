import { listField } from '../field.ts'

/** Index and name; 0 and '' are any. */
export const networkInterface = listField('interface', (values) => ({
  op: 'interface',
  entries: values.map(({ index = 0, name = '' }) => ({ index, name })),
}))
