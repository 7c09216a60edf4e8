import type { TimeSlice } from '../../base/time-slice.ts'
import type { Family } from './series/family.ts'
import type { Format } from './series/text.ts'

/** Marks applied between two looks at the clock. */
const MARKS_PER_LOOK = 16
/** Size of one piece of a response: a socket takes it in one write. */
export const PART_BYTES = 262_144

/** Memory of finished responses, used again: a scrape of 15 MB would else be 15 MB of garbage. */
export class PartPool {
  readonly #free: Buffer[] = []
  readonly #max: number

  /** @param maxBytes kept while no response needs them */
  constructor(maxBytes = 32 * 1024 * 1024) {
    this.#max = Math.floor(maxBytes / PART_BYTES)
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(PART_BYTES)
  }

  give(part: Buffer): void {
    if (part.length === PART_BYTES && this.#free.length < this.#max) this.#free.push(part)
  }

  get freeParts(): number {
    return this.#free.length
  }
}

/**
 * The text of one scrape, in parts. Counted: the renderer holds it, and each response that sends it; the memory goes
 * back to the pool with the last.
 */
export class ScrapeText {
  readonly #pool: PartPool
  readonly #parts: Buffer[] = []
  #used = 0
  #holders = 1
  #full = 0

  constructor(pool: PartPool) {
    this.#pool = pool
  }

  /** Bytes written. */
  get length(): number {
    return this.#full + this.#used
  }

  append(bytes: Uint8Array): void {
    let from = 0
    while (from < bytes.length) {
      let part = this.#parts.at(-1)
      if (part === undefined || this.#used === PART_BYTES) {
        if (part !== undefined) this.#full += PART_BYTES
        part = this.#pool.take()
        this.#parts.push(part)
        this.#used = 0
      }
      const length = Math.min(bytes.length - from, PART_BYTES - this.#used)
      part.set(from === 0 && length === bytes.length ? bytes : bytes.subarray(from, from + length), this.#used)
      this.#used += length
      from += length
    }
  }

  appendText(text: string): void {
    if (text !== '') this.append(Buffer.from(text))
  }

  /** What to send. Valid while held. */
  *parts(): Generator<Buffer> {
    for (let i = 0; i < this.#parts.length; i++) {
      const part = this.#parts[i]!
      yield i === this.#parts.length - 1 ? part.subarray(0, this.#used) : part
    }
  }

  hold(): void {
    this.#holders++
  }

  release(): void {
    if (--this.#holders !== 0) return
    for (const part of this.#parts) this.#pool.give(part)
    this.#parts.length = 0
    this.#used = 0
    this.#full = 0
  }

  /** The whole as one string: for tests and small texts. */
  toString(): string {
    return Buffer.concat([...this.parts()]).toString()
  }
}

/**
 * Writes the families' text. Every family shows one moment: its values are copied before its first line is written,
 * whatever is counted while other work has its turn. One at a time per set of families.
 */
export class FamilyRenderer {
  #snapshot: Float64Array = new Float64Array(0)

  async render(families: readonly Family[], format: Format, out: ScrapeText, slice: TimeSlice): Promise<void> {
    for (const family of families) {
      if (family.shown > 0) await this.#renderFamily(family, format, out, slice)
    }
  }

  async #renderFamily(family: Family, format: Format, out: ScrapeText, slice: TimeSlice): Promise<void> {
    const text = family.text(format)
    // From here to the end of this turn nothing is counted: marks and values are of one moment.
    const marks = text.takeMarked()
    const values = family.snapshot(this.#snapshot)
    this.#snapshot = values
    for (let i = 0; i < marks.length; i++) {
      family.applyMark(marks[i]!, text, format)
      if (i % MARKS_PER_LOOK === 0 && slice.isOver) await slice.yield()
    }
    if (format === 'openmetrics') family.applySuffixes(text)
    out.appendText(family.header(format))
    for (let chunk = 0; chunk < text.chunkCount; chunk++) {
      const bytes = text.update(chunk, values)
      if (bytes !== undefined) out.append(bytes)
      if (slice.isOver) await slice.yield()
    }
  }
}
