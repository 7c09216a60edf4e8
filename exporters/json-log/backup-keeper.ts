import type { Backups } from './backups.ts'

export interface KeeperOptions {
  readonly maxBackups: number
  readonly compress: boolean
  /** Called with what went wrong; the next rotation tries again. */
  readonly onError: (task: 'prune' | 'compress', error: unknown) => void
}

/** Keeps the number of rotated files and compresses them, in the background: writing never waits for it. */
export class BackupKeeper {
  readonly #backups: Backups
  readonly #options: KeeperOptions
  readonly #stop = new AbortController()
  #running: Promise<void> | undefined
  #isAsked = false
  /** Rotated files there are. */
  count = 0
  /** Files compressed since start. */
  compressed = 0

  constructor(backups: Backups, options: KeeperOptions) {
    this.#backups = backups
    this.#options = options
  }

  /** Looks after the files soon; asked while it runs, it looks once more afterwards. */
  ask(): void {
    this.#isAsked = true
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** Ends when nothing runs any more; a compression under way is given up and its temporary file removed. */
  async close(): Promise<void> {
    this.#stop.abort()
    this.#isAsked = false
    await this.#running
  }

  /** Ends when everything asked for is done. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running
  }

  async #run(): Promise<void> {
    while (this.#isAsked && !this.#stop.signal.aborted) {
      this.#isAsked = false
      try {
        const kept = await this.#backups.prune(this.#options.maxBackups)
        this.count = kept.length
        if (!this.#options.compress) continue
        // Newest first: the oldest may be removed before its turn comes.
        const plain = kept.filter((it) => !it.isCompressed).at(-1)
        if (plain === undefined) continue
        await this.#compress(plain)
      } catch (error) {
        if (!this.#stop.signal.aborted) this.#options.onError('prune', error)
      }
    }
  }

  async #compress(backup: Parameters<Backups['compress']>[0]): Promise<void> {
    try {
      await this.#backups.compress(backup, this.#stop.signal)
      this.compressed++
      // One at a time, and prune between: more may have been rotated meanwhile.
      this.#isAsked = true
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#options.onError('compress', error)
    }
  }
}
