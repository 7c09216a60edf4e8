import type { FlowView } from '../../model/flow-view.ts'

/** A compiled expression over a flow. */
export interface CelProgram {
  readonly source: string
  /** @returns the expression's value, or undefined when it failed (no such key, division by zero, out of steps ...) */
  evaluate(view: FlowView): boolean | undefined
}
