import type { RecordReader } from '../../collector/source.ts'

/** A RecordReader that gives the bytes it was set to, once; they need not be a record. */
export class RawReader implements RecordReader {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  position = 0
  #isSet = false

  /** @param bytes longest record; what is longer is cut, as it lies in a ring that ends */
  constructor(bytes: number) {
    const buffer = new ArrayBuffer((bytes + 7) & ~7)
    this.u8 = new Uint8Array(buffer)
    this.u16 = new Uint16Array(buffer)
    this.u32 = new Uint32Array(buffer)
  }

  set(record: Uint8Array): void {
    this.u8.fill(0)
    this.u8.set(record.subarray(0, this.u8.length))
    this.#isSet = true
  }

  next(): number {
    if (!this.#isSet) return -1
    this.#isSet = false
    this.position += this.u8.length
    return 0
  }

  release(): void {}
}
