import type { FlowView } from '../../model/flow-view.ts'
import type { Budget } from './overload.ts'
import type { CelType } from './types.ts'
import { FAULT, type Message, type Value } from './values.ts'

/** One evaluation: the flow, the steps left, the variables of comprehensions by number. */
export class Evaluation implements Budget {
  view: FlowView | undefined
  readonly variables: Value[] = []
  #steps = 0

  start(view: FlowView, steps: number): void {
    this.view = view
    this.#steps = steps
  }

  take(steps: number): void {
    this.#steps -= steps
    if (this.#steps < 0) throw FAULT.steps
  }
}

/** A checked expression. */
export interface Code {
  readonly type: CelType
  /** Nodes inside: what running it once costs in steps. */
  readonly size: number
  run(evaluation: Evaluation): Value
  /** For messages: what their fields are read from, without wrapping it. */
  readonly raw?: (evaluation: Evaluation) => unknown
}

/** Gives a message's code its `raw`. */
export function withRaw(code: Code): Code {
  if (code.type.kind !== 'message') return code
  return { ...code, raw: (evaluation) => (code.run(evaluation) as Message).raw }
}
