import { compileSelector } from '../../label-selector.ts'
import { listField, parsed, sidesField } from '../field.ts'

/** Label selectors; one of the list has to match. */
export const label = sidesField<string>('source_label', 'destination_label', (values, side, field) => ({
  op: 'label',
  side,
  selectors: values.map((value) => parsed(field, value, compileSelector)),
}))

export const nodeLabels = listField('node_labels', (values, field) => ({
  op: 'node-label',
  selectors: values.map((value) => parsed(field, value, compileSelector)),
}))
