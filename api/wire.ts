/**
 * Protobuf's wire format into one growing buffer: the part of it that flows need, with no object per value.
 * Lengths of nested messages are filled in afterwards (`begin` and `end`), so nothing is encoded twice.
 */
export class WireWriter {
  bytes: Uint8Array
  /** Where the next byte goes; everything before it is written. */
  at = 0
  readonly #limit: number

  /** @param limit bytes that the buffer may grow to; writing more throws a RangeError */
  constructor(size: number, limit = 16 * 1024 * 1024) {
    this.bytes = new Uint8Array(size)
    this.#limit = limit
  }

  /** Makes room. Every other method but `raw` and `text` relies on room made before. */
  ensure(room: number): void {
    if (this.at + room > this.bytes.length) this.#grow(room)
  }

  #grow(room: number): void {
    const wanted = this.at + room
    if (wanted > this.#limit) {
      throw new RangeError(`Cannot encode a message of ${wanted} bytes: the limit is ${this.#limit}`)
    }
    const next = new Uint8Array(Math.min(this.#limit, Math.max(wanted, this.bytes.length * 2)))
    next.set(this.bytes.subarray(0, this.at))
    this.bytes = next
  }

  byte(value: number): void {
    this.bytes[this.at++] = value
  }

  /** @param value 0 to 2^32 - 1 */
  varint(value: number): void {
    let rest = value >>> 0
    while (rest > 127) {
      this.bytes[this.at++] = (rest & 127) | 128
      rest >>>= 7
    }
    this.bytes[this.at++] = rest
  }

  /** @param value 0 to 2^53 - 1 */
  varint53(value: number): void {
    let rest = value
    while (rest > 0xffff_ffff) {
      this.bytes[this.at++] = (rest & 127) | 128
      rest = Math.floor(rest / 128)
    }
    this.varint(rest)
  }

  /** Field number and wire type; tags of fields below 16 are one byte. */
  tag(field: number, wireType: 0 | 2): void {
    this.varint((field << 3) | wireType)
  }

  /** A varint field; zero is protobuf's default and is left out. */
  uint(field: number, value: number): void {
    if (value === 0) return
    this.tag(field, 0)
    this.varint(value)
  }

  /** A string field; the empty string is left out. Makes room itself. */
  text(field: number, value: string): void {
    if (value === '') return
    this.element(field, value)
  }

  /** One entry of a repeated string field: written also when it is empty. Makes room itself. */
  element(field: number, value: string): void {
    const length = value.length
    this.ensure(20 + length * 3)
    this.tag(field, 2)
    const mark = this.begin()
    const { bytes } = this
    let at = this.at
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i)
      if (code > 127) {
        at = this.at + encoder.encodeInto(value, bytes.subarray(this.at)).written
        break
      }
      bytes[at++] = code
    }
    this.at = at
    this.end(mark)
  }

  /** Bytes as they are. Makes room itself. */
  raw(source: Uint8Array): void {
    this.ensure(source.length)
    this.bytes.set(source, this.at)
    this.at += source.length
  }

  /** Starts a length-delimited value whose length is not known yet; for values that are mostly below 128 bytes. */
  begin(): number {
    return ++this.at
  }

  /** Ends what `begin` started: writes the length in front, moving the value when that takes more than one byte. */
  end(mark: number): void {
    const length = this.at - mark
    if (length < 128) {
      this.bytes[mark - 1] = length
      return
    }
    this.#close(mark, 1, length)
  }

  /** As `begin`, for values that are mostly 128 to 16,383 bytes. */
  beginLong(): number {
    this.at += 2
    return this.at
  }

  endLong(mark: number): void {
    const length = this.at - mark
    if (length >= 128 && length < 16384) {
      this.bytes[mark - 2] = (length & 127) | 128
      this.bytes[mark - 1] = length >>> 7
      return
    }
    this.#close(mark, 2, length)
  }

  /** Moves a value so that exactly the bytes of its length stand before it. */
  #close(mark: number, reserved: number, length: number): void {
    const needed = length < 128 ? 1 : length < 16384 ? 2 : length < 2097152 ? 3 : 4
    const start = mark - reserved
    this.ensure(needed)
    this.bytes.copyWithin(start + needed, mark, this.at)
    this.at = start
    this.varint(length)
    this.at += length
  }

  /** A copy of what was written since a position. */
  slice(from: number): Uint8Array {
    return this.bytes.slice(from, this.at)
  }
}

const encoder = new TextEncoder()
