import { setImmediate as nextTurn } from 'node:timers/promises'
import { eventKindBits } from '../filters/kinds.ts'
import type { FlowPredicate } from '../filters/predicate.ts'
import type { FilterConsumer, FilterRule } from '../filters/rules.ts'
import type { FlowStore } from '../model/contracts.ts'
import type { FlowView } from '../model/flow-view.ts'

/** A table's memory, bytes: it lives as long as one question. */
export const MAX_TABLE_BYTES = 48 << 20
/** How long the event loop is held, milliseconds. */
const SLICE_MS = 3
/** Rules asked between two looks at the clock: some hundred microseconds, a millisecond where they are expressions. */
const RULES_PER_LOOK = 4096
/** Kinds of a flow that was overwritten before it was looked at. */
const GONE = 0

/** How a consumer chooses, as masks over a table's rules. */
export interface Choice {
  readonly isOn: boolean
  /** Bit per EventKind. */
  readonly kinds: number
  readonly hasInclude: boolean
  readonly include: Uint32Array
  readonly exclude: Uint32Array
  /** Words of the masks that are not zero: [from, to). */
  readonly from: number
  readonly to: number
}

/**
 * Which rules match which flows: each rule is asked of each flow once, then any choice of rules is a matter of masks.
 * That is what makes it cheap to ask what each single rule changes.
 */
export class MatchTable {
  readonly first: number
  readonly end: number
  readonly words: number
  readonly #bits: Uint32Array
  readonly #kinds: Uint8Array
  readonly #tests: readonly FlowPredicate[]
  readonly #bitOf = new Map<string, number>()
  /** Seconds since 1970 of the oldest and the newest flow; 0 when there is none. */
  firstSecs = 0
  lastSecs = 0
  /** Flows looked at: those of the range that were still there. */
  flows = 0

  /** Newest flows of [first, end) that fit MAX_TABLE_BYTES with so many rules. */
  static fitting(first: number, end: number, rules: number): number {
    const bytes = 4 * Math.max(1, Math.ceil(rules / 32)) + 1
    return Math.max(first, end - Math.floor(MAX_TABLE_BYTES / bytes))
  }

  /** @param tests by rule id @param first, end a range that fits, see fitting() */
  constructor(tests: ReadonlyMap<string, FlowPredicate>, first: number, end: number) {
    this.first = first
    this.end = end
    this.words = Math.max(1, Math.ceil(tests.size / 32))
    this.#bits = new Uint32Array((end - first) * this.words)
    this.#kinds = new Uint8Array(end - first)
    this.#tests = [...tests.values()]
    for (const id of tests.keys()) this.#bitOf.set(id, this.#bitOf.size)
  }

  /**
   * Asks every rule of every flow, in slices. Flows that are overwritten meanwhile are left out.
   *
   * @param onDone share of the work that is done, 0 to 1; called once a slice
   */
  async fill(store: FlowStore, signal: AbortSignal, onDone: (share: number) => void = () => {}): Promise<void> {
    const view = store.createView()
    const step = Math.max(1, Math.floor(RULES_PER_LOOK / Math.max(1, this.#tests.length)))
    let next = this.first
    while (next < this.end && !signal.aborted) {
      const deadline = performance.now() + SLICE_MS
      do {
        next = Math.max(next, store.first)
        const stop = Math.min(this.end, next + step)
        for (; next < stop; next++) {
          store.seek(view, next)
          this.#look(view, next - this.first)
        }
      } while (next < this.end && performance.now() < deadline)
      onDone((Math.min(next, this.end) - this.first) / (this.end - this.first))
      await nextTurn()
    }
  }

  #look(view: FlowView, index: number): void {
    const tests = this.#tests
    const at = index * this.words
    for (let i = 0; i < tests.length; i++) {
      if (tests[i]!(view)) this.#bits[at + (i >>> 5)]! |= 1 << (i & 31)
    }
    this.#kinds[index] = eventKindBits(view)
    const secs = view.timeSecs + view.timeNanos / 1e9
    if (this.flows === 0 || secs < this.firstSecs) this.firstSecs = secs
    if (this.flows === 0 || secs > this.lastSecs) this.lastSecs = secs
    this.flows++
  }

  /** Whether a rule matches a flow, whatever its kind. @param index place in the range, from 0 */
  matches(id: string, index: number): boolean {
    const bit = this.#bitOf.get(id)
    return bit !== undefined && (this.#bits[index * this.words + (bit >>> 5)]! & (1 << (bit & 31))) !== 0
  }

  /** True when the flow was there, and its kind concerns the choice. */
  concerns(choice: Choice, index: number): boolean {
    const kinds = this.#kinds[index]!
    return kinds !== GONE && (choice.kinds & kinds) !== 0
  }

  /** Whether a choice takes a flow. @param index place in the range, from 0 */
  takes(choice: Choice, index: number): boolean {
    if (!choice.isOn || !this.concerns(choice, index)) return false
    const { include, exclude } = choice
    const at = index * this.words
    let isIncluded = !choice.hasInclude
    for (let word = choice.from; word < choice.to; word++) {
      const bits = this.#bits[at + word]!
      if ((bits & exclude[word]!) !== 0) return false
      if ((bits & include[word]!) !== 0) isIncluded = true
    }
    return isIncluded
  }

  /**
   * Masks of a consumer.
   *
   * @param without id of a rule that is left out
   * @param otherwise what stands in for include rules when none is left; none unless given
   */
  choice(consumer: FilterConsumer, without?: string, otherwise: readonly FilterRule[] = []): Choice {
    const rules = consumer.rules.filter(({ id }) => id !== without)
    const own = rules.filter(({ effect }) => effect === 'include')
    const includes = own.length > 0 ? own : otherwise.filter(({ effect }) => effect === 'include')
    const include = this.#mask(includes)
    const exclude = this.#mask(rules.filter(({ effect }) => effect === 'exclude'))
    let from = 0
    let to = this.words
    while (from < to && include[from] === 0 && exclude[from] === 0) from++
    while (to > from && include[to - 1] === 0 && exclude[to - 1] === 0) to--
    const { isOn, kinds } = consumer
    return { isOn, kinds, hasInclude: includes.length > 0, include, exclude, from, to }
  }

  #mask(rules: readonly FilterRule[]): Uint32Array {
    const mask = new Uint32Array(this.words)
    for (const { id } of rules) {
      const bit = this.#bitOf.get(id)
      if (bit !== undefined) mask[bit >>> 5]! |= 1 << (bit & 31)
    }
    return mask
  }
}
