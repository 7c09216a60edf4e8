import { compileCel } from '../../cel/program.ts'
import type { Predicate } from '../../predicate.ts'
import { type FilterField, isSet, parsed } from '../field.ts'

/** Boolean CEL expressions over `_flow`; one of the list has to be true. */
export const celExpression: FilterField = {
  names: ['experimental'],
  build(filter): Predicate[] {
    const expressions = filter.experimental?.cel_expression
    if (!isSet(expressions)) return []
    const programs = expressions.map((source) => parsed('experimental.cel_expression', source, compileCel))
    return [{ op: 'cel', programs }]
  },
}
