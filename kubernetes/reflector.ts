import { errorText } from '../base/errors.ts'
import { type Logger, LogLimiter, silentLogger } from '../base/logger.ts'
import { Pause } from '../base/pause.ts'
import { ApiError, type ApiFailure, transportError } from './api-error.ts'
import { Backoff, type BackoffOptions } from './backoff.ts'
import type { ApiClient, WatchEvent } from './client.ts'
import { type ObjectHandler, ObjectStore } from './object-store.ts'
import type { Resource } from './resource.ts'

/** Objects in a page of a list. */
const PAGE_SIZE = 500
/** Servers send a bookmark each minute: a watch that is silent for two and a half has lost its connection. */
const WATCH_IDLE_MS = 150_000
/** How long a watch lasts, seconds: a random time between, so that the watches of a cluster's agents end apart. */
const MIN_WATCH_SECS = 300
const MAX_WATCH_SECS = 600
/** A watch that ends earlier and tells nothing has not worked; one that told something is followed after a moment. */
const SHORT_WATCH_MS = 1000
/** A watch that has lasted so long has worked: what fails next is a first failure. */
const GOOD_WATCH_MS = 10_000
/** How often a resource that does not exist, or may not be read, is asked for. */
const ABSENT_DELAY_MS = 30_000
const FORBIDDEN_DELAY_MS = 10_000

export interface ReflectorOptions<T> extends ObjectHandler<T> {
  readonly client: ApiClient
  readonly resource: Resource
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
  /** Ask for objects' metadata only. */
  readonly metadataOnly?: boolean
  /** Objects kept; more are refused and counted. */
  readonly maxObjects: number
  readonly pageSize?: number
  /** A resource that the server does not know (its CRD is not there) has no objects, and that is no failure. */
  readonly absentIsEmpty?: boolean
  readonly log?: Logger
  readonly backoff?: BackoffOptions
  readonly watchIdleMs?: number
  readonly watchSecs?: number
  /** How often an absent resource is asked for. */
  readonly absentDelayMs?: number
}

/** How a reflector is, for status and metrics. */
export interface ReflectorState {
  readonly resource: string
  /** The first complete list is in. */
  readonly synced: boolean
  /** A watch is open, so that what is known is no older than the server's cache. */
  readonly watching: boolean
  /** The server does not know the resource at present. */
  readonly absent: boolean
  readonly objects: number
  readonly refused: number
  readonly unreadable: number
  readonly handlerErrors: number
  readonly lists: number
  readonly watches: number
  readonly events: number
  /** Date.now() of the last event or bookmark, or the end of the last list; 0: none yet. */
  readonly lastEventMs: number
  /** What went wrong last; empty while all is well. */
  readonly lastError: string
  readonly failures: ReadonlyMap<ApiFailure, number>
}

/**
 * Keeps up with one collection of the API: a list in pages, a watch from there, and again from where it was whenever
 * the watch ends or breaks; a new list only when the server has forgotten that place. Never gives up: waits between
 * attempts as Backoff says. Its handler is told each version of each object once, also across lists: what a list finds
 * unchanged is not told again, what it misses is deleted.
 */
