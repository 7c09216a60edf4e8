import { listField } from '../field.ts'

/** flow.proto IPVersion to the number in the header; other numbers are no flow's. */
const VERSIONS: readonly number[] = [0, 4, 6]

export const ipVersion = listField('ip_version', (values) => ({
  op: 'ip-version',
  versions: values.map((value) => VERSIONS[value] ?? -1),
}))
