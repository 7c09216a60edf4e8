import { fstatSync, statSync } from 'node:fs'
import { chmod, type FileHandle, mkdir, open } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { createStream, type RotatingFileStream } from 'rotating-file-stream'
import { traced } from '../../base/tracing.ts'
import { Backups } from './backups.ts'
import { cutTornLine } from './repair.ts'

/** Why a write failed: labels of a metric and of the ledger. */
export type WriteFailure = 'disk_full' | 'read_only' | 'permission' | 'io_error'

/** What happened to the file; numbers of each are metrics, and each is logged. */
export type FileEvent =
  | { readonly kind: 'opened'; readonly size: number }
  | { readonly kind: 'repaired'; readonly cutBytes: number }
  | { readonly kind: 'rotated'; readonly name: string }
  /** Somebody else deleted, renamed or cut the file while it was being written. */
  | { readonly kind: 'deleted' | 'renamed' | 'truncated' }

export interface LogFileOptions {
  readonly path: string
  readonly maxFileBytes: number
  readonly fileMode: number
  readonly onEvent: (event: FileEvent) => void
}

/** A chunk that is not in the file; nothing of it will be there when the next one is written. */
export class LogWriteError extends Error {
  readonly reason: WriteFailure

  constructor(reason: WriteFailure, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.reason = reason
  }
}

/**
 * The members of rotating-file-stream 3.2.10 that its types do not show. The version is pinned; open() checks that
 * they are there.
 */
interface StreamInternals {
  readonly file?: FileHandle
  rotate(): Promise<void>
}

/**
 * The live file: whole chunks of lines at its end, or not at all. rotating-file-stream writes and rotates; what it
 * does not do is done here (each with the line of defence beside it):
 *
 * - it takes a short write for a whole one: the size is compared after every write, and what is there of a chunk that
 *   did not fit is cut off again;
 * - it is dead after any error: a new stream is made;
 * - it rotates after the write that passed the limit: here before the one that would pass it;
 * - it does not notice that the file was deleted, renamed or cut: inode and size are compared before every write;
 * - it does not repair half a line left by a crash: done whenever the file is opened.
 *
 * One call at a time: the caller waits for each.
 */
export class LogFile {
  readonly #options: LogFileOptions
  readonly backups: Backups
  #stream: RotatingFileStream | undefined
  #file: FileHandle | undefined
  /** Bytes in the file that are known to be there. */
  #size = 0
  /** Where the last chunk that failed began, while its beginning may still be in the file. */
  #cut: { readonly inode: number; readonly size: number } | undefined

  constructor(options: LogFileOptions) {
    this.#options = options
    this.backups = new Backups(options.path)
  }

  /** Bytes of the live file; 0 while it is not open. */
  get size(): number {
    return this.#stream === undefined ? 0 : this.#size
  }

  get isOpen(): boolean {
    return this.#stream !== undefined
  }