export class Reflector<T> implements AsyncDisposable {
  readonly store: ObjectStore<T>
  readonly #options: ReflectorOptions<T>
  readonly #log: Logger
  readonly #limiter = new LogLimiter(60_000)
  readonly #stop = new AbortController()
  readonly #pause = new Pause()
  readonly #backoff: Backoff
  readonly #failures = new Map<ApiFailure, number>()
  readonly #random: () => number
  /** Version that a watch goes on from; empty: a list is due. */
  #version = ''
  /** Version that the next list has to be as new as; empty: the newest, from the server's storage. */
  #listFrom = '0'
  #isPaged = true
  #isSynced = false
  #isWatching = false
  #isAbsent = false
  #lists = 0
  #watches = 0
  #events = 0
  #lastEventMs = 0
  #lastError = ''
  #running: Promise<void> | undefined
  #settle: () => void = () => {}
  readonly #settled = new Promise<void>((resolve) => {
    this.#settle = resolve
  })

  constructor(options: ReflectorOptions<T>) {
    this.#options = options
    this.#log = (options.log ?? silentLogger).child({ resource: options.resource.plural })
    this.#backoff = new Backoff(options.backoff)
    this.#random = options.backoff?.random ?? Math.random
    this.store = new ObjectStore(options, options.maxObjects)
  }

  /** Starts, and returns at once. */
  start(): void {
    this.#running ??= this.#run()
  }

  /**
   * Resolves when the first complete list is in, or the server has said that there will be none: the resource does not
   * exist, or may not be read. (It is asked for again all the same.)
   */
  settled(): Promise<void> {
    return this.#settled
  }

  /** The next attempt is made now, if one is waited for. */
  poke(): void {
    this.#pause.end()
  }

  get state(): ReflectorState {
    return {
      resource: this.#options.resource.plural,
      synced: this.#isSynced,
      watching: this.#isWatching,
      absent: this.#isAbsent,
      objects: this.store.size,
      refused: this.store.refused,
      unreadable: this.store.unreadable,
      handlerErrors: this.store.handlerErrors,
      lists: this.#lists,
      watches: this.#watches,
      events: this.#events,
      lastEventMs: this.#lastEventMs,
      lastError: this.#lastError,
      failures: this.#failures,
    }
  }

  /** Stops; resolves when nothing is under way and no call of the handler will follow. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#pause.end()
    this.#settle()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        if (this.#version === '') await this.#list()
        const lastedMs = await this.#watch()
        if (lastedMs < SHORT_WATCH_MS && !signal.aborted) await this.#pause.wait(SHORT_WATCH_MS * this.#random())
      } catch (error) {
        const failure =
          error instanceof ApiError ? error : transportError(`follow ${this.#options.resource.plural}`, error)
        if (signal.aborted) return
        const delayMs = await this.#failed(failure)
        if (!signal.aborted) await this.#pause.wait(delayMs)
      }
    }
  }

  async #list(): Promise<void> {
    const { client, resource, pageSize = PAGE_SIZE } = this.#options
    const isPaged = this.#isPaged
    let token = ''
    let resourceVersion = ''
    this.#lists++
    this.store.beginList()
    do {
      const page = await client.list(
        resource,
        { ...this.#selection(), limit: isPaged ? pageSize : 0, continue: token, resourceVersion: this.#listFrom },
        (item) => this.store.upsert(item),
      )
      token = page.continue
      resourceVersion = page.resourceVersion
    } while (token !== '')
    const { pacer } = client
    await this.store.endList(() => (pacer.isOver ? pacer.next() : undefined))
    this.#version = resourceVersion
    this.#listFrom = resourceVersion
    this.#isPaged = true
    this.#isAbsent = false
    this.#isSynced = true
    this.#heard()
    this.#settle()
  }

  /** @returns how long it lasted, milliseconds, when the server has ended it in good order */
  async #watch(): Promise<number> {
    const { client, resource, watchIdleMs = WATCH_IDLE_MS } = this.#options
    const random = MIN_WATCH_SECS + this.#random() * (MAX_WATCH_SECS - MIN_WATCH_SECS)
    const timeoutSecs = this.#options.watchSecs ?? Math.round(random)
    const begun = performance.now()
    const eventsBefore = this.#events
    this.#watches++
    const onOpen = (): void => {
      this.#isWatching = true
      this.#heard()
    }
    try {
      const request = { ...this.#selection(), resourceVersion: this.#version, timeoutSecs, idleMs: watchIdleMs, onOpen }
      await client.watch(resource, request, (event) => this.#take(event))
    } finally {
      this.#isWatching = false
      if (performance.now() - begun >= GOOD_WATCH_MS) this.#backoff.reset()
    }
    const lastedMs = performance.now() - begun
    if (lastedMs >= SHORT_WATCH_MS || this.#events !== eventsBefore) return lastedMs
    throw new ApiError('short', `Cannot watch ${resource.plural}: the API server ended the watch at once`)
  }

  #take({ type, object }: WatchEvent): void {
    const version = object.metadata?.resourceVersion
    if (type === 'DELETED') this.store.delete(object)
    else if (type !== 'BOOKMARK') this.store.upsert(object)
    if (typeof version === 'string' && version !== '') {
      this.#version = version
      this.#listFrom = version
    }
    this.#events++
    this.#heard()
    this.#backoff.reset()
  }

  #heard(): void {
    this.#lastEventMs = Date.now()
    if (this.#lastError === '') return
    this.#lastError = ''
    const fields = { objects: this.store.size }
    this.#limiter.run('again', (held) => this.#log.info({ ...fields, held }, 'the API server answers again'))
  }

  #selection() {
    const { namespace, labelSelector, fieldSelector, metadataOnly } = this.#options
    return { namespace, labelSelector, fieldSelector, metadataOnly, signal: this.#stop.signal }
  }

  /** @returns how long to wait, milliseconds */
  async #failed(error: ApiError): Promise<number> {
    const { failure } = error
    const { resource, absentIsEmpty, absentDelayMs = ABSENT_DELAY_MS } = this.#options
    this.#failures.set(failure, (this.#failures.get(failure) ?? 0) + 1)
    if (failure === 'gone' || failure === 'too_new' || failure === 'invalid') this.#forget(failure)
    const delayMs = this.#backoff.next(error.retryAfterMs)
    if (failure === 'not_found') {
      this.#version = ''
      if (absentIsEmpty === true) {
        await this.#becomeEmpty()
        this.#settle()
        return absentDelayMs
      }
    }
    this.#lastError = errorText(error)
    this.#limiter.run(failure, (held) => {
      const fields = { err: error.message, failure, retryMs: Math.round(delayMs), held }
      this.#log.warn(fields, `cannot follow ${resource.plural}: what is known stays in use`)
    })
    if (failure === 'not_found') this.#settle()
    if (failure !== 'forbidden') return failure === 'not_found' ? Math.max(delayMs, absentDelayMs) : delayMs
    this.#settle()
    return Math.max(delayMs, FORBIDDEN_DELAY_MS * (0.5 + 0.5 * this.#random()))
  }

  /** The server has no such version, not yet or no more, or takes it for none: the next list starts over. */
  #forget(failure: 'gone' | 'too_new' | 'invalid'): void {
    const wasListing = this.#version === ''
    this.#version = ''
    if (failure !== 'gone' || wasListing) this.#listFrom = ''
    // A continue token that ran out: the list takes longer than the server remembers, and pages do not help.
    if (failure === 'gone' && wasListing) this.#isPaged = false
  }

  async #becomeEmpty(): Promise<void> {
    const { pacer } = this.#options.client
    this.store.beginList()
    await this.store.endList(() => (pacer.isOver ? pacer.next() : undefined))
    this.#isAbsent = true
    this.#isSynced = true
    this.#listFrom = '0'
    this.#lastError = ''
  }
}
