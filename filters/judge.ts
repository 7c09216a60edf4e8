import type { FlowView } from '../model/flow-view.ts'
import { ConsumerFlag } from '../model/layouts.gen.ts'
import { FilterTotals } from './counts.ts'
import { JudgedSet } from './judged-set.ts'
import type { AppliedRules, FilterCounts, RuleDecision, RuleSet, RuleTarget } from './rules.ts'

/** `consumers` of a record that nobody judged: filters were off, or it never was in a kernel that has any. */
const UNJUDGED = 0xffff_ffff
export interface JudgeOptions {
  /** One past the newest flow of the history. */
  readonly historyEnd: () => number
}

/**
 * Who takes a flow, in JavaScript. Where the kernel decided exactly, its bit in the record is the answer; where it decided
 * in part, a bit that is not set; else the rules are asked.
 *
 * Records of the set before the present one are still on their way when a set comes into force, in the ring and in
 * exporters that read the history later: both sets are kept, and the record says which judged it. A record that is older
 * than both is judged by the present set. The bit that says so is one bit, so a third set may come into force only when
 * the ring has been read to where it was when the second one did; until then trust() must not be given.
 *
 * One judge for all exporters of the thread. Nothing is allocated per flow.
 */
export class Judge implements RuleTarget {
  readonly #options: JudgeOptions
  readonly #totals = new FilterTotals()
  #current: JudgedSet | undefined
  #previous: JudgedSet | undefined
  #next: JudgedSet | undefined
  #generation = 0
  /** Bits of records from this sequence on are believed. */
  #trustFrom = Number.POSITIVE_INFINITY

  constructor(options: JudgeOptions) {
    this.#options = options
  }

  /**
   * Does a consumer take the flow? Counts what it decides itself. Before the first set everybody takes everything.
   *
   * @param bit of the consumer @param view at a flow of the history; asked once for each flow and consumer
   */
  wants(bit: number, view: FlowView): boolean {
    const current = this.#current
    if (current === undefined) return true
    const { consumers } = view
    const isJudged = consumers !== UNJUDGED && ((consumers >>> ConsumerFlag.UNDECIDED) & 1) === 0
    const set = isJudged ? this.#setOf(current, consumers, view.sequence) : undefined
    const consumer = (set ?? current).consumers[bit]
    if (consumer === undefined) return false
    if (!isJudged) return consumer.judge(view)
    const isTaken = ((consumers >>> bit) & 1) === 1
    // What the kernel takes for a consumer that it does not decide exactly is decided, and counted, here.
    if (isTaken && !consumer.isExact) return consumer.judge(view)
    // All else the kernel has counted, also where its answer is not believed.
    return set === undefined ? consumer.accepts(view) : isTaken
  }

  /** Would the present set have a consumer take the flow? Asks the rules alone and counts nothing. */
  wouldTake(bit: number, view: FlowView): boolean {
    const current = this.#current
    if (current === undefined) return true
    const consumer = current.consumers[bit]
    return consumer?.accepts(view) ?? false
  }

  /** The set that judged a record, undefined when no decision of a set that is kept is in it. */
  #setOf(current: JudgedSet, consumers: number, sequence: number): JudgedSet | undefined {
    if (sequence < this.#trustFrom) return undefined
    const parity = consumers >>> ConsumerFlag.SET
    if (parity === current.parity) return sequence >= current.first ? current : undefined
    const previous = this.#previous
    return previous !== undefined && sequence >= previous.first ? previous : undefined
  }

  /**
   * Compiles a set, in slices; commit() brings it into force.
   *
   * @param generation its lowest bit is CONSUMER_BIT_SET of the records that the kernel judges by this set
   * @param exactBits consumers that the kernel decides exactly
   */
  async prepare(rules: RuleSet, generation: number, exactBits: number): Promise<void> {
    this.#next = await JudgedSet.make(rules, generation & 1, exactBits)
  }

  /**
   * Brings the prepared set into force. The caller tells the kernel in the same turn of the event loop.
   *
   * @returns takes it back, for when the kernel refuses
   */
  commit(): () => void {
    const next = this.#next
    if (next === undefined) throw new Error('Cannot bring filters into force that were not prepared')
    const before = { current: this.#current, previous: this.#previous }
    next.first = this.#options.historyEnd()
    this.#totals.keep(next.rules)
    before.previous?.addCounts(this.#totals)
    before.previous?.resetCounts()
    this.#previous = before.current
    this.#current = next
    this.#next = undefined
    return () => {
      this.#current = before.current
      this.#previous = before.previous
      if (before.current !== undefined) this.#totals.keep(before.current.rules)
    }
  }

  /**
   * Says whether the kernel's bits in records that come from now on are to be believed: not while records of a set may
   * come that is not kept, as after a restart. What is not believed is decided here.
   */
  trust(isTrusted: boolean): void {
    if (!isTrusted) this.#trustFrom = Number.POSITIVE_INFINITY
    else if (this.#trustFrom === Number.POSITIVE_INFINITY) this.#trustFrom = this.#options.historyEnd()
  }

  /** For agents without a kernel: a replay. Every rule is decided here. */
  async apply(rules: RuleSet): Promise<AppliedRules> {
    const began = performance.now()
    const generation = this.#generation + 1
    await this.prepare(rules, generation, 0)
    this.commit()
    this.#generation = generation
    const decision: RuleDecision = { where: 'user', because: ['flows do not come from the kernel'] }
    const decisions = new Map(rules.consumers.flatMap((one) => one.rules.map(({ id }) => [id, decision] as const)))
    return { generation, decisions, tookMs: performance.now() - began }
  }

  /** What was decided here, added to the sums of another counter. */
  addCounts(into: FilterTotals): void {
    this.#ownTotals().addTo(into)
  }

  /** Counts of what was decided here. */
  counts(): FilterCounts {
    return this.#ownTotals().counts()
  }

  /** Whether a consumer of the present set, or of the one before it, has asked for anything so far. */
  wasAsked(bit: number, which: 'present' | 'former'): boolean {
    const set = which === 'present' ? this.#current : this.#previous
    return (set?.consumers[bit]?.events ?? 0) > 0
  }

  #ownTotals(): FilterTotals {
    const totals = this.#totals.copy()
    this.#previous?.addCounts(totals)
    this.#current?.addCounts(totals)
    return totals
  }
}
