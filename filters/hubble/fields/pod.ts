import { namespacedName, sidesField } from '../field.ts'

export const pod = sidesField<string>('source_pod', 'destination_pod', (values, side, field) => ({
  op: 'pod',
  side,
  names: values.map((value) => namespacedName(field, value)),
}))
