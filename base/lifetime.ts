/** A disposable of a function; disposing twice calls it once. */
export function disposable(dispose: () => void): Disposable {
  let done = false
  return {
    [Symbol.dispose]() {
      if (done) return
      done = true
      dispose()
    },
  }
}

/** Listeners for one event. A listener that throws does not keep the others from being called. */
export class Listeners<T> {
  readonly #all = new Set<(value: T) => void>()

  add(listener: (value: T) => void): Disposable {
    this.#all.add(listener)
    return disposable(() => this.#all.delete(listener))
  }

  emit(value: T): void {
    for (const listener of this.#all) {
      try {
        listener(value)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }

  get size(): number {
    return this.#all.size
  }
}

/** Disposes what it was given, newest first, all of it also when one throws. */
export class Disposables implements Disposable {
  readonly #owned: Disposable[] = []

  use<T extends Disposable>(value: T): T {
    this.#owned.push(value)
    return value
  }

  [Symbol.dispose](): void {
    const errors: unknown[] = []
    for (let value = this.#owned.pop(); value; value = this.#owned.pop()) {
      try {
        value[Symbol.dispose]()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors)
  }
}
