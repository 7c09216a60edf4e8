import { errorText } from '../base/errors.ts'
import { type Logger, LogLimiter, silentLogger } from '../base/logger.ts'
import { Pause } from '../base/pause.ts'
import { ApiError, type ApiFailure } from '../kubernetes/api-error.ts'
import { Backoff, type BackoffOptions } from '../kubernetes/backoff.ts'
import type { ApiClient } from '../kubernetes/client.ts'
import type { ApiObject, Resource } from '../kubernetes/resource.ts'
import type { TelemetrySink, TelemetrySource } from '../model/contracts.ts'
import type { Leadership } from './leadership.ts'
import type { ResourceRef, ResourceStatus } from './resource.ts'
import { digestOf, type StoredStatus, statusOver, storedStatus } from './stored-status.ts'
import { TokenBucket } from './token-bucket.ts'

/** A resource as the API server has it. */
export interface StoredResource {
  readonly uid: string
  readonly resourceVersion: string
  readonly generation: number
  readonly status: StoredStatus
}

export interface StatusWriterOptions {
  readonly client: ApiClient
  readonly leadership: Leadership
  /** Where a kind is found. */
  resourceOf(kind: string): Resource | undefined
  /** The newest version that is known; undefined when there is none. */
  find(ref: ResourceRef): StoredResource | undefined
  readonly log?: Logger
  readonly backoff?: BackoffOptions
  /** Writes at once, and then a second. */
  readonly burst?: number
  readonly perSecond?: number
}

/** Each change of many resources is written soon, and a resource that changes for ever costs the API server little. */
const BURST = 20
const PER_SECOND = 5
/** Resources whose status is kept. */
const MAX_RESOURCES = 4096
/** Who wrote a field, in the object's managed fields. */
export const FIELD_MANAGER = 'sluice'

const OUTCOMES = ['written', 'unchanged', 'outdated', 'conflict', 'failed', 'refused'] as const
type Outcome = (typeof OUTCOMES)[number]

/** What was written last to one object. */
interface Written {
  readonly wanted: string
  readonly over: string
  readonly answered: StoredResource
}

interface Entry {
  readonly ref: ResourceRef
  status: ResourceStatus
  written: Written | undefined
}

/**
 * Writes the status of resources, one at a time and the newest alone, as long as this agent leads. A status is written
 * when it differs from what is stored, with the version that it is about as the condition: the API server refuses it
 * when the resource was changed, or is another of the same name. What somebody else writes over it stays until the
 * status changes again, as two that correct each other would never end.
 */
export class StatusWriter implements TelemetrySource, AsyncDisposable {
  readonly #options: StatusWriterOptions
  readonly #log: Logger
  readonly #limiter = new LogLimiter(60_000)
  readonly #entries = new Map<string, Entry>()
  readonly #queue = new Set<string>()
  readonly #bucket: TokenBucket
  readonly #backoff: Backoff
  readonly #pause = new Pause()
  readonly #stop = new AbortController()
  readonly #subscription: Disposable
  readonly #outcomes = new Map<Outcome, number>(OUTCOMES.map((outcome) => [outcome, 0]))
  #running: Promise<void> | undefined

  constructor(options: StatusWriterOptions) {
    this.#options = options
    this.#log = options.log ?? silentLogger
    this.#bucket = new TokenBucket(options.burst ?? BURST, options.perSecond ?? PER_SECOND)
    this.#backoff = new Backoff(options.backoff)
    this.#subscription = options.leadership.onChange((isLeader) => this.#leads(isLeader))
  }

  /** Returns at once. */
  set(ref: ResourceRef, status: ResourceStatus): void {
    const key = keyOf(ref)
    const entry = this.#entries.get(key)
    if (entry === undefined && this.#entries.size >= MAX_RESOURCES) {
      this.#count('refused')
      return
    }
    if (entry === undefined) this.#entries.set(key, { ref, status, written: undefined })
    else entry.status = status
    this.#enqueue(key)
  }

  /** The resource is gone. */
  forget(ref: ResourceRef): void {
    const key = keyOf(ref)
    this.#entries.delete(key)
    this.#queue.delete(key)
  }

  /** Statuses that wait to be written. */
  get pending(): number {
    return this.#queue.size
  }

