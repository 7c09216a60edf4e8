import type { Steps } from '../../base/steps.ts'
import type { FieldTest } from '../predicate.ts'
import { MASK_BYTES, setRule } from './mask.ts'
import type { Term } from './term.ts'

/** A rule's tests of one thing, for the source's end and the destination's. */
export interface SidedRule {
  readonly bit: number
  /** All must hold; none holds always. */
  readonly from: readonly Term[]
  readonly to: readonly Term[]
}

/**
 * The distinct tests of one thing (endpoints, addresses, ports) of all rules, numbered. A thing is known by which of them
 * are true of it: things with the same ones are accepted by the same rules.
 */
export class Atoms<T extends FieldTest> {
  readonly tests: T[] = []
  readonly #byKey = new Map<string, number>()
  readonly #byTest = new Map<FieldTest, number>()
  readonly #rules: readonly SidedRule[]
  #isTrue = new Uint8Array(0)
  #truths: number[] = []

  private constructor(rules: readonly SidedRule[]) {
    this.#rules = rules
  }

  /** @param rules whose `field` terms are all of type T */
  static *of<T extends FieldTest>(rules: readonly SidedRule[]): Steps<Atoms<T>> {
    const atoms = new Atoms<T>(rules)
    for (const { from, to } of rules) {
      for (const term of [...from, ...to]) {
        atoms.#add(term)
        yield
      }
    }
    atoms.#isTrue = new Uint8Array(atoms.tests.length)
    return atoms
  }

  #add(term: Term): void {
    if (term.op === 'all' || term.op === 'any') {
      for (const one of term.of) this.#add(one)
    } else if (term.op === 'field' && !this.#byTest.has(term.test)) {
      const key = contentOf(term.test)
      let number = key === undefined ? undefined : this.#byKey.get(key)
      if (number === undefined) {
        number = this.tests.length
        this.tests.push(term.test as FieldTest as T)
        if (key !== undefined) this.#byKey.set(key, number)
      }
      this.#byTest.set(term.test, number)
    }
  }

  /** Starts a thing of which nothing is true yet. */
  begin(): void {
    for (const number of this.#truths) this.#isTrue[number] = 0
    this.#truths = []
  }

  /** Says that a test is true of the thing. */
  hold(number: number): void {
    if (this.#isTrue[number] === 1) return
    this.#isTrue[number] = 1
    this.#truths.push(number)
  }

  isHeld(number: number): boolean {
    return this.#isTrue[number] === 1
  }

  /** What the thing is known by: the same for things of which the same tests are true. */
  key(): string {
    return this.#truths.length < 2 ? String(this.#truths) : this.#truths.sort((a, b) => a - b).join()
  }

  /** Writes the rules that accept the thing at the source's end, and those at the destination's, into zeroed bytes. */
  writeMasks(out: Uint8Array, at = 0): void {
    for (const { bit, from, to } of this.#rules) {
      if (this.#all(from)) setRule(out, at, bit)
      if (this.#all(to)) setRule(out, at + MASK_BYTES, bit)
    }
  }

  #all(terms: readonly Term[]): boolean {
    for (const term of terms) if (!this.#holds(term)) return false
    return true
  }

  #holds(term: Term): boolean {
    switch (term.op) {
      case 'all':
        return this.#all(term.of)
      case 'any':
        return term.of.some((one) => this.#holds(one))
      case 'field':
        return (this.#isTrue[this.#byTest.get(term.test)!] === 1) !== term.negated
      default:
        throw new RangeError(`A term of "${term.op}" is not about endpoints, addresses or ports`)
    }
  }
}

/** Tests of endpoints of one content, whichever side they look at, have one text. The others may be long and are few. */
function contentOf(test: FieldTest): string | undefined {
  if (test.op === 'ip' || test.op === 'port') return undefined
  return JSON.stringify({ ...test, side: undefined })
}
