import { CONSUMER_BITS, type FlowJudge } from '../../filters/rules.ts'
import type { FlowStore } from '../../model/contracts.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { bytesOf, LineBuffer, putBytes } from './bytes.ts'
import { MAX_LINE_BYTES } from './config.ts'
import type { FlowEncoder } from './encode.ts'
import type { LostLines } from './lost-lines.ts'

/** Flows looked at in one go at most, so that a filter that keeps nothing does not hold the event loop. */
const MAX_FLOWS = 4096

/** Encoded lines on their way to the file, and what they stand for. */
export class Chunk {
  readonly #buffer: LineBuffer
  #length = 0
  /** One past the last flow that is settled when these bytes are in the file. */
  end = 0
  /** Flows among the lines; flows left out by the filter; flows too long to write. */
  flows = 0
  filtered = 0
  tooLong = 0
  /** Lines, lost_events lines included. */
  lines = 0

  /** @param capacity bytes, at least two lines of the longest */
  constructor(capacity: number) {
    this.#buffer = new LineBuffer(capacity)
  }

  get bytes(): Uint8Array {
    return this.#buffer.bytes.subarray(0, this.#length)
  }

  get length(): number {
    return this.#length
  }

  /** Fills the chunk with the lines of flows [first, end) that the log takes, as far as they fit. */
  fill(source: ChunkSource, first: number, end: number): void {
    this.#length = 0
    this.flows = 0
    this.filtered = 0
    this.tooLong = 0
    this.lines = 0
    if (!source.lost.isEmpty) this.#writeLost(source)
    const { store, view, encoder, judge } = source
    const limit = this.#buffer.bytes.length - MAX_LINE_BYTES
    const last = Math.min(end, first + MAX_FLOWS)
    let at = this.#length
    let sequence = first
    for (; sequence < last && at <= limit; sequence++) {
      store.seek(view, sequence)
      if (judge !== undefined && !judge.wants(CONSUMER_BITS.LOG, view)) {
        this.filtered++
        continue
      }
      const to = encoder.encode(view, this.#buffer, at)
      if (to < 0) {
        this.tooLong++
        continue
      }
      at = to
      this.flows++
    }
    this.lines += this.flows
    this.#length = at
    this.end = sequence
  }

  #writeLost({ lost, store }: ChunkSource): void {
    const { nodeName } = store.context
    // Hubble's flows say `cluster/node`, its lost events the bare node.
    for (const line of lost.take(nodeName.slice(nodeName.lastIndexOf('/') + 1))) {
      this.#length = putBytes(this.#buffer, this.#length, bytesOf(line))
      this.lines++
    }
  }
}

export interface ChunkSource {
  readonly store: FlowStore
  readonly view: FlowView
  readonly encoder: FlowEncoder
  /** undefined: the log takes every flow */
  readonly judge: FlowJudge | undefined
  readonly lost: LostLines
}
