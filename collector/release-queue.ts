/** Boundaries that are told apart: at 1,024 flows a block a million flows on their way. */
const MAX_BOUNDARIES = 1024

/**
 * Which part of each source may be given back: after every block the history's end and the sources' positions are
 * noted, and when the exporters have settled a block its positions are released. A full queue loses nothing: the
 * newest boundary is moved forward instead of another one being added, and release becomes coarser.
 */
export class ReleaseQueue {
  readonly #sources: number
  readonly #ends = new Float64Array(MAX_BOUNDARIES)
  readonly #positions: Float64Array
  readonly #released: Float64Array
  #head = 0
  #size = 0

  /** @param positions where reading of each source starts */
  constructor(positions: readonly number[]) {
    this.#sources = positions.length
    this.#positions = new Float64Array(MAX_BOUNDARIES * this.#sources)
    this.#released = Float64Array.from(positions)
  }

  get size(): number {
    return this.#size
  }

  /** Position up to which a source was released. */
  released(source: number): number {
    return this.#released[source]!
  }

  /** Position that was noted last for a source. */
  noted(source: number): number {
    if (this.#size === 0) return this.#released[source]!
    const slot = (this.#head + this.#size - 1) % MAX_BOUNDARIES
    return this.#positions[slot * this.#sources + source]!
  }

  /** End of the oldest boundary that waits; Infinity when none does. */
  get oldestEnd(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : this.#ends[this.#head]!
  }

  /** Notes that flows below `end` come from what lies before these positions. @param position of each source by index */
  push(end: number, position: (source: number) => number): void {
    if (this.#size < MAX_BOUNDARIES) this.#size++
    const slot = (this.#head + this.#size - 1) % MAX_BOUNDARIES
    this.#ends[slot] = end
    for (let i = 0; i < this.#sources; i++) this.#positions[slot * this.#sources + i] = position(i)
  }

  /** Takes the oldest boundary off: its positions are released. */
  shift(): void {
    if (this.#size === 0) return
    const slot = this.#head
    for (let i = 0; i < this.#sources; i++) this.#released[i] = this.#positions[slot * this.#sources + i]!
    this.#head = (slot + 1) % MAX_BOUNDARIES
    this.#size--
  }
}
