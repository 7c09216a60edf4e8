import type { RingPages } from '../../native/index.ts'
import type { RecordReader } from '../source.ts'

/*
 * The kernel's ring (kernel/bpf/ringbuf.c). Positions are u64 and only grow; a record lies at its position modulo the
 * size, behind a header of 8 bytes, padded to 8:
 *
 *     0        4        8
 *     ├─ len ──┼─ page ─┼─ data ─ ...    len bit 31: still being written   bit 30: discarded
 */
const HEADER_BYTES = 8
const DISCARDED = 1 << 30
const LENGTH_MASK = DISCARDED - 1

/**
 * Reads the mapped ring of `events` in place. One reader to a ring: the consumer position is the kernel's only memory of
 * what was read, so a new process goes on where the last one released.
 */
export class RingReader implements RecordReader {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  /** Bytes of the ring. */
  readonly size: number
  /** Times that the ring's headers made no sense and what was written was skipped; 0 unless its memory is damaged. */
  broken = 0
  /** As int32, so that the busy bit is the sign. */
  readonly #headers: Int32Array
  /** Low half of the producer position. A ring is below 4 GiB: differences modulo 2^32 say it all. */
  readonly #producer: Int32Array
  readonly #consumer: BigUint64Array
  readonly #mask: number
  /** Low half of where the next record starts, as int32, and of the producer as last looked at. */
  #cursor: number
  #end: number
  #position: number
  #released: number
  #scanned: number

  constructor(pages: RingPages) {
    this.size = pages.size
    this.u8 = new Uint8Array(pages.data)
    this.u16 = new Uint16Array(pages.data)
    this.u32 = new Uint32Array(pages.data)
    this.#headers = new Int32Array(pages.data)
    this.#producer = new Int32Array(pages.producer, 0, 2)
    this.#consumer = new BigUint64Array(pages.consumer, 0, 1)
    this.#mask = pages.size - 1
    this.#position = Number(Atomics.load(this.#consumer, 0))
    this.#released = this.#position
    this.#scanned = this.#position
    this.#cursor = low32(this.#position)
    this.#end = this.#cursor
  }

  get position(): number {
    return this.#position
  }

  /** Position behind what the kernel has written so far. */
  get produced(): number {
    return this.#released + this.usedBytes
  }

  /** Bytes that the kernel has written and that were not given back. */
  get usedBytes(): number {
    return (Atomics.load(this.#producer, 0) - low32(this.#released)) >>> 0
  }

  next(): number {
    for (;;) {
      if (this.#cursor === this.#end) {
        this.#end = Atomics.load(this.#producer, 0)
        if (this.#cursor === this.#end) return -1
      }
      const offset = this.#cursor & this.#mask
      // Atomic: the kernel clears the busy bit after it wrote the data, and the data is to be read after the bit.
      const header = Atomics.load(this.#headers, offset >> 2)
      if (header < 0) return -1
      const advance = ((header & LENGTH_MASK) + HEADER_BYTES + 7) & ~7
      const left = (this.#end - this.#cursor) >>> 0
      if (advance > left) {
        this.#skip(left)
        continue
      }
      this.#cursor = (this.#cursor + advance) | 0
      this.#scanned += advance
      // Also behind a discarded one: a ring full of those alone must be given back too.
      this.#position = this.#scanned
      if ((header & DISCARDED) !== 0) continue
      return offset + HEADER_BYTES
    }
  }

  /**
   * The producer position moves by whole records: a header that reaches beyond it is none, and neither is anything that
   * would be read behind it. Reading goes on where the kernel writes next.
   */
  #skip(bytes: number): void {
    this.broken++
    this.#cursor = this.#end
    this.#scanned += bytes
    this.#position = this.#scanned
  }

  /** Records committed and not read yet; for the ledger. Walks their headers: a millisecond for a full ring. */
  waitingRecords(): number {
    const end = Atomics.load(this.#producer, 0)
    let count = 0
    for (let at = this.#cursor; at !== end; ) {
      const header = Atomics.load(this.#headers, (at & this.#mask) >> 2)
      if (header < 0) break
      const advance = ((header & LENGTH_MASK) + HEADER_BYTES + 7) & ~7
      if (advance > (end - at) >>> 0) break
      if ((header & DISCARDED) === 0) count++
      at = (at + advance) | 0
    }
    return count
  }

  release(position: number): void {
    if (position <= this.#released) return
    if (position > this.#position)
      throw new RangeError(`Cannot release up to ${position}: read up to ${this.#position}`)
    this.#released = position
    Atomics.store(this.#consumer, 0, BigInt(position))
  }
}

/** Low 32 bits of a position, as int32. `|` takes a number modulo 2^32, exactly below 2^53. */
function low32(position: number): number {
  return position | 0
}
