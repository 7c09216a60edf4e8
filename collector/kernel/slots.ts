/**
 * Numbers of the per-endpoint counters. Slot 0 is nobody's own: devices that find none free share it. A slot that was
 * given back waits behind all that were free before, so that late packets of its last owner count for nobody.
 */
export class SlotTable {
  readonly #free: number[] = []
  readonly #used = new Set<number>()
  /** Given out at least once: what its counters hold is an earlier owner's. */
  readonly #soiled = new Set<number>()
  readonly #size: number
  #next = 1
  #exhausted = 0

  /** @param size slots in all, slot 0 included */
  constructor(size: number) {
    this.#size = size
  }

  get used(): number {
    return this.#used.size
  }

  /** How many times a device had to share slot 0. */
  get exhausted(): number {
    return this.#exhausted
  }

  /** @returns slot 0 when there is none; `fresh` = its counters have never been used */
  allocate(): { readonly slot: number; readonly fresh: boolean } {
    const slot = this.#take()
    if (slot === 0) {
      this.#exhausted++
      return { slot: 0, fresh: true }
    }
    const fresh = !this.#soiled.has(slot)
    this.#used.add(slot)
    this.#soiled.add(slot)
    return { slot, fresh }
  }

  /** Takes a slot that a former agent had given out. @returns whether it was free */
  claim(slot: number): boolean {
    if (slot <= 0 || slot >= this.#size || this.#used.has(slot)) return false
    this.#used.add(slot)
    this.#soiled.add(slot)
    return true
  }

  /** Says that a former agent may have left counts in every slot. */
  soilAll(): void {
    for (let slot = 1; slot < this.#size; slot++) this.#soiled.add(slot)
  }

  release(slot: number): void {
    if (this.#used.delete(slot)) this.#free.push(slot)
  }

  #take(): number {
    while (this.#next < this.#size) {
      const slot = this.#next++
      if (!this.#used.has(slot)) return slot
    }
    return this.#free.shift() ?? 0
  }
}
