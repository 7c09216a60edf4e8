import { errorText } from '../base/errors.ts'
import { type Logger, LogLimiter } from '../base/logger.ts'
import { sameConsumer, sameRules } from '../filters/resources/rule-set.ts'
import type { AppliedRules, RuleDecision, RuleSet, RuleTarget } from '../filters/rules.ts'

/** A rule set that came into force. */
export interface AppliedNews {
  readonly rules: RuleSet
  /** Number of the set, from 1. */
  readonly generation: number
  /** By rule id. */
  readonly decisions: ReadonlyMap<string, RuleDecision>
  /** Consumers that take other events than before, that are new, or that are gone. */
  readonly changed: readonly string[]
  /** How long it took to put them into force. */
  readonly tookMs: number
}

/** Puts rule sets into force at every target or at none, one at a time: the caller waits for one to end. */
export class RuleApplier {
  /** Sets put into force. */
  applies = 0
  /** Times that a set could not be. */
  failures = 0
  /** Seconds that it took, failed tries included. */
  seconds = 0
  /** Milliseconds since 1970 when the set in force came into force; 0 before the first. */
  appliedAt = 0
  /** Why the newest set is not in force; undefined when it is. */
  lastFailure: unknown
  /** The set in force. */
  news: AppliedNews | undefined
  readonly #targets: readonly RuleTarget[]
  readonly #log: Logger
  readonly #now: () => number
  readonly #limiter = new LogLimiter()

  constructor(targets: readonly RuleTarget[], log: Logger, now: () => number) {
    this.#targets = targets
    this.#log = log
    this.#now = now
  }

  /**
   * @returns what came into force, or undefined when the same set already is
   * @throws what a target threw; the set before is in force then
   */
  async apply(rules: RuleSet): Promise<AppliedNews | undefined> {
    const before = this.news?.rules
    if (before !== undefined && this.lastFailure === undefined && sameRules(rules, before)) return undefined
    const began = performance.now()
    try {
      const decisions = await this.#applyToAll(rules, before)
      this.applies++
      this.appliedAt = this.#now()
      this.lastFailure = undefined
      const tookMs = performance.now() - began
      this.news = { rules, generation: this.applies, decisions, changed: changedConsumers(rules, before), tookMs }
    } catch (error) {
      this.#failed(error)
      throw error
    } finally {
      this.seconds += (performance.now() - began) / 1000
    }
    const count = rules.consumers.reduce((sum, consumer) => sum + consumer.rules.length, 0)
    const { generation, changed } = this.news
    this.#log.info({ generation, rules: count, changed }, 'Filters are in force')
    return this.news
  }

  async #applyToAll(rules: RuleSet, before: RuleSet | undefined): Promise<Map<string, RuleDecision>> {
    const done: RuleTarget[] = []
    const answers: AppliedRules[] = []
    try {
      for (const target of this.#targets) {
        answers.push(await target.apply(rules))
        done.push(target)
      }
    } catch (error) {
      if (before !== undefined) await this.#rollBack(done, before)
      throw error
    }
    return new Map(answers.flatMap((answer) => [...answer.decisions]))
  }

  async #rollBack(targets: readonly RuleTarget[], before: RuleSet): Promise<void> {
    for (const target of [...targets].reverse()) {
      try {
        await target.apply(before)
      } catch (error) {
        this.#log.error({ err: errorText(error) }, 'Cannot put the filters before back into force')
      }
    }
  }

  #failed(error: unknown): void {
    this.failures++
    this.lastFailure = error ?? new Error('a target failed without saying why')
    this.#limiter.run('apply', (held) => {
      this.#log.error({ err: errorText(error), held }, 'Cannot put filters into force, those before stay')
    })
  }
}

function changedConsumers(now: RuleSet, before: RuleSet | undefined): string[] {
  const known = new Map(before?.consumers.map((consumer) => [consumer.name, consumer]))
  const changed = now.consumers.flatMap((consumer) => {
    const old = known.get(consumer.name)
    known.delete(consumer.name)
    return old !== undefined && sameConsumer(consumer, old) ? [] : [consumer.name]
  })
  return [...changed, ...known.keys()]
}
