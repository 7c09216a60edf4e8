import { AddressTable } from '../address-table.ts'

const WORDS = 4
const FIRST_SLOTS = 1024
/** Class of a set that an address has not been given yet. */
export const NO_CLASS = 0xffff

/**
 * The addresses of the cluster as the kernel's table is to have them: a dense copy that can be walked in slices while it
 * changes. An address keeps its slot from the first change until its deletion has been written.
 */
export class AddressMirror {
  readonly #index: AddressTable
  readonly #free: number[] = []
  #end = 0
  /** Four words of each address. */
  words = new Uint32Array(FIRST_SLOTS * WORDS)
  /** Endpoint of each; 0 = gone, or an unused slot. */
  refs = new Uint32Array(FIRST_SLOTS)
  /** SubjectFlag of each, as the kernel has them. */
  flags = new Uint8Array(FIRST_SLOTS)
  /** Class of each in each set, NO_CLASS until it has one. */
  readonly classes: [Uint16Array, Uint16Array] = [newClasses(FIRST_SLOTS), newClasses(FIRST_SLOTS)]
  #isDirty = new Uint8Array(FIRST_SLOTS)
  #dirty: number[] = []

  constructor(maxAddresses: number) {
    this.#index = new AddressTable(maxAddresses)
  }

  /** One past the last slot; slots in between may be unused. */
  get end(): number {
    return this.#end
  }

  get size(): number {
    return this.#index.size
  }

  /** Slots that changed since they were taken. */
  get dirtyCount(): number {
    return this.#dirty.length
  }

  /** Notes the endpoint of an address. @returns false when there is no room */
  set(words: Uint32Array, at: number, ref: number): boolean {
    let slot = this.#index.get(words, at, 0) - 1
    if (slot < 0) {
      if (ref === 0) return true
      slot = this.#free.at(-1) ?? this.#end
      if (!this.#index.set(words, at, 0, slot + 1)) return false
      if (slot === this.#end) this.#grow()
      else this.#free.pop()
      for (let i = 0; i < WORDS; i++) this.words[slot * WORDS + i] = words[at + i]!
    } else if (this.refs[slot] === ref) {
      return true
    }
    this.refs[slot] = ref
    this.mark(slot)
    return true
  }

  has(words: Uint32Array, at: number): boolean {
    return this.#index.get(words, at, 0) !== 0
  }

  /** Takes up to `limit` slots that changed. */
  takeDirty(limit: number): number[] {
    const taken = this.#dirty.splice(0, limit)
    for (const slot of taken) this.#isDirty[slot] = 0
    return taken
  }

  /** Frees the slot of an address that is gone, here and in the kernel. */
  drop(slot: number): void {
    this.#index.delete(this.words, slot * WORDS, 0)
    this.classes[0][slot] = NO_CLASS
    this.classes[1][slot] = NO_CLASS
    this.flags[slot] = 0
    this.#free.push(slot)
  }

  /** Class of an address in both sets. */
  classesOf(slot: number): [number, number] {
    return [this.classes[0][slot]!, this.classes[1][slot]!]
  }

  setClasses(slot: number, [first, second]: readonly [number, number]): void {
    this.classes[0][slot] = first
    this.classes[1][slot] = second
  }

  /** Has a slot taken again. */
  mark(slot: number): void {
    if (this.#isDirty[slot] === 1) return
    this.#isDirty[slot] = 1
    this.#dirty.push(slot)
  }

  #grow(): void {
    this.#end++
    if (this.#end <= this.refs.length) return
    const slots = this.refs.length * 2
    this.words = copied(this.words, new Uint32Array(slots * WORDS))
    this.refs = copied(this.refs, new Uint32Array(slots))
    this.flags = copied(this.flags, new Uint8Array(slots))
    this.#isDirty = copied(this.#isDirty, new Uint8Array(slots))
    this.classes[0] = copied(this.classes[0], newClasses(slots))
    this.classes[1] = copied(this.classes[1], newClasses(slots))
  }
}

function newClasses(slots: number): Uint16Array<ArrayBuffer> {
  return new Uint16Array(slots).fill(NO_CLASS)
}

function copied<T extends Uint8Array | Uint16Array | Uint32Array>(from: T, to: T): T {
  to.set(from)
  return to
}
