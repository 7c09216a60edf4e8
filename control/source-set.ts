import { errorText } from '../base/errors.ts'
import { type Logger, LogLimiter } from '../base/logger.ts'
import type { ResourceDocument, ResourceRef, ResourceSource } from './resource.ts'

/** Parts of sources that are remembered to have trouble. */
const MAX_TROUBLES = 256

export interface SourceState {
  readonly name: string
  /** It has told its first complete state. */
  readonly isSynced: boolean
  /** What keeps parts of it from being used at present. */
  readonly troubles: readonly string[]
}

/** Takes what the sources tell. */
export interface SourceListener {
  upsert(source: ResourceSource, document: ResourceDocument): void
  remove(source: ResourceSource, ref: ResourceRef): void
}

/** All sources of resources: starts them and knows how each is doing. */
export class SourceSet {
  readonly sources: readonly ResourceSource[]
  readonly #log: Logger
  readonly #limiter = new LogLimiter()
  readonly #synced = new Set<ResourceSource>()
  readonly #troubles = new Map<ResourceSource, Map<string, string>>()

  constructor(sources: readonly ResourceSource[], log: Logger) {
    this.sources = sources
    this.#log = log
  }

  /**
   * Starts all. Ends when each has told its first state, or the deadline is over.
   *
   * @throws SluiceError when a source can never work as configured
   */
  async start(listener: SourceListener, signal: AbortSignal, deadlineMs: number): Promise<void> {
    if (this.sources.length === 0) return
    let onSynced = () => {}
    const synced = new Promise<void>((resolve) => {
      onSynced = () => {
        if (this.#synced.size >= this.sources.length) resolve()
      }
    })
    const started = Promise.all(
      this.sources.map((source) => this.#startOne(source, listener, signal, () => onSynced())),
    )
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), deadlineMs)
    const over = new Promise<void>((resolve) => {
      late.signal.addEventListener('abort', () => resolve(), { once: true })
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
    // What fails after the deadline has nobody waiting for it.
    started.catch((error: unknown) => {
      if (late.signal.aborted) this.#log.error({ err: errorText(error) }, 'A source of filters failed')
    })
    try {
      await Promise.race([started.then(() => synced), over])
    } finally {
      clearTimeout(timer)
    }
  }

  async #startOne(
    source: ResourceSource,
    listener: SourceListener,
    signal: AbortSignal,
    onSynced: () => void,
  ): Promise<void> {
    const sink = {
      upsert: (document: ResourceDocument) => listener.upsert(source, document),
      remove: (ref: ResourceRef) => listener.remove(source, ref),
      synced: () => {
        this.#synced.add(source)
        onSynced()
      },
      trouble: (part: string, text: string | undefined) => this.trouble(source, part, text),
    }
    await source.start(sink, signal)
  }

  states(): SourceState[] {
    return this.sources.map((source) => ({
      name: source.name,
      isSynced: this.#synced.has(source),
      troubles: [...(this.#troubles.get(source)?.values() ?? [])],
    }))
  }

  async dispose(): Promise<void> {
    await Promise.all(this.sources.map((source) => source[Symbol.asyncDispose]()))
  }

  /** What keeps a part of a source from being used; undefined when nothing does. */
  trouble(source: ResourceSource, part: string, text: string | undefined): void {
    const troubles = this.#troubles.get(source) ?? new Map<string, string>()
    this.#troubles.set(source, troubles)
    if (text === undefined) {
      troubles.delete(part)
      return
    }
    if (troubles.get(part) === text) return
    if (troubles.size < MAX_TROUBLES || troubles.has(part)) troubles.set(part, text)
    this.#limiter.run(source.name, (held) => {
      const message = `Filters cannot be read; what was read before stays: ${text}`
      this.#log.warn({ source: source.name, part, held }, message)
    })
  }
}

/** Where documents come from that are only asked about. */
export function previewSource(): ResourceSource {
  return {
    name: 'preview',
    start: async () => {},
    setStatus: () => {},
    [Symbol.asyncDispose]: async () => {},
  }
}
