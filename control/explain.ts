import { setImmediate as nextTurn } from 'node:timers/promises'
import { compileMany } from '../filters/compile.ts'
import type { FlowPredicate } from '../filters/predicate.ts'
import type { FilterConsumer, FilterRule, RuleSet } from '../filters/rules.ts'
import type { FlowStore } from '../model/contracts.ts'
import { type Choice, MatchTable } from './match-table.ts'

/** What flows cost where they end up; the exporters measure it. */
export interface CostMeters {
  /** Series, and bytes of a scrape, of a metric consumer that counts the flows [first, end) that are wanted. */
  series(consumer: string, range: FlowRange, wants: FlowPredicate, signal: AbortSignal): Promise<SeriesCost>
  /** Lines and bytes of the log of the flows [first, end) that are wanted. */
  lines(range: FlowRange, wants: FlowPredicate, signal: AbortSignal): Promise<LineCost>
}

/** Sequences of flows of a store: [first, end). */
export interface FlowRange {
  readonly store: FlowStore
  readonly first: number
  readonly end: number
}

export interface SeriesCost {
  readonly series: number
  /** Of a scrape. */
  readonly bytes: number
}

export interface LineCost {
  readonly lines: number
  readonly bytes: number
}

/** Three answers to "which filters": those asked about, none, and those in force. */
export interface CompareSets {
  readonly with: RuleSet
  readonly without: RuleSet
  readonly now: RuleSet
}

export interface ExplainInput extends FlowRange {
  readonly sets: CompareSets
  /** What the kernel asks in place of a rule, by rule id, where that is not the rule itself; see kernelTests(). */
  readonly relaxed: ReadonlyMap<string, FlowPredicate>
  readonly meters: CostMeters
  /** How long the flows of the range took to come, where that is known better than from their times. */
  readonly seconds?: number
}

/** One way in which a consumer is filtered, and what comes of it. */
export interface ExplainedAmount {
  readonly isOn: boolean
  readonly kept: number
  /** Of a metric, else 0. */
  readonly series: number
  readonly scrapeBytes: number
  /** Of the log, else 0. */
  readonly logBytes: number
}

export interface ExplainedConsumer {
  readonly name: string
  readonly rules: number
  /** Events of kinds that concern it. */
  readonly events: number
  readonly with: ExplainedAmount
  readonly without: ExplainedAmount
  readonly now: ExplainedAmount
}

export interface ExplainedRule {
  readonly consumer: string
  readonly rule: FilterRule
  readonly matched: number
  readonly kept: number
  readonly leftOut: number
  /** The consumer with all its rules but this one; undefined beyond MAX_MEASURED_RULES. */
  readonly without: ExplainedAmount | undefined
}

export interface ExplainReport {
  readonly flows: number
  /** Of the range that were overwritten before they were looked at. */
  readonly overwritten: number
  readonly firstSecs: number
  readonly lastSecs: number
  readonly seconds: number
  readonly consumers: readonly ExplainedConsumer[]
  readonly rules: readonly ExplainedRule[]
  /** Events that leave the kernel. */
  readonly leaving: { readonly with: number; readonly without: number; readonly now: number }
}

/** Called with what is being done, and the share of the whole that is done, 0 to 1. */
export type ExplainNews = (step: 'flows' | 'series and lines', done: number) => void

/** Rules whose absence is measured in series and bytes: each takes a walk over all flows. */
export const MAX_MEASURED_RULES = 64
/** Flows judged by masks between two turns of the event loop: a millisecond or two. */
const FLOWS_PER_TURN = 8000
/** Of the whole work, what asking the rules takes; for people who wait. */
const TABLE_SHARE = 0.5

/**
 * Measures filters on flows: what each rule matches, and what series, log and kernel have to do with them, without any,
 * and as it is now. Nothing is changed. Works in slices of some milliseconds.
 *
 * @param signal ends it early; the result is of no use then
 */