  collect(sink: TelemetrySink): void {
    for (const [result, count] of this.#outcomes) {
      sink.counter(
        'sluice_resource_status_writes_total',
        'Statuses of filter resources by what became of them',
        count,
        {
          result,
        },
      )
    }
    sink.gauge('sluice_resource_status_pending', 'Statuses of filter resources that wait to be written', this.pending)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]()
    this.#stop.abort()
    this.#pause.end()
    await this.#running
  }

  #leads(isLeader: boolean): void {
    this.#pause.end()
    if (!isLeader) this.#queue.clear()
    else for (const key of this.#entries.keys()) this.#enqueue(key)
  }

  #enqueue(key: string): void {
    if (!this.#options.leadership.isLeader || this.#stop.signal.aborted) return
    this.#queue.add(key)
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  async #run(): Promise<void> {
    // What is told in one turn is seen as one change.
    await this.#pause.wait(0)
    for (;;) {
      const [key] = this.#queue
      if (key === undefined || this.#stop.signal.aborted) return
      this.#queue.delete(key)
      const entry = this.#entries.get(key)
      if (entry !== undefined) await this.#settle(key, entry)
    }
  }

  async #settle(key: string, entry: Entry): Promise<void> {
    const resource = this.#options.resourceOf(entry.ref.kind)
    const stored = this.#newest(entry)
    if (resource === undefined || stored === undefined) return this.#count('outdated')
    try {
      this.#count(await this.#write(resource, entry, stored))
      this.#backoff.reset()
    } catch (error) {
      if (this.#stop.signal.aborted) return
      await this.#failed(key, entry, error)
    }
  }

  async #write(resource: Resource, entry: Entry, stored: StoredResource): Promise<Outcome> {
    let over = stored
    for (let tries = 1; ; tries++) {
      // A newer version is there, of which a newer status will tell.
      if (entry.status.observedGeneration < over.generation) return 'outdated'
      const body = statusOver(over.status, entry.status)
      const wanted = digestOf(body)
      if (wanted === over.status.digest || isWritten(entry.written, wanted, over)) return 'unchanged'
      await this.#pause.wait(this.#bucket.take())
      if (!this.#options.leadership.isLeader || this.#stop.signal.aborted) return 'outdated'
      try {
        const patch = { metadata: { resourceVersion: over.resourceVersion }, status: body }
        const answer = await this.#options.client.patchStatus(resource, { name: entry.ref.name }, patch, {
          fieldManager: FIELD_MANAGER,
          signal: this.#stop.signal,
        })
        entry.written = { wanted, over: over.resourceVersion, answered: storedResource(answer) }
        return 'written'
      } catch (error) {
        if (failureOf(error) !== 'conflict' || tries > 1) throw error
        // Labels were changed, or the watch is behind: the condition is renewed, once.
        this.#count('conflict')
        const { client } = this.#options
        const newer = await client.get(resource, { name: entry.ref.name }, { signal: this.#stop.signal })
        if (newer.metadata.uid !== stored.uid) return 'outdated'
        over = storedResource(newer)
      }
    }
  }

  /** What the watch told, or the answer to the last write while the watch has not told of it. */
  #newest({ ref, written }: Entry): StoredResource | undefined {
    const stored = this.#options.find(ref)
    if (stored === undefined || written === undefined) return stored
    const isBehind = written.answered.uid === stored.uid && stored.resourceVersion === written.over
    return isBehind ? written.answered : stored
  }

  async #failed(key: string, entry: Entry, error: unknown): Promise<void> {
    const failure = failureOf(error)
    // Gone meanwhile, as the watch will tell.
    if (failure === 'not_found') return this.#count('outdated')
    this.#count('failed')
    this.#limiter.run(failure, (held) => {
      const { kind, name } = entry.ref
      this.#log.warn({ kind, name, err: errorText(error), held }, 'cannot write the status of a filter resource')
    })
    // One that the server does not take is not tried again as it is; the next status is.
    if (failure === 'invalid') return
    if (this.#options.leadership.isLeader) this.#queue.add(key)
    await this.#pause.wait(this.#backoff.next(error instanceof ApiError ? error.retryAfterMs : 0))
  }

  #count(outcome: Outcome): void {
    this.#outcomes.set(outcome, (this.#outcomes.get(outcome) ?? 0) + 1)
  }
}

/**
 * Whether the last write said the same and is what is stored. Compared with the answer rather than with what was sent:
 * a server whose definition of the kind lacks fields drops them, and would be written to for ever.
 */
function isWritten(written: Written | undefined, wanted: string, stored: StoredResource): boolean {
  if (written === undefined || written.answered.uid !== stored.uid) return false
  return written.wanted === wanted && written.answered.status.digest === stored.status.digest
}

/** What is kept of an object of the API. */
export function storedResource(object: ApiObject): StoredResource {
  const { uid, resourceVersion, generation } = object.metadata
  return {
    uid,
    resourceVersion,
    generation: typeof generation === 'number' ? generation : 0,
    status: storedStatus(object['status']),
  }
}

function failureOf(error: unknown): ApiFailure {
  return error instanceof ApiError ? error.failure : 'server'
}

function keyOf({ kind, name }: ResourceRef): string {
  return `${kind}/${name}`
}
