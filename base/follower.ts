import { type FSWatcher, watch } from 'node:fs'

export interface FollowerOptions {
  /** Looks at what there is. Looks follow each other. Never rejects. */
  readonly look: () => Promise<void>
  /** Changes within this time are looked at together, milliseconds. */
  readonly settleMs: number
  /** Where the file system gives no notice (network mounts, links to elsewhere), a change is found by looking so often. */
  readonly pollMs: number
}

/**
 * Looks again when a directory changes, and now and then. To follow a file its directory is watched, as the file itself is
 * replaced, by rename or by a link that is turned.
 */
export class Follower implements AsyncDisposable {
  readonly #options: FollowerOptions
  #watcher: FSWatcher | undefined
  #poll: NodeJS.Timeout | undefined
  #settle: NodeJS.Timeout | undefined
  #looking: Promise<void> = Promise.resolve()
  #isDisposed = false

  constructor(options: FollowerOptions) {
    this.#options = options
  }

  /** No look begins any more. */
  get isDisposed(): boolean {
    return this.#isDisposed
  }

  /** Looks every pollMs from now on. */
  start(): void {
    if (this.#isDisposed) return
    this.#poll ??= setInterval(() => this.soon(), this.#options.pollMs).unref()
  }

  /** Watches a directory in place of the one before. @returns what keeps it from being watched: then looks are all there is */
  watch(directory: string): unknown {
    this.#watcher?.close()
    if (this.#isDisposed) return undefined
    try {
      this.#watcher = watch(directory, { persistent: false }, () => this.soon())
      this.#watcher.on('error', () => this.#watcher?.close())
      return undefined
    } catch (error) {
      return error
    }
  }

  /** Looks after a while, unless a look is on its way. @param delayMs settleMs unless given */
  soon(delayMs: number = this.#options.settleMs): void {
    if (this.#isDisposed || this.#settle !== undefined) return
    this.#settle = setTimeout(() => {
      this.#settle = undefined
      this.#looking = this.#looking.then(() => (this.#isDisposed ? undefined : this.#options.look()))
    }, delayMs).unref()
  }

  /** Ends when the look under way has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true
    this.#watcher?.close()
    clearInterval(this.#poll)
    clearTimeout(this.#settle)
    await this.#looking
  }
}
