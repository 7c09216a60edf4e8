import { Listeners } from '../base/lifetime.ts'
import type { FlowStore, LostRecords } from '../model/contracts.ts'
import { type FlowContext, FlowView, SlotArrays } from '../model/flow-view.ts'
import { FLOW_EVENT, FLOW_SLOT, FLOW_STAMP } from '../model/layouts.gen.ts'
import { L7Store } from './l7/store.ts'
import { TimeIndex } from './time-index.ts'

/** One million flows of 160 bytes are 160 MB: with L7 store and heap inside 350 MB. */
export const DEFAULT_HISTORY_FLOWS = 1_000_000
/** 32 MiB hold about 130,000 DNS or HTTP messages of 250 bytes. */
export const DEFAULT_L7_BYTES = 32 * 1024 * 1024

const EVENT_WORDS = FLOW_EVENT.SIZE >> 2
const SLOT_WORDS = FLOW_SLOT.SIZE >> 2
const TIME_LOW = (FLOW_SLOT.stamp + FLOW_STAMP.unixNs) >> 2

export interface FlowHistoryOptions {
  /** Flows that fit; at least 2. */
  readonly capacity?: number
  /** Bytes for L7 messages. */
  readonly l7Bytes?: number
}

/**
 * The history: one buffer of slots, written in order and overwritten in order. A slot is the record as the kernel
 * wrote it and a stamp; nothing is decoded until a view looks at it.
 *
 * Everything it shows is complete: when the L7 store has overwritten the message of a flow that is still in its slot,
 * `first` moves past that flow. A node with much L7 traffic therefore keeps fewer than `capacity` flows, counted in
 * `shortened`; raising the L7 store's bytes gets them back.
 */
export class FlowHistory implements FlowStore {
  readonly context: FlowContext
  readonly capacity: number
  readonly arrays: SlotArrays
  readonly l7: L7Store
  readonly #u32: Uint32Array
  readonly #times: TimeIndex
  readonly #append = new Listeners<void>()
  readonly #lost = new Listeners<LostRecords>()
  #end = 0
  #slot = 0

  constructor(context: FlowContext, options: FlowHistoryOptions = {}) {
    this.context = context
    this.capacity = Math.max(2, options.capacity ?? DEFAULT_HISTORY_FLOWS)
    this.arrays = new SlotArrays(new ArrayBuffer(this.capacity * FLOW_SLOT.SIZE))
    this.#u32 = this.arrays.u32
    this.l7 = new L7Store(options.l7Bytes ?? DEFAULT_L7_BYTES)
    this.#times = new TimeIndex()
  }

  get end(): number {
    return this.#end
  }

  get first(): number {
    return Math.max(this.#end - this.capacity, this.l7.complete)
  }

  /** Flows that have their slot still but lost their place because their L7 message was overwritten. */
  get shortened(): number {
    return this.first - Math.max(0, this.#end - this.capacity)
  }

  createView(): FlowView {
    return new FlowView(this.arrays, this.context)
  }

  seek(view: FlowView, sequence: number): void {
    view.move(sequence % this.capacity, sequence)
  }

  /**
   * Copies a record into the next slot and makes it the newest flow. The caller fills the rest of the stamp before
   * anybody else runs, and calls publish() at the end of a drain.
   *
   * @param record words of the source @param offset byte offset of the record in them
   * @param low, high wall time @returns index of the slot's first word in `arrays.u32`
   */
  admit(record: Uint32Array, offset: number, low: number, high: number): number {
    const slot = this.#slot
    const to = slot * SLOT_WORDS
    const from = offset >>> 2
    const u32 = this.#u32
    for (let i = 0; i < EVENT_WORDS; i += 8) {
      // Eight words a round: 36 ns a record where one a round took 70 (measured).
      u32[to + i] = record[from + i]!
      u32[to + i + 1] = record[from + i + 1]!
      u32[to + i + 2] = record[from + i + 2]!
      u32[to + i + 3] = record[from + i + 3]!
      u32[to + i + 4] = record[from + i + 4]!
      u32[to + i + 5] = record[from + i + 5]!
      u32[to + i + 6] = record[from + i + 6]!
      u32[to + i + 7] = record[from + i + 7]!
    }
    u32[to + TIME_LOW] = low
    u32[to + TIME_LOW + 1] = high
    this.#times.add(this.#end, low, high)
    this.#slot = slot + 1 === this.capacity ? 0 : slot + 1
    this.#end++
    return to
  }

  /** Tells the listeners that flows were added. */
  publish(): void {
    this.#times.forget(this.first)
    this.#append.emit()
  }

  /** Tells the listeners that records were lost before they became flows. */
  lose(lost: LostRecords): void {
    this.#lost.emit(lost)
  }

  lowerBound(secs: number, nanos: number): number {
    const time = BigInt.asUintN(64, BigInt(Math.trunc(secs)) * 1_000_000_000n + BigInt(Math.trunc(nanos)))
    if (secs < 0) return this.first
    return this.#times.lowerBound(time, this.first, this.#end, this.#timeAt)
  }

  readonly #timeAt = (sequence: number, half: 0 | 1): number =>
    this.#u32[(sequence % this.capacity) * SLOT_WORDS + TIME_LOW + half]!

  onAppend(listener: () => void): Disposable {
    return this.#append.add(listener)
  }

  onLost(listener: (lost: LostRecords) => void): Disposable {
    return this.#lost.add(listener)
  }
}