  /**
   * Opens or creates the file, and its directory with mode 0755.
   *
   * @throws the error of the file system
   */
  async open(): Promise<void> {
    await this.close()
    const { path, fileMode } = this.#options
    await makeDirectory(dirname(path))
    const isNew = await this.#repair()
    await this.backups.list()
    const stream = createStream((time: unknown) => this.#nameFor(time), { path: dirname(path), mode: fileMode })
    await opened(stream)
    const file = (stream as unknown as StreamInternals).file
    if (file === undefined || !('rotate' in stream)) throw new Error('rotating-file-stream is not version 3.2.10')
    this.#stream = stream
    this.#file = file
    if (isNew) await file.chmod(fileMode)
    this.#size = fstatSync(file.fd).size
    this.#options.onEvent({ kind: 'opened', size: this.#size })
  }

  /**
   * Appends a chunk; first opens the file if need be, and rotates it if the chunk would take it past its limit. When
   * this resolves, write(2) has taken every byte.
   *
   * @param chunk whole lines; stays untouched until this resolves
   * @throws LogWriteError when the chunk is not in the file
   */
  async write(chunk: Uint8Array): Promise<void> {
    try {
      // Twice: a file that somebody deletes during the write makes the second attempt go to a new one.
      while (!(await this.#attempt(chunk))) {}
    } catch (error) {
      await this.#abandon()
      throw error instanceof LogWriteError ? error : toWriteError(error, this.#options.path)
    }
  }

  /** @returns false when the chunk went into a file that is no more */
  async #attempt(chunk: Uint8Array): Promise<boolean> {
    if (this.#stream === undefined || !this.#isOurs()) await this.open()
    if (this.#size > 0 && this.#size + chunk.length > this.#options.maxFileBytes)
      await traced('log rotation', { 'file.path': this.#options.path }, () => this.#rotate())
    const file = this.#file!
    const before = this.#size
    this.#cut = { inode: fstatSync(file.fd).ino, size: before }
    await written(this.#stream!, chunk)
    const { size, nlink } = fstatSync(file.fd)
    if (nlink === 0) {
      this.#cut = undefined
      return false
    }
    if (size >= before && size < before + chunk.length) {
      throw new LogWriteError(
        'disk_full',
        `Cannot write ${chunk.length} bytes to "${this.#options.path}": the file took ${size - before}, want all`,
      )
    }
    // Smaller than before: cut by somebody meanwhile; #isOurs() deals with what is left before the next write.
    this.#cut = undefined
    this.#size = size < before ? before + chunk.length : size
    return true
  }

  /** Compares the open file with the one at the path, and its size with what was written. */
  #isOurs(): boolean {
    const mine = fstatSync(this.#file!.fd)
    const there = statSync(this.#options.path, { throwIfNoEntry: false })
    const kind =
      mine.nlink === 0 || there === undefined
        ? 'deleted'
        : mine.ino !== there.ino || mine.dev !== there.dev
          ? 'renamed'
          : mine.size < this.#size
            ? 'truncated'
            : undefined
    if (kind !== undefined) {
      this.#options.onEvent({ kind: kind === 'deleted' && mine.nlink > 0 ? 'renamed' : kind })
      return false
    }
    // Larger: somebody appended, perhaps without a newline at the end. Opening repairs that.
    return mine.size === this.#size
  }

  async #rotate(): Promise<void> {
    const stream = this.#stream!
    let name = ''
    const onRotated = (to: string) => {
      name = basename(to)
    }
    stream.once('rotated', onRotated)
    try {
      await (stream as unknown as StreamInternals).rotate()
    } finally {
      stream.off('rotated', onRotated)
    }
    const file = (stream as unknown as StreamInternals).file
    if (file === undefined) throw new Error('rotating-file-stream rotated and opened no file')
    this.#file = file
    await file.chmod(this.#options.fileMode)
    this.#size = fstatSync(file.fd).size
    this.#options.onEvent({ kind: 'rotated', name })
  }

  /** rotating-file-stream asks for the live name with null, then for a name to rotate to. */
  #nameFor(time: unknown): string {
    return time === null ? basename(this.#options.path) : this.backups.nextName(Date.now())
  }

  /** Cuts what a failed chunk or a crash left behind. @returns true when there is no file yet */
  async #repair(): Promise<boolean> {
    const { path } = this.#options
    const there = statSync(path, { throwIfNoEntry: false })
    if (there === undefined) return true
    // Asked before it is opened: opening a pipe or a device can wait or do things.
    if (!there.isFile()) throw new Error(`"${path}" is not a regular file`)
    const file = await open(path, 'r+')
    try {
      const { ino, size } = await file.stat()
      if (this.#cut !== undefined && this.#cut.inode === ino && size > this.#cut.size)
        await file.truncate(this.#cut.size)
      this.#cut = undefined
      const cutBytes = await cutTornLine(file)
      if (cutBytes > 0) this.#options.onEvent({ kind: 'repaired', cutBytes })
    } finally {
      await file.close()
    }
    return false
  }

  /** After an error: takes back what was written of the chunk, if that can be done now, and lets go of the stream. */
  async #abandon(): Promise<void> {
    const cut = this.#cut
    const file = this.#file
    if (cut !== undefined && file !== undefined) {
      try {
        if ((await file.stat()).size > cut.size) await file.truncate(cut.size)
        this.#cut = undefined
      } catch {
        // Stays noted: open() cuts before anything is written again.
      }
    }
    await this.close()
  }

  /** Closes the file. Errors of closing say nothing new: every byte was confirmed when it was written. */
  async close(): Promise<void> {
    const stream = this.#stream
    this.#stream = undefined
    this.#file = undefined
    if (stream === undefined || stream.closed) return
    await new Promise<void>((resolve) => {
      stream.once('close', resolve)
      stream.destroy()
    })
  }
}

/**
 * Makes a directory and those above it, mode 0755 whatever the umask. mkdir's own `recursive` reports ENOENT where the
 * file system is read-only (Node 20), which says nothing of the remedy.
 */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // Something else than a directory there is told by the first use of the path.
    if (code === 'EEXIST') return
    if (code !== 'ENOENT' || dirname(path) === path) throw error
    await makeDirectory(dirname(path))
    await mkdir(path)
  }
  await chmod(path, 0o755)
}

function opened(stream: RotatingFileStream): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.once('open', () => resolve())
    // Stays for good: an error of the stream also comes to the callback of its write.
    stream.on('error', reject)
  })
}

function written(stream: RotatingFileStream, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(chunk, (error) => (error ? reject(error) : resolve()))
  })
}

const FAILURES: Readonly<Record<string, WriteFailure>> = {
  ENOSPC: 'disk_full',
  EDQUOT: 'disk_full',
  EROFS: 'read_only',
  EACCES: 'permission',
  EPERM: 'permission',
}

/** The reason behind an error of the file system. */
export function toWriteError(error: unknown, path: string): LogWriteError {
  const { code = '', message } = error as NodeJS.ErrnoException
  return new LogWriteError(FAILURES[code] ?? 'io_error', `Cannot write to "${path}": ${message}`, error)
}

const HOPELESS = new Set(['EISDIR', 'ENOTDIR', 'EEXIST', 'ENAMETOOLONG', 'ELOOP', 'EINVAL'])

/** Whether an error of open() is one that no waiting will mend: the path is not one of a file. */
export function isHopeless({ code }: NodeJS.ErrnoException): boolean {
  return code === undefined || HOPELESS.has(code)
}
