/**
 * One stage's count of flows: what came in, went on, waits, was left out and was lost, by reason.
 * The ledger closes when accepted = delivered + waiting + filtered + lost.
 */
export class StageLedger {
  readonly stage: string
  accepted = 0
  delivered = 0
  /** Left out on purpose. */
  filtered = 0
  /** Accepted and neither delivered nor lost yet. */
  waiting = 0
  readonly #lost = new Map<string, number>()

  constructor(stage: string) {
    this.stage = stage
  }

  /** @param reason from a closed set, snake_case: it becomes a label */
  lose(reason: string, count: number): void {
    this.#lost.set(reason, (this.#lost.get(reason) ?? 0) + count)
  }

  get lost(): number {
    let sum = 0
    for (const count of this.#lost.values()) sum += count
    return sum
  }

  get lostByReason(): ReadonlyMap<string, number> {
    return this.#lost
  }

  /** 0 when the ledger closes; positive when flows went missing uncounted. */
  get difference(): number {
    return this.accepted - this.delivered - this.filtered - this.waiting - this.lost
  }

  toJSON(): LedgerLine {
    return {
      stage: this.stage,
      accepted: this.accepted,
      delivered: this.delivered,
      filtered: this.filtered,
      waiting: this.waiting,
      lost: Object.fromEntries(this.#lost),
      difference: this.difference,
    }
  }
}

/** A stage as `sluice ledger -o json` prints it. */
export interface LedgerLine {
  readonly stage: string
  readonly accepted: number
  readonly delivered: number
  readonly filtered: number
  readonly waiting: number
  readonly lost: Readonly<Record<string, number>>
  readonly difference: number
}
