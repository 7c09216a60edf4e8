import type { FlowView } from '../../model/flow-view.ts'
import { Evaluation } from './code.ts'
import { check, NO_VARIABLES } from './compile.ts'
import { CelSyntaxError } from './lexer.ts'
import { parse } from './parser.ts'
import { typeText } from './types.ts'
import { CelFault, FAULT } from './values.ts'

/** Longest expression accepted, characters. */
export const MAX_EXPRESSION = 4096
/** Steps of one evaluation: about half a millisecond, a hundred times what expressions over a flow's lists take. */
export const MAX_STEPS = 10_000

/** A compiled expression over a flow. */
export interface CelProgram {
  readonly source: string
  /** Evaluations that failed, steps that ran out among them. */
  readonly faults: number
  /** Of the last fault; empty when there was none. */
  readonly lastFault: string
  /** @returns the expression's value, or undefined when it failed (no such key, division by zero, out of steps ...) */
  evaluate(view: FlowView): boolean | undefined
}

/**
 * Compiles an expression in the Common Expression Language over `_flow`, a flow.Flow. The language is the standard one
 * with Hubble's container: enum constants are `Verdict.DROPPED`, ports and other uint32 fields compare with `80u` or
 * `uint(80)`. Types are checked; messages cannot be made.
 *
 * @throws CelSyntaxError naming the place when the expression cannot be read, its types do not fit or it is no bool
 */
export function compileCel(source: string): CelProgram {
  if (source.length > MAX_EXPRESSION) {
    throw new CelSyntaxError(`${source.length} characters, want at most ${MAX_EXPRESSION}`, MAX_EXPRESSION)
  }
  const code = check(parse(source), NO_VARIABLES)
  if (code.type.kind !== 'bool') {
    throw new CelSyntaxError(`the expression is a ${typeText(code.type)}, want a bool`, 0)
  }
  return new Program(source, (evaluation) => code.run(evaluation))
}

let allFaults = 0

/** Evaluations that failed, of all programs since the process started. */
export function celFaults(): number {
  return allFaults
}

class Program implements CelProgram {
  readonly source: string
  faults = 0
  lastFault = ''
  readonly #run: (evaluation: Evaluation) => unknown
  readonly #evaluation = new Evaluation()

  constructor(source: string, run: (evaluation: Evaluation) => unknown) {
    this.source = source
    this.#run = run
  }

  evaluate(view: FlowView): boolean | undefined {
    try {
      this.#evaluation.start(view, MAX_STEPS)
      const value = this.#run(this.#evaluation)
      // is_reply that is not known is null where its type says bool.
      if (typeof value !== 'boolean') throw FAULT.noOverload
      return value
    } catch (error) {
      if (!(error instanceof CelFault)) throw error
      this.faults++
      allFaults++
      this.lastFault = error.reason
      return undefined
    }
  }
}
