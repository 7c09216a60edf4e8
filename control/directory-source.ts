import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errorText, SluiceError } from '../base/errors.ts'
import { Follower } from '../base/follower.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { readRegularFile } from '../base/regular-file.ts'
import { type FileDocument, MAX_FILE_CHARS, readResourceFileApart } from '../filters/resources/file.ts'
import type { ResourceRef, ResourceSink, ResourceSource, ResourceStatus } from './resource.ts'

/** Files read; those behind in the order of names are left out. */
const MAX_FILES = 256
/** Changes within this time are looked at together. */
const SETTLE_MS = 100
/** A file is read when it has not changed for so long: an editor may be in the middle of writing it. */
const QUIET_MS = 100
/** A file is gone when it was away for so long: editors put another one in its place. */
const GONE_MS = 300
/** A file that never comes to rest is read anyway. */
const PATIENCE_MS = 1000
/** Where the file system gives no notice (network mounts, links to elsewhere), a change is found by looking. */
const POLL_MS = 5000

export interface DirectorySourceOptions {
  readonly path: string
  readonly logger?: Logger
  readonly pollMs?: number
  readonly settleMs?: number
}

/** A file as it was last read. */
interface KnownFile {
  /** Inode, size and time: another one is another content. */
  readonly version: string
  readonly documents: readonly FileDocument[]
  /** What of it cannot be used, '' for nothing. */
  readonly problem: string
  /** When it was first not there any more, milliseconds; 0 while it is. */
  missingSince: number
}

/**
 * Filter resources from the files of a directory: *.yaml, *.yml and *.json, several documents each, followed as they
 * change. A file that cannot be read leaves what it said before; a file that goes takes its resources with it. The directory
 * may be a mounted ConfigMap, whose files change all at once by a link that is turned.
 */
export class DirectorySource implements ResourceSource {
  readonly name = 'directory'
  readonly #path: string
  readonly #log: Logger
  readonly #files = new Map<string, KnownFile>()
  /** What the sink was told, by kind and name. */
  readonly #told = new Map<string, FileDocument>()
  /** When a file was first seen in the middle of a change. */
  readonly #restless = new Map<string, number>()
  #troubled = new Set<string>()
  #sink: ResourceSink | undefined
  readonly #follower: Follower
  #watched = ''

  constructor(options: DirectorySourceOptions) {
    this.#path = options.path
    this.#log = options.logger ?? silentLogger
    const { settleMs = SETTLE_MS, pollMs = POLL_MS } = options
    this.#follower = new Follower({ settleMs, pollMs, look: () => this.#scan(false) })
  }

