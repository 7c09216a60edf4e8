import { type Logger, silentLogger } from '../base/logger.ts'
import { GROUP, RESOURCE_KINDS, type ResourceKind, VERSION } from '../filters/resources/kinds.ts'
import type { BackoffOptions } from '../kubernetes/backoff.ts'
import type { ApiClient } from '../kubernetes/client.ts'
import { Reflector, type ReflectorState } from '../kubernetes/reflector.ts'
import type { ApiObject, Resource } from '../kubernetes/resource.ts'
import { collectReflector } from '../kubernetes/telemetry.ts'
import type { TelemetrySink, TelemetrySource } from '../model/contracts.ts'
import type { Leadership } from './leadership.ts'
import type { ResourceDocument, ResourceRef, ResourceSink, ResourceSource, ResourceStatus } from './resource.ts'
import { StatusWriter, type StoredResource, storedResource } from './status-writer.ts'

/** Resources of one kind, as many as there is room for in all. */
const MAX_RESOURCES = 256
/** Definitions of the kinds that are not there are looked for so often. */
const ABSENT_DELAY_MS = 30_000
/** start() waits so long for the API server; what comes later is told later. */
const START_DEADLINE_MS = 5000
/** How often it is looked whether the kinds can be followed. */
const CHECK_MS = 2000

export interface KubernetesSourceOptions {
  readonly client: ApiClient
  /** Who writes statuses. */
  readonly leadership: Leadership
  readonly log?: Logger
  readonly backoff?: BackoffOptions
  readonly maxResources?: number
  readonly absentDelayMs?: number
  readonly startDeadlineMs?: number
  readonly checkMs?: number
}

/** A version of a resource as it came; the document is handed on and not kept. */
interface Kept extends StoredResource {
  readonly ref: ResourceRef
  document: ResourceDocument | undefined
}

/**
 * Filter resources of the Kubernetes API. Follows the kinds that the cluster defines; one whose definition is missing
 * has no resources, and is looked for every 30 s. While the API server cannot be reached, what it said last stays.
 */
export class KubernetesResourceSource implements ResourceSource, TelemetrySource {
  readonly name = 'kubernetes'
  readonly #options: KubernetesSourceOptions
  readonly #log: Logger
  readonly #followed: readonly Followed[]
  readonly #writer: StatusWriter
  #sink: ResourceSink | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: KubernetesSourceOptions) {
    this.#options = options
    this.#log = options.log ?? silentLogger
    this.#followed = RESOURCE_KINDS.map((kind) => this.#follow(kind))
    const { client, leadership, backoff } = options
    this.#writer = new StatusWriter({
      client,
      leadership,
      log: this.#log,
      ...(backoff === undefined ? {} : { backoff }),
      resourceOf: (kind) => this.#of(kind)?.resource,
      find: ({ kind, name }) => this.#of(kind)?.reflector.store.get('', name),
    })
  }

  async start(sink: ResourceSink, signal: AbortSignal): Promise<void> {
    this.#sink = sink
    for (const { reflector } of this.#followed) reflector.start()
    const settled = Promise.all(this.#followed.map(({ reflector }) => reflector.settled())).then(() => {
      this.#check()
      if (!signal.aborted) sink.synced()
    })
    this.#timer = setInterval(() => this.#check(), this.#options.checkMs ?? CHECK_MS).unref()
    signal.addEventListener('abort', () => void this[Symbol.asyncDispose](), { once: true })
    await firstOf(settled, this.#options.startDeadlineMs ?? START_DEADLINE_MS, signal)
    this.#check()
  }

  setStatus(ref: ResourceRef, status: ResourceStatus): void {
    this.#writer.set(ref, status)
  }

  /** Looks for missing definitions now, and tries again now what failed. */
  poke(): void {
    for (const { reflector } of this.#followed) reflector.poke()
  }

  /** How each kind is followed. */
  states(): ReflectorState[] {
    return this.#followed.map(({ reflector }) => reflector.state)
  }

  collect(sink: TelemetrySink): void {
    for (const { reflector } of this.#followed) collectReflector(reflector.state, sink)
    this.#writer.collect(sink)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all([this.#writer, ...this.#followed.map(({ reflector }) => reflector)].map((one) => disposed(one)))
  }

  #of(kind: string): Followed | undefined {
    return this.#followed.find((one) => one.kind.kind === kind)
  }

  #follow(kind: ResourceKind): Followed {
    const { client, backoff, maxResources = MAX_RESOURCES, absentDelayMs = ABSENT_DELAY_MS } = this.#options
    const resource = { group: GROUP, version: VERSION, plural: kind.plural }
    const reflector = new Reflector<Kept>({
      client,
      resource,
      maxObjects: maxResources,
      // Each may have a megabyte: a page holds few.
      pageSize: 50,
      absentIsEmpty: true,
      absentDelayMs,
      log: this.#log,
      ...(backoff === undefined ? {} : { backoff }),
      pick: (object) => keep(kind, object),
      onUpsert: (now, before) => this.#tell(now, before),
      onDelete: (last) => this.#drop(last),
    })
    return { kind, resource, reflector }
  }

  #tell(now: Kept, before: Kept | undefined): void {
    const { document } = now
    now.document = undefined
    // Only labels or the status have changed, of which nothing depends.
    if (document === undefined || before?.generation === now.generation) return
    this.#sink?.upsert(document)
  }

  #drop({ ref }: Kept): void {
    this.#writer.forget(ref)
    this.#sink?.remove(ref)
  }

  /** Tells what keeps a kind from being followed, and when that is over. */
  #check(): void {
    for (const followed of this.#followed) {
      const trouble = troubleOf(followed, this.#options.maxResources ?? MAX_RESOURCES)
      if (trouble === followed.trouble) continue
      followed.trouble = trouble
      this.#sink?.trouble(followed.kind.kind, trouble)
    }
  }
}

interface Followed {
  readonly kind: ResourceKind
  readonly resource: Resource
  readonly reflector: Reflector<Kept>
  trouble?: string | undefined
}

function troubleOf({ kind, reflector }: Followed, maxResources: number): string | undefined {
  const { lastError, refused, objects } = reflector.state
  if (lastError !== '') return lastError
  if (refused === 0 || objects < maxResources) return undefined
  return `Cannot take all of ${kind.plural}.${GROUP}: there is room for ${objects}, delete some`
}

function keep(kind: ResourceKind, object: ApiObject): Kept {
  const ref = { kind: kind.kind, name: object.metadata.name }
  const stored = storedResource(object)
  const { status: _, metadata, ...rest } = object
  const { managedFields: __, ...shown } = metadata as typeof metadata & { managedFields?: unknown }
  const value = { apiVersion: `${GROUP}/${VERSION}`, kind: kind.kind, ...rest, metadata: shown }
  const { uid, generation } = stored
  return { ...stored, ref, document: { ref, uid, generation, value, file: '' } }
}

/** Resolves with the first of: the promise, the time, the signal. */
async function firstOf(promise: Promise<void>, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const { promise: over, resolve } = withResolver()
  const timer = setTimeout(resolve, timeoutMs)
  signal.addEventListener('abort', resolve, { once: true })
  if (signal.aborted) resolve()
  try {
    await Promise.race([promise, over])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', resolve)
  }
}

/** Promise.withResolvers() is not in Node 20. */
function withResolver(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => {}
  const promise = new Promise<void>((given) => {
    resolve = given
  })
  return { promise, resolve }
}

async function disposed(value: AsyncDisposable): Promise<void> {
  await value[Symbol.asyncDispose]()
}
