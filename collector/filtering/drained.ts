import type { Judge } from '../../filters/judge.ts'

const LOOK_MS = 20

/** How far the kernel's ring was written, and read. */
export interface RingPositions {
  /** Behind what was read last. */
  readonly position: number
  /** Behind what was written last. */
  readonly produced: number
}

/**
 * Watches until records of a set that is out of force have all been read: until then the one bit by which a record names
 * its set could be taken for another set's.
 */
export class Drained implements Disposable {
  readonly #ring: RingPositions
  readonly #judge: Judge
  #mark: number | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(ring: RingPositions, judge: Judge) {
    this.#ring = ring
    this.#judge = judge
  }

  /** What has been written until now is to be read before the next set comes. */
  mark(): void {
    this.#mark = this.#ring.produced
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref()
    this.#look()
  }

  /** Waits for it. @returns false when it took longer; the judge then believes no bits until it is done */
  async wait(timeoutMs: number): Promise<boolean> {
    const end = performance.now() + timeoutMs
    while (!this.#look()) {
      if (performance.now() >= end) {
        this.#judge.trust(false)
        return false
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS / 2))
    }
    return true
  }

  #look(): boolean {
    if (this.#mark === undefined) return true
    if (this.#ring.position < this.#mark) return false
    this.#mark = undefined
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#judge.trust(true)
    return true
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
