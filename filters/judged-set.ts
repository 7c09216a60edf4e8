import type { FlowView } from '../model/flow-view.ts'
import { FilterLimit } from '../model/layouts.gen.ts'
import { compileMany } from './compile.ts'
import type { FilterTotals } from './counts.ts'
import { eventKindBits } from './kinds.ts'
import type { FlowPredicate } from './predicate.ts'
import type { FilterConsumer, FilterRule, RuleSet } from './rules.ts'

/** One set, compiled. */
export class JudgedSet {
  readonly rules: RuleSet
  readonly parity: number
  /** By bit. */
  readonly consumers: readonly (JudgedConsumer | undefined)[]
  /** Flows before this sequence were judged before the set was in force. */
  first = 0

  private constructor(rules: RuleSet, parity: number, consumers: readonly (JudgedConsumer | undefined)[]) {
    this.rules = rules
    this.parity = parity
    this.consumers = consumers
  }

  static async make(rules: RuleSet, parity: number, exactBits: number): Promise<JudgedSet> {
    const tests = await compileMany(rules.consumers.flatMap((one) => one.rules.map(({ predicate }) => predicate)))
    const consumers = new Array<JudgedConsumer | undefined>(FilterLimit.CONSUMERS).fill(undefined)
    let first = 0
    for (const consumer of rules.consumers) {
      const end = first + consumer.rules.length
      const isExact = ((exactBits >>> consumer.bit) & 1) === 1
      consumers[consumer.bit] = new JudgedConsumer(consumer, isExact, tests.slice(first, end))
      first = end
    }
    return new JudgedSet(rules, parity, consumers)
  }

  addCounts(totals: FilterTotals): void {
    for (const consumer of this.consumers) consumer?.addCounts(totals)
  }

  resetCounts(): void {
    for (const consumer of this.consumers) consumer?.resetCounts()
  }
}

/** Fields of a rule in the counts. */
const MATCHED = 0
const KEPT = 1
const LEFT_OUT = 2
const FIELDS = 3

/** The rules of one consumer as functions, with their counts. */
class JudgedConsumer {
  readonly isExact: boolean
  readonly #name: string
  readonly #isOn: boolean
  readonly #kinds: number
  readonly #rules: readonly FilterRule[]
  readonly #hasInclude: boolean
  readonly #tests: readonly FlowPredicate[]
  readonly #excludes: Uint8Array
  /** matched, kept, left out of each rule. */
  readonly #counts: Float64Array
  /** Rules that matched the event at hand. */
  readonly #matched: Uint32Array
  /** Events, and those of them that were kept. */
  readonly #sums = new Float64Array(2)

  constructor(consumer: FilterConsumer, isExact: boolean, tests: readonly FlowPredicate[]) {
    const { rules } = consumer
    this.isExact = isExact
    this.#name = consumer.name
    this.#isOn = consumer.isOn
    this.#kinds = consumer.kinds
    this.#rules = rules
    this.#hasInclude = rules.some(({ effect }) => effect === 'include')
    this.#tests = tests
    this.#excludes = Uint8Array.from(rules, ({ effect }) => (effect === 'exclude' ? 1 : 0))
    this.#counts = new Float64Array(rules.length * FIELDS)
    this.#matched = new Uint32Array(rules.length)
  }

  /** Events that it was asked about. */
  get events(): number {
    return this.#sums[0]!
  }

  /** Asks all rules, so that each one's count is right, also behind the one that decides. */
  judge(view: FlowView): boolean {
    if (!this.#isOn || (this.#kinds & eventKindBits(view)) === 0) return false
    const tests = this.#tests
    const matched = this.#matched
    let count = 0
    let included = !this.#hasInclude
    let excluded = false
    for (let index = 0; index < tests.length; index++) {
      if (!tests[index]!(view)) continue
      matched[count++] = index
      if (this.#excludes[index] === 1) excluded = true
      else included = true
    }
    const taken = included && !excluded
    const counts = this.#counts
    for (let i = 0; i < count; i++) {
      const at = matched[i]! * FIELDS
      counts[at + MATCHED]!++
      if (taken) counts[at + KEPT]!++
      else counts[at + LEFT_OUT]!++
    }
    this.#sums[0]!++
    if (taken) this.#sums[1]!++
    return taken
  }

  accepts(view: FlowView): boolean {
    if (!this.#isOn || (this.#kinds & eventKindBits(view)) === 0) return false
    const tests = this.#tests
    let included = !this.#hasInclude
    for (let index = 0; index < tests.length; index++) {
      const isExclude = this.#excludes[index] === 1
      if (included && !isExclude) continue
      if (!tests[index]!(view)) continue
      if (isExclude) return false
      included = true
    }
    return included
  }

  addCounts(totals: FilterTotals): void {
    const counts = this.#counts
    for (let index = 0; index < this.#rules.length; index++) {
      const at = index * FIELDS
      totals.addRule(this.#rules[index]!.id, counts[at + MATCHED]!, counts[at + KEPT]!, counts[at + LEFT_OUT]!)
    }
    totals.addConsumer(this.#name, this.#sums[0]!, this.#sums[1]!)
  }

  resetCounts(): void {
    this.#counts.fill(0)
    this.#sums.fill(0)
  }
}
