import { namespacedName, sidesField } from '../field.ts'

export const service = sidesField<string>('source_service', 'destination_service', (values, side, field) => ({
  op: 'service',
  side,
  names: values.map((value) => namespacedName(field, value)),
}))
