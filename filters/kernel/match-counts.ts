import { ConsumerFlag, EventKind } from '../../model/layouts.gen.ts'
import type { FilterTotals } from '../counts.ts'
import type { KernelPlan, PlannedConsumer } from './plan.ts'

/** A match of the kernel's table: rules that accept an event in everything but its kind, and what became of the events. */
export interface MatchReading {
  /** struct rule_mask; empty for events that could not be judged. */
  readonly rules: Uint8Array
  /** By kind: flow_event.consumers of the events. */
  readonly consumers: Uint32Array
  /** By kind: events, kept and left out. */
  readonly events: Float64Array
}

const CONSUMERS = (1 << ConsumerFlag.UNDECIDED) - 1

/** Where a bit of the kernel's masks comes from. */
interface BitOwner {
  readonly consumer: PlannedConsumer
  /** Index of the rule over all consumers. */
  readonly rule: number
  readonly id: string
  /** False when the kernel decides the rule in part, and its share is an upper bound. */
  readonly isExact: boolean
}

/** Reads the kernel's counts of matches as counts of rules and consumers. */
export class MatchCounts {
  readonly #plan: KernelPlan
  readonly #owners: BitOwner[] = []
  readonly #seen: Uint32Array
  #round = 0

  constructor(plan: KernelPlan) {
    this.#plan = plan
    let rule = 0
    for (const consumer of plan.consumers) {
      for (const { id, bits, decision } of consumer.rules) {
        for (const bit of bits) this.#owners[bit] = { consumer, rule, id, isExact: decision.where === 'kernel' }
        rule++
      }
    }
    this.#seen = new Uint32Array(rule)
  }

  /**
   * Adds the events of one match. What the kernel takes for a consumer that it does not decide exactly is decided, and
   * counted, in user space.
   *
   * @param wasAsked whether user space is asked for the consumer of this bit at all: history and live queries decide for
   *   themselves
   */
  add(match: MatchReading, totals: FilterTotals, wasAsked: (bit: number) => boolean): void {
    const { events, consumers } = match
    for (let kind = 0; kind < EventKind.EVENT_KINDS; kind++) {
      const count = events[kind]!
      if (count === 0) continue
      if (match.rules.length === 0) {
        totals.unattributed += count
        continue
      }
      const takers = consumers[kind]! & CONSUMERS
      if (takers === 0) totals.filteredInKernel += count
      const isLeft = (consumer: PlannedConsumer) =>
        ((takers >>> consumer.bit) & 1) === 1 && !consumer.isExact && wasAsked(consumer.bit)
      for (const consumer of this.#plan.consumers) {
        if (((consumer.kinds >>> kind) & 1) === 0 || isLeft(consumer)) continue
        totals.addConsumer(consumer.name, count, ((takers >>> consumer.bit) & 1) === 1 ? count : 0)
      }
      this.#addRules(match.rules, kind, count, takers, totals, isLeft)
    }
  }

  #addRules(
    rules: Uint8Array,
    kind: number,
    count: number,
    takers: number,
    totals: FilterTotals,
    isLeft: (consumer: PlannedConsumer) => boolean,
  ): void {
    const round = ++this.#round
    for (let byte = 0; byte < rules.length; byte++) {
      for (let rest = rules[byte]!; rest !== 0; rest &= rest - 1) {
        const bit = byte * 8 + 31 - Math.clz32(rest & -rest)
        const owner = this.#owners[bit]
        // A rule that matches in two ways matches once.
        if (owner === undefined || this.#seen[owner.rule] === round || !this.#plan.acceptsKind(bit, kind)) continue
        this.#seen[owner.rule] = round
        const { consumer, id, isExact } = owner
        if (((consumer.kinds >>> kind) & 1) === 0 || isLeft(consumer)) continue
        const isTaken = ((takers >>> consumer.bit) & 1) === 1
        totals.addRule(id, count, isTaken ? count : 0, isTaken ? 0 : count, isExact)
      }
    }
  }
}
