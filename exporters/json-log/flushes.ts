interface Flush {
  readonly target: number
  readonly done: () => void
}

/** Those who wait until the flows before a sequence are settled. */
export class Flushes {
  readonly #waiting = new Set<Flush>()

  /** Ends when settle() has reached the target, at the latest after deadlineMs. */
  wait(target: number, deadlineMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => flush.done(), deadlineMs)
      const flush = {
        target,
        done: () => {
          clearTimeout(timer)
          this.#waiting.delete(flush)
          resolve()
        },
      }
      this.#waiting.add(flush)
    })
  }

  /** @param settled flows before this sequence are; Infinity ends every wait */
  settle(settled: number): void {
    for (const flush of this.#waiting) if (settled >= flush.target) flush.done()
  }
}
