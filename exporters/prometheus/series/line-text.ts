import { valueText } from './text.ts'

/** Lines in one piece of text; a series' lines never part. 128 lines of 150 bytes are 19 KB: cheap to move within. */
const CHUNK_LINES = 128
const NEWLINE = 10
const ZERO = 48

interface Chunk {
  text: Buffer
  used: number
  lines: number
}

/**
 * The sample lines of a family, rendered once and kept: a scrape only overwrites the digits that changed. A line is
 *
 *     name{labels} 123 # {traceID="…"} 0.2 1790000000.5 \n
 *     └── prefix ─┘└─┘└────────── suffix ─────────────┘
 *                 value
 *
 * Lines are numbered series × fields + field and stand in that order, in chunks. Where a value needs more digits,
 * the rest of its chunk moves. Changes of structure are marked while flows are counted and applied at the scrape.
 */
export class LineText {
  readonly #fields: number
  readonly #chunkLines: number
  readonly #chunks: (Chunk | undefined)[] = []
  #start = new Uint32Array(0)
  #prefix = new Uint32Array(0)
  #width = new Uint8Array(0)
  #suffix = new Uint16Array(0)
  #value = new Float64Array(0)
  #dirty: number[] = []
  #isDirty = new Uint8Array(0)

  /** @param fields lines of one series: 1, or what a histogram has */
  constructor(fields: number) {
    this.#fields = fields
    this.#chunkLines = Math.max(1, Math.floor(CHUNK_LINES / fields)) * fields
  }

