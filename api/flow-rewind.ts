import type { FlowStore } from '../model/contracts.ts'
import type { FlowView } from '../model/flow-view.ts'
import type { FlowPredicate } from './flow-query.ts'
import { FIRST_CHUNK, nextChunk } from './slices.ts'

/** Flows remembered by their number while rewinding; a longer list is found again by walking forward. */
const MAX_FOUND = 16_384

/** Walks back from the newest flow until a number of matching ones is found, in slices. */
export class FlowRewind {
  readonly #store: FlowStore
  readonly #view: FlowView
  readonly #predicate: FlowPredicate | undefined
  readonly #number: number
  readonly #end: number
  /** Matches, newest first; given up (`undefined`) beyond MAX_FOUND. */
  #matches: number[] | undefined = []
  #count = 0
  #at: number
  #chunk = FIRST_CHUNK
  /** Flows looked at. */
  scanned = 0
  /** When done: matches from the oldest on, to be sent first. */
  found = new Float64Array(0)
  /** When done: the flow to walk on from. */
  next: number

  constructor(store: FlowStore, predicate: FlowPredicate | undefined, number: number) {
    this.#store = store
    this.#view = store.createView()
    this.#predicate = predicate
    this.#number = number
    this.#end = store.end
    this.#at = store.end
    this.next = store.end
    if (predicate === undefined) {
      // Every flow matches: no need to look at them.
      this.#at = Math.max(store.first, store.end - number)
      this.#matches = undefined
      this.#count = number
    }
  }

  /** @returns true when done */
  run(deadline: number): boolean {
    let before = performance.now()
    while (this.#count < this.#number && this.#at > this.#store.first) {
      this.#back()
      const now = performance.now()
      this.#chunk = nextChunk(this.#chunk, now - before)
      if (now >= deadline) return false
      before = now
    }
    if (this.#matches === undefined) this.next = Math.max(this.#at, this.#store.first)
    else {
      this.found = Float64Array.from(this.#matches.reverse())
      this.next = this.#end
    }
    return true
  }

  #back(): void {
    const store = this.#store
    const view = this.#view
    const predicate = this.#predicate
    const stop = Math.max(store.first, this.#at - this.#chunk)
    const begin = this.#at
    let at = begin
    while (at > stop && this.#count < this.#number) {
      store.seek(view, --at)
      if (predicate !== undefined && !predicate(view)) continue
      this.#count++
      if (this.#matches === undefined) continue
      if (this.#matches.length < MAX_FOUND) this.#matches.push(at)
      else this.#matches = undefined
    }
    this.scanned += begin - at
    this.#at = at
  }
}
