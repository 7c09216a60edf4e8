import { closeSync } from 'node:fs'
import { addon } from './addon.ts'

/** Closes what its owner forgot. A descriptor that was disposed is unregistered first: numbers are used again. */
const forgotten = new FinalizationRegistry<number>((fd) => closeSync(fd))

/** A kernel handle with one owner. Closed by dispose, or when the owner is collected. */
export class Descriptor implements Disposable {
  #fd: number

  constructor(fd: number) {
    this.#fd = fd
    forgotten.register(this, fd, this)
  }

  /** @throws Error when it is closed: the number may be another file's by now */
  get fd(): number {
    if (this.#fd < 0) throw new Error('The kernel handle is closed')
    return this.#fd
  }

  get closed(): boolean {
    return this.#fd < 0
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return
    forgotten.unregister(this)
    closeSync(this.#fd)
    this.#fd = -1
  }
}

/**
 * Takes a directory for this process alone, until disposed or until the process ends. @returns undefined when another
 * process has it
 */
export function lockDirectory(path: string): Descriptor | undefined {
  const fd = addon().lockDirectory(path)
  return fd < 0 ? undefined : new Descriptor(fd)
}