  /** @throws SluiceError SLUICE_CONFIG_INVALID when the path is no directory that can be read */
  async start(sink: ResourceSink, signal: AbortSignal): Promise<void> {
    this.#sink = sink
    try {
      await readdir(this.#path)
    } catch (error) {
      throw new SluiceError('SLUICE_CONFIG_INVALID', `Cannot read "filters.directory": ${errorText(error)}`, {
        cause: error,
        remedy: 'Create the directory, or name the one that holds the filter resources',
      })
    }
    // What is written at this moment is waited for by the next look.
    await this.#scan(true)
    sink.synced()
    if (signal.aborted || this.#follower.isDisposed) return
    signal.addEventListener('abort', () => void this[Symbol.asyncDispose](), { once: true })
    this.#follower.start()
  }

  setStatus({ kind, name }: ResourceRef, status: ResourceStatus): void {
    const { state, reason, message, warnings } = status
    const fields = { kind, name, state, reason, ...(warnings.length > 0 ? { warnings } : {}) }
    if (state === 'FAILED' || warnings.length > 0) this.#log.warn(fields, message)
    else this.#log.info(fields, message)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#follower[Symbol.asyncDispose]()
  }

  /** Looks at the whole directory. Never rejects. */
  async #scan(isFirst: boolean): Promise<void> {
    const troubles = new Map<string, string>()
    try {
      const names = await this.#list(troubles)
      let isRestless = this.#forget(names)
      for (const name of names) isRestless = (await this.#look(name, isFirst, troubles)) || isRestless
      if (isRestless) this.#follower.soon(QUIET_MS)
      this.#tell(troubles)
    } catch (error) {
      troubles.set('', `Cannot read "${this.#path}": ${errorText(error)}`)
    }
    this.#report(troubles)
  }

  async #list(troubles: Map<string, string>): Promise<string[]> {
    await this.#follow()
    const all = await readdir(this.#path)
    const names = all.filter((name) => /\.(ya?ml|json)$/.test(name) && !name.startsWith('.')).sort()
    if (names.length > MAX_FILES) {
      troubles.set('', `${this.#path}: ${names.length} files, want at most ${MAX_FILES}; the rest is left out`)
    }
    return names.slice(0, MAX_FILES)
  }

  /** Watches the directory; anew when another one stands in its place. */
  async #follow(): Promise<void> {
    const { dev, ino } = await stat(this.#path)
    const identity = `${dev}:${ino}`
    if (identity === this.#watched) return
    this.#watched = identity
    const failure = this.#follower.watch(this.#path)
    if (failure !== undefined) {
      this.#log.debug({ path: this.#path, err: errorText(failure) }, 'Cannot watch the directory: looking now and then')
    }
  }

  /** Forgets files that are gone. @returns true when one may be */
  #forget(names: readonly string[]): boolean {
    let isUnsure = false
    for (const [name, file] of this.#files) {
      if (names.includes(name)) {
        file.missingSince = 0
        continue
      }
      if (file.missingSince === 0) file.missingSince = performance.now()
      if (performance.now() - file.missingSince >= GONE_MS) this.#files.delete(name)
      else isUnsure = true
    }
    return isUnsure
  }

  /** Reads a file when it changed. @returns true when it is in the middle of a change */
  async #look(name: string, isFirst: boolean, troubles: Map<string, string>): Promise<boolean> {
    const path = join(this.#path, name)
    const known = this.#files.get(name)
    if (known !== undefined && known.problem !== '') troubles.set(name, known.problem)
    try {
      const { ino, size, mtimeMs, ctimeMs } = await stat(path)
      const version = `${ino}:${size}:${mtimeMs}:${ctimeMs}`
      if (version === known?.version) return false
      if (!isFirst && this.#isRestless(name, Math.max(mtimeMs, ctimeMs))) return true
      // UTF-8 takes up to three bytes for a character of the bound.
      const text = await readRegularFile(path, 3 * MAX_FILE_CHARS)
      const { documents, problems, isBroken } = await readResourceFileApart(text, path)
      const problem = problems.slice(0, 20).join('\n')
      const kept = isBroken ? withKept(documents, known?.documents ?? []) : documents
      this.#files.set(name, { version, documents: kept, problem, missingSince: 0 })
      if (problem === '') troubles.delete(name)
      else troubles.set(name, problem)
    } catch (error) {
      // A file may go between the list and the look: the next look knows.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' && known === undefined) return true
      troubles.set(name, `${path}: ${errorText(error)}`)
    }
    return false
  }

  /** Was the file changed just now, and not for too long already? */
  #isRestless(name: string, changedMs: number): boolean {
    const now = Date.now()
    const since = this.#restless.get(name) ?? now
    const isRestless = Math.abs(now - changedMs) < QUIET_MS && now - since < PATIENCE_MS
    if (isRestless) this.#restless.set(name, since)
    else this.#restless.delete(name)
    return isRestless
  }

  /** Tells what changed. A resource that two files have is taken from the first. */
  #tell(troubles: Map<string, string>): void {
    const now = new Map<string, FileDocument>()
    for (const [name, { documents }] of [...this.#files].sort(([a], [b]) => (a < b ? -1 : 1))) {
      for (const document of documents) {
        const key = `${document.kind} ${document.name}`
        const other = now.get(key)
        if (document.name === '') troubles.set(name, `${place(document)}: metadata.name is missing: want a name`)
        else if (other === undefined) now.set(key, document)
        else troubles.set(name, `${place(document)}: ${key} is in ${other.file} too, which stands`)
      }
    }
    for (const [key, { kind, name }] of this.#told) {
      if (now.has(key)) continue
      this.#told.delete(key)
      this.#sink?.remove({ kind, name })
    }
    for (const [key, document] of now) {
      if (this.#told.get(key) === document) continue
      this.#told.set(key, document)
      const { kind, name, value, file, lineOf } = document
      this.#sink?.upsert({ ref: { kind, name }, uid: '', generation: 0, value, file, lineOf })
    }
  }

  #report(troubles: ReadonlyMap<string, string>): void {
    for (const [part, text] of troubles) this.#sink?.trouble(part, text)
    for (const part of this.#troubled) if (!troubles.has(part)) this.#sink?.trouble(part, undefined)
    this.#troubled = new Set(troubles.keys())
  }
}

function place({ file, lineOf }: FileDocument): string {
  const line = lineOf(['metadata'])
  return line === undefined ? file : `${file}:${line}`
}

/** Documents of a file, and of those before the ones that it may still have. */
function withKept(documents: readonly FileDocument[], before: readonly FileDocument[]): FileDocument[] {
  const has = (one: FileDocument) => documents.some((other) => other.kind === one.kind && other.name === one.name)
  return [...documents, ...before.filter((one) => !has(one))]
}
