import { KINDS } from '../kinds.ts'
import type { RuleEffect } from '../rules.ts'
import type { SidedRule } from './atoms.ts'
import type { Branch } from './branches.ts'
import { DIMENSION_SIZE, type Dimension, dimensionOf, type SmallDimension, type Term } from './term.ts'

const SMALL = Object.keys(DIMENSION_SIZE) as SmallDimension[]

/** One bit of the kernel's masks: tests of one dimension each. */
export class KernelRule {
  readonly bit: number
  /** Bit of the consumer. */
  readonly consumer: number
  readonly effect: RuleEffect
  readonly #tests: ReadonlyMap<Dimension, readonly Term[]>

  constructor(bit: number, consumer: number, effect: RuleEffect, branch: Branch) {
    this.bit = bit
    this.consumer = consumer
    this.effect = effect
    this.#tests = groupTests(branch)
  }

  /** Whether any event can match: not when two tests of one dimension contradict each other. */
  static canMatch(branch: Branch): boolean {
    const tests = groupTests(branch)
    return SMALL.every((dimension) => {
      const terms = tests.get(dimension)
      if (terms === undefined) return true
      const size = dimension === 'kind' ? KINDS.length : DIMENSION_SIZE[dimension]
      for (let value = 0; value < size; value++) if (terms.every((term) => accepts(term, value))) return true
      return false
    })
  }

  /** Has it a test of this dimension? */
  tests(dimension: SmallDimension): boolean {
    return this.#tests.has(dimension)
  }

  /** Does the rule accept a value of a small dimension? */
  accepts(dimension: SmallDimension, value: number): boolean {
    return this.#tests.get(dimension)?.every((term) => accepts(term, value)) ?? true
  }

  /** Its tests of endpoints, addresses or ports. */
  sided(of: 'endpoint' | 'ip' | 'port'): SidedRule {
    return {
      bit: this.bit,
      from: this.#tests.get(`source-${of}`) ?? [],
      to: this.#tests.get(`destination-${of}`) ?? [],
    }
  }
}

function groupTests({ tests }: Branch): Map<Dimension, Term[]> {
  const groups = new Map<Dimension, Term[]>()
  for (const term of tests) {
    const dimension = dimensionOf(term)!
    const known = groups.get(dimension)
    if (known === undefined) groups.set(dimension, [term])
    else known.push(term)
  }
  return groups
}

function accepts(term: Term, value: number): boolean {
  switch (term.op) {
    case 'all':
      return term.of.every((one) => accepts(one, value))
    case 'any':
      return term.of.some((one) => accepts(one, value))
    case 'values':
      return term.accepts[value] === true
    default:
      throw new RangeError(`A term of "${term.op}" has no small values`)
  }
}
