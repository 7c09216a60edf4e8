/** A wait for one waiter that others end. Ended while nobody waits, the next wait ends at once. */
export class Pause {
  #resolve: (() => void) | undefined
  #isEnded = false

  wait(): Promise<void> {
    if (this.#isEnded) {
      this.#isEnded = false
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  end(): void {
    const resolve = this.#resolve
    if (resolve === undefined) {
      this.#isEnded = true
      return
    }
    this.#resolve = undefined
    resolve()
  }
}

/** @returns false when it was stopped before its time */
export function sleep(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false)
  return new Promise((resolve) => {
    const stop = () => {
      clearTimeout(timer)
      resolve(false)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop)
      resolve(true)
    }, ms)
    signal.addEventListener('abort', stop, { once: true })
  })
}
