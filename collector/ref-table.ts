const PAGE_BITS = 8
const PAGE = 1 << PAGE_BITS

interface Page<T> {
  readonly values: (T | undefined)[]
  live: number
}

/**
 * Values by number. Numbers start at 1, grow by one and are never used again, so a number in an old record can only
 * mean what it meant when it was written. A page of 256 numbers is freed when all its values are gone, which leaves
 * eight bytes for every 256 numbers ever given out.
 */
export class RefTable<T> {
  readonly #pages: (Page<T> | undefined)[] = []
  #next = 1
  #size = 0

  /** The number that add() gives next: known before the value is made. */
  get nextRef(): number {
    return this.#next
  }

  get size(): number {
    return this.#size
  }

  add(value: T): number {
    const ref = this.#next++
    const index = ref >>> PAGE_BITS
    let page = this.#pages[index]
    if (page === undefined) {
      page = { values: new Array<T | undefined>(PAGE).fill(undefined), live: 0 }
      this.#pages[index] = page
    }
    page.values[ref & (PAGE - 1)] = value
    page.live++
    this.#size++
    return ref
  }

  get(ref: number): T | undefined {
    return this.#pages[ref >>> PAGE_BITS]?.values[ref & (PAGE - 1)]
  }

  delete(ref: number): boolean {
    const index = ref >>> PAGE_BITS
    const page = this.#pages[index]
    const slot = ref & (PAGE - 1)
    if (page === undefined || page.values[slot] === undefined) return false
    page.values[slot] = undefined
    this.#size--
    // The page that is being filled stays, also when it is empty for the moment.
    if (--page.live === 0 && index !== this.#next >>> PAGE_BITS) this.#pages[index] = undefined
    return true
  }
}