export async function explain(
  input: ExplainInput,
  signal: AbortSignal,
  onNews: ExplainNews = () => {},
): Promise<ExplainReport> {
  const { sets, relaxed, store } = input
  const table = new MatchTable(await testsOf(sets, relaxed), input.first, input.end)
  await table.fill(store, signal, (share) => onNews('flows', share * TABLE_SHARE))
  const work = new Explanation(input, table, signal, onNews)
  const consumers = await work.consumers()
  const explained = await work.rules()
  const leaving = {
    with: await work.leaving(sets.with),
    without: await work.leaving(sets.without),
    now: sets.now === sets.with ? 0 : await work.leaving(sets.now),
  }
  return {
    flows: table.flows,
    overwritten: input.end - input.first - table.flows,
    firstSecs: table.firstSecs,
    lastSecs: table.lastSecs,
    seconds: input.seconds ?? table.lastSecs - table.firstSecs,
    consumers,
    rules: explained,
    leaving: { ...leaving, now: sets.now === sets.with ? leaving.with : leaving.now },
  }
}

/** Number of rules that a table for these sets would hold, see MatchTable.fitting(). */
export function ruleCount(sets: CompareSets, relaxed: ReadonlyMap<string, unknown>): number {
  const rules = distinctRules(sets)
  return rules.length + rules.filter(({ id }) => relaxed.has(id)).length
}

function distinctRules(sets: CompareSets): FilterRule[] {
  const all = [sets.with, sets.now, sets.without].flatMap(({ consumers }) => consumers.flatMap(({ rules }) => rules))
  return [...new Map(all.map((rule) => [rule.id, rule])).values()]
}

/** Prefix of the ids of what the kernel asks in place of a rule. */
const RELAXED = 'kernel '

async function testsOf(
  sets: CompareSets,
  relaxed: ReadonlyMap<string, FlowPredicate>,
): Promise<Map<string, FlowPredicate>> {
  const rules = distinctRules(sets)
  const compiled = await compileMany(rules.map(({ predicate }) => predicate))
  const tests = new Map(rules.map(({ id }, index) => [id, compiled[index]!]))
  for (const { id } of rules) {
    const test = relaxed.get(id)
    if (test !== undefined) tests.set(RELAXED + id, test)
  }
  return tests
}

class Explanation {
  readonly #input: ExplainInput
  readonly #table: MatchTable
  readonly #signal: AbortSignal
  readonly #onNews: ExplainNews
  /** Amounts of the rules asked about, by consumer. */
  readonly #with = new Map<string, ExplainedAmount>()
  #measured = 0
  #toMeasure: number

  constructor(input: ExplainInput, table: MatchTable, signal: AbortSignal, onNews: ExplainNews) {
    this.#input = input
    this.#table = table
    this.#signal = signal
    this.#onNews = onNews
    const { consumers } = input.sets.with
    const rules = consumers.reduce((sum, consumer) => sum + consumer.rules.length, 0)
    this.#toMeasure = 3 * consumers.length + Math.min(rules, MAX_MEASURED_RULES)
  }

  async consumers(): Promise<ExplainedConsumer[]> {
    const { sets } = this.#input
    const found: ExplainedConsumer[] = []
    for (const consumer of sets.with.consumers) {
      const choice = this.#table.choice(consumer)
      const amount = await this.#amount(consumer.name, choice)
      this.#with.set(consumer.name, amount)
      const free = this.#consumer(sets.without, consumer)
      const inForce = sets.now === sets.with ? consumer : this.#consumer(sets.now, consumer)
      found.push({
        name: consumer.name,
        rules: consumer.rules.length,
        events: await this.#count((index) => this.#table.concerns(choice, index)),
        with: amount,
        without: await this.#amount(consumer.name, this.#table.choice(free)),
        now: inForce === consumer ? amount : await this.#amount(consumer.name, this.#table.choice(inForce)),
      })
    }
    return found
  }

