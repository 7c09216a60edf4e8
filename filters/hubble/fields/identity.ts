import { sidesField } from '../field.ts'

export const identity = sidesField<number>('source_identity', 'destination_identity', (values, side) => ({
  op: 'identity',
  side,
  values,
}))