  /** Notes that a series came, went or both; however often, it is held once. */
  mark(slot: number): void {
    if (slot >= this.#isDirty.length) this.#isDirty = resized(this.#isDirty, Uint8Array, slot + 1)
    if (this.#isDirty[slot] === 1) return
    this.#isDirty[slot] = 1
    this.#dirty.push(slot)
  }

  /** Series marked since the last call. */
  takeMarked(): number[] {
    const taken = this.#dirty
    this.#dirty = []
    for (const slot of taken) this.#isDirty[slot] = 0
    return taken
  }

  isMarked(slot: number): boolean {
    return this.#isDirty[slot] === 1
  }

  get chunkCount(): number {
    return this.#chunks.length
  }

  hasLine(line: number): boolean {
    return line < this.#prefix.length && this.#prefix[line] !== 0
  }

  /** Puts a line where none is, with the value 0. @param prefix everything before the value */
  insert(line: number, prefix: string): void {
    this.#reserve(line)
    const chunk = this.#chunkOf(line)
    const bytes = Buffer.byteLength(prefix)
    const at = this.#endBefore(line)
    this.#splice(chunk, line, at, 0, bytes + 2)
    chunk.text.write(prefix, at, 'utf8')
    chunk.text[at + bytes] = ZERO
    chunk.text[at + bytes + 1] = NEWLINE
    chunk.lines++
    this.#start[line] = at
    this.#prefix[line] = bytes
    this.#width[line] = 1
    this.#suffix[line] = 0
    this.#value[line] = 0
  }

  remove(line: number): void {
    if (!this.hasLine(line)) return
    const chunk = this.#chunkOf(line)
    this.#splice(chunk, line, this.#start[line]!, this.#length(line), 0)
    this.#prefix[line] = 0
    if (--chunk.lines === 0) this.#chunks[this.#chunkIndex(line)] = undefined
  }

  /** Brings every value of a chunk up to date. @param values by line @returns its text, valid until the next change */
  update(index: number, values: Float64Array): Uint8Array | undefined {
    const chunk = this.#chunks[index]
    if (chunk === undefined) return undefined
    const first = index * this.#chunkLines
    const end = Math.min(first + this.#chunkLines, this.#prefix.length)
    for (let line = first; line < end; line++) {
      if (this.#prefix[line] === 0) continue
      const value = values[line]!
      if (value !== this.#value[line]) this.#setValue(chunk, line, value)
    }
    return chunk.text.subarray(0, chunk.used)
  }

  /** Replaces what stands behind a line's value. @param suffix starts with a space, or is empty */
  setSuffix(line: number, suffix: string): void {
    if (!this.hasLine(line)) return
    const chunk = this.#chunkOf(line)
    const at = this.#start[line]! + this.#prefix[line]! + this.#width[line]!
    const bytes = Buffer.byteLength(suffix)
    this.#splice(chunk, line, at, this.#suffix[line]!, bytes)
    chunk.text.write(suffix, at, 'utf8')
    this.#suffix[line] = bytes
  }

  #setValue(chunk: Chunk, line: number, value: number): void {
    this.#value[line] = value
    const at = this.#start[line]! + this.#prefix[line]!
    if (value >= 0 && value <= 0x7fff_ffff && (value | 0) === value && !Object.is(value, -0)) {
      const width = digitsOf(value)
      if (width !== this.#width[line]) this.#widen(chunk, line, at, width)
      let rest = value
      for (let i = at + width - 1; i >= at; i--) {
        const next = (rest / 10) | 0
        chunk.text[i] = ZERO + rest - next * 10
        rest = next
      }
      return
    }
    const text = valueText(value)
    if (text.length !== this.#width[line]) this.#widen(chunk, line, at, text.length)
    for (let i = 0; i < text.length; i++) chunk.text[at + i] = text.charCodeAt(i)
  }

  #widen(chunk: Chunk, line: number, at: number, width: number): void {
    this.#splice(chunk, line, at, this.#width[line]!, width)
    this.#width[line] = width
  }

  /** Makes `add` bytes of room in place of `take` bytes at `at`; the lines behind `line` move. */
  #splice(chunk: Chunk, line: number, at: number, take: number, add: number): void {
    const delta = add - take
    if (delta === 0) return
    const used = chunk.used + delta
    if (used > chunk.text.length) {
      const text = Buffer.allocUnsafeSlow(Math.ceil(used * 1.25) + 256)
      chunk.text.copy(text, 0, 0, chunk.used)
      chunk.text = text
    }
    chunk.text.copyWithin(at + add, at + take, chunk.used)
    chunk.used = used
    const end = Math.min((this.#chunkIndex(line) + 1) * this.#chunkLines, this.#start.length)
    for (let next = line + 1; next < end; next++) this.#start[next] = this.#start[next]! + delta
  }

  #endBefore(line: number): number {
    const first = this.#chunkIndex(line) * this.#chunkLines
    for (let before = line - 1; before >= first; before--) {
      if (this.#prefix[before] !== 0) return this.#start[before]! + this.#length(before)
    }
    return 0
  }

  #length(line: number): number {
    return this.#prefix[line]! + this.#width[line]! + this.#suffix[line]! + 1
  }

  #chunkIndex(line: number): number {
    return Math.floor(line / this.#chunkLines)
  }

  #chunkOf(line: number): Chunk {
    const index = this.#chunkIndex(line)
    while (this.#chunks.length <= index) this.#chunks.push(undefined)
    const chunk = this.#chunks[index] ?? { text: Buffer.allocUnsafeSlow(2048), used: 0, lines: 0 }
    this.#chunks[index] = chunk
    return chunk
  }

  #reserve(line: number): void {
    if (line < this.#start.length) return
    const length = (this.#chunkIndex(line) + 1) * this.#chunkLines
    this.#start = resized(this.#start, Uint32Array, length)
    this.#prefix = resized(this.#prefix, Uint32Array, length)
    this.#width = resized(this.#width, Uint8Array, length)
    this.#suffix = resized(this.#suffix, Uint16Array, length)
    this.#value = resized(this.#value, Float64Array, length)
  }

  /** Lines of one series. */
  get fields(): number {
    return this.#fields
  }
}

type Resizable = Uint8Array | Uint16Array | Uint32Array | Float64Array

/** A copy with room for `length`, and half as much again so that growth is rare. */
function resized<T extends Resizable>(from: T, make: new (length: number) => T, length: number): T {
  const to = new make(Math.max(length, Math.ceil(from.length * 1.5), 64))
  to.set(from)
  return to
}

function digitsOf(value: number): number {
  if (value < 10) return 1
  if (value < 100) return 2
  if (value < 1_000) return 3
  if (value < 10_000) return 4
  if (value < 100_000) return 5
  if (value < 1_000_000) return 6
  if (value < 10_000_000) return 7
  if (value < 100_000_000) return 8
  return value < 1_000_000_000 ? 9 : 10
}
