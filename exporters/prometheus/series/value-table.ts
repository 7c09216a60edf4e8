/** Id of the empty label value. */
export const EMPTY_VALUE = 0
/** Id of the value `overflow`: what a label reads when there is no room left to tell values apart. */
export const OVERFLOW_VALUE = 1
export const OVERFLOW_TEXT = 'overflow'

/** Longest label value, UTF-16 units; what is longer is cut. Names of Kubernetes and DNS end at 253. */
export const VALUE_LENGTH_MAX = 1024

/**
 * Label values by small number, so that a series is found by integers. Bounded: when it is full, new values read
 * `overflow` until sweep() has taken out those that no series uses. Numbers are reused after a sweep; whoever keeps
 * one must compare `generation`.
 */
export class ValueTable {
  readonly limit: number
  /** Raised by every sweep that may have given numbers back. */
  generation = 0
  /** Values that found no room. */
  refused = 0
  readonly #ids = new Map<string, number>([
    ['', EMPTY_VALUE],
    [OVERFLOW_TEXT, OVERFLOW_VALUE],
  ])
  readonly #texts: (string | undefined)[] = ['', OVERFLOW_TEXT]
  readonly #free: number[] = []
  readonly #pinned = new Set<number>([EMPTY_VALUE, OVERFLOW_VALUE])

  /** @param limit most values held at a time, pinned ones apart */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Number of a value. @returns OVERFLOW_VALUE when the value is new and the table is full */
  intern(text: string): number {
    const known = this.#ids.get(text)
    if (known !== undefined) return known
    if (text.length > VALUE_LENGTH_MAX) return this.intern(text.slice(0, VALUE_LENGTH_MAX))
    if (this.isFull) {
      this.refused++
      return OVERFLOW_VALUE
    }
    return this.#add(text)
  }

  /** Number of a value that sweeps never take: for closed sets that code keeps in constants. */
  pin(text: string): number {
    const id = this.#ids.get(text) ?? this.#add(text)
    this.#pinned.add(id)
    return id
  }

  /** Number of a value that is known, without adding it. */
  lookup(text: string): number | undefined {
    return this.#ids.get(text)
  }

  text(id: number): string {
    return this.#texts[id] ?? ''
  }

  get size(): number {
    return this.#ids.size
  }

  get isFull(): boolean {
    return this.#ids.size - this.#pinned.size >= this.limit
  }

  /**
   * Forgets values that are neither pinned nor marked.
   *
   * @param mark calls its argument with every number in use
   * @returns how many were forgotten
   */
  sweep(mark: (use: (id: number) => void) => void): number {
    const used = new Uint8Array(this.#texts.length)
    for (const id of this.#pinned) used[id] = 1
    mark((id) => {
      used[id] = 1
    })
    let freed = 0
    for (let id = 0; id < used.length; id++) {
      const text = this.#texts[id]
      if (used[id] === 1 || text === undefined) continue
      this.#ids.delete(text)
      this.#texts[id] = undefined
      this.#free.push(id)
      freed++
    }
    this.generation++
    return freed
  }

  #add(text: string): number {
    const id = this.#free.pop() ?? this.#texts.length
    this.#texts[id] = text
    this.#ids.set(text, id)
    return id
  }
}
