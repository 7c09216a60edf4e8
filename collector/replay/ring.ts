import { FLOW_EVENT } from '../../model/layouts.gen.ts'
import type { RecordReader } from '../source.ts'

/** Records of a replay that wait to be read and settled: 4,096 x 128 bytes. */
export const REPLAY_RECORDS = 4096

/**
 * A ring of records in memory, written by a replay and read by the pipeline as the kernel's is. Positions count bytes
 * and only grow; a record never wraps, as the ring holds a whole number of them.
 */
export class ReplayRing implements RecordReader {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  readonly records: number
  #written = 0
  #read = 0
  #released = 0
  #wake: (() => void) | undefined

  constructor(records: number = REPLAY_RECORDS) {
    this.records = records
    const buffer = new ArrayBuffer(records * FLOW_EVENT.SIZE)
    this.u8 = new Uint8Array(buffer)
    this.u16 = new Uint16Array(buffer)
    this.u32 = new Uint32Array(buffer)
  }

  get position(): number {
    return this.#read * FLOW_EVENT.SIZE
  }

  next(): number {
    if (this.#read === this.#written) return -1
    const offset = (this.#read % this.records) * FLOW_EVENT.SIZE
    this.#read++
    return offset
  }

  release(position: number): void {
    this.#released = position / FLOW_EVENT.SIZE
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Records that may be written now. */
  get free(): number {
    return this.records - (this.#written - this.#released)
  }

  /** Everything that was written has been released. */
  get isEmpty(): boolean {
    return this.#released === this.#written
  }

  /** Index of the record that is written next. */
  get slot(): number {
    return this.#written % this.records
  }

  /** Hands the record at `slot` to the reader. */
  commit(): void {
    this.#written++
  }

  /** Ends at the next release(); one waits at a time. */
  released(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}