  async rules(): Promise<ExplainedRule[]> {
    const found: ExplainedRule[] = []
    let measured = 0
    for (const consumer of this.#input.sets.with.consumers) {
      const choice = this.#table.choice(consumer)
      for (const rule of consumer.rules) {
        const matched = await this.#count(
          (index) => this.#table.concerns(choice, index) && this.#table.matches(rule.id, index),
        )
        const kept = await this.#count(
          (index) => this.#table.takes(choice, index) && this.#table.matches(rule.id, index),
        )
        const isMeasured = measured++ < MAX_MEASURED_RULES
        const without = isMeasured ? await this.#withoutRule(consumer, choice, rule) : undefined
        found.push({ consumer: consumer.name, rule, matched, kept, leftOut: matched - kept, without })
      }
    }
    return found
  }

  /** Events that a set of rules lets out of the kernel, which may be asked less than the rules are. */
  async leaving(set: RuleSet): Promise<number> {
    const { relaxed } = this.#input
    const choices = set.consumers.map((consumer) => this.#table.choice(inKernel(consumer, relaxed)))
    return await this.#count((index) => choices.some((choice) => this.#table.takes(choice, index)))
  }

  #consumer(set: RuleSet, like: FilterConsumer): FilterConsumer {
    return set.consumers.find(({ name }) => name === like.name) ?? { ...like, isOn: false, rules: [] }
  }

  async #withoutRule(consumer: FilterConsumer, choice: Choice, rule: FilterRule): Promise<ExplainedAmount> {
    const { sets } = this.#input
    const table = this.#table
    const free = this.#consumer(sets.without, consumer)
    const rest = table.choice(consumer, rule.id, free.rules)
    const before = this.#with.get(consumer.name)!
    const gained = await this.#count((index) => table.takes(rest, index) && !table.takes(choice, index))
    const lost = await this.#count((index) => table.takes(choice, index) && !table.takes(rest, index))
    if (gained + lost === 0) {
      this.#step()
      return before
    }
    const kept = before.kept + gained - lost
    if (consumer.name !== 'log') return { ...(await this.#amount(consumer.name, rest)), kept }
    // A line's bytes are its own: those of the flows that come or go are enough.
    const { bytes } = await this.#lines((index) => table.takes(rest, index) !== table.takes(choice, index))
    this.#step()
    return { ...before, kept, logBytes: before.logBytes + (gained > 0 ? bytes : -bytes) }
  }

  async #amount(name: string, choice: Choice): Promise<ExplainedAmount> {
    const takes = (index: number): boolean => this.#table.takes(choice, index)
    const amount = { isOn: choice.isOn, kept: await this.#count(takes), series: 0, scrapeBytes: 0, logBytes: 0 }
    let measured: ExplainedAmount = amount
    if (name === 'log') {
      measured = { ...amount, logBytes: (await this.#lines(takes)).bytes }
    } else if (name.startsWith('metric/') && choice.isOn) {
      const { meters } = this.#input
      const { series, bytes } = await meters.series(name, this.#input, this.#wants(takes), this.#signal)
      measured = { ...amount, series, scrapeBytes: bytes }
    }
    this.#step()
    return measured
  }

  #lines(takes: (index: number) => boolean): Promise<LineCost> {
    return this.#input.meters.lines(this.#input, this.#wants(takes), this.#signal)
  }

  /** For readers of the store: a flow that was overwritten meanwhile is another one, which nobody asked about. */
  #wants(takes: (index: number) => boolean): FlowPredicate {
    const { store, first, end } = this.#input
    return ({ sequence }) => sequence >= store.first && sequence >= first && sequence < end && takes(sequence - first)
  }

  async #count(holds: (index: number) => boolean): Promise<number> {
    const { first, end } = this.#input
    let count = 0
    for (let index = 0; index < end - first && !this.#signal.aborted; ) {
      const stop = Math.min(end - first, index + FLOWS_PER_TURN)
      for (; index < stop; index++) if (holds(index)) count++
      if (stop < end - first) await nextTurn()
    }
    return count
  }

  #step(): void {
    this.#measured++
    this.#onNews('series and lines', TABLE_SHARE + (1 - TABLE_SHARE) * Math.min(1, this.#measured / this.#toMeasure))
  }
}

/** A consumer as the kernel judges it, before user space asks again. */
function inKernel(consumer: FilterConsumer, relaxed: ReadonlyMap<string, FlowPredicate>): FilterConsumer {
  const rules = consumer.rules.map((rule) => (relaxed.has(rule.id) ? { ...rule, id: RELAXED + rule.id } : rule))
  return { ...consumer, rules }
}
