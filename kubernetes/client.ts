import type { ClusterAccess } from './access.ts'
import { ApiError, eventError } from './api-error.ts'
import { type ApiRequest, Connection } from './connection.ts'
import { LineScanner, ListScanner } from './json-stream.ts'
import { Pacer } from './pacer.ts'
import { type ApiObject, type Place, pathOf, type Resource } from './resource.ts'

/** Longer objects are refused: etcd takes 1.5 MiB, and its form is shorter than JSON. */
const MAX_OBJECT_BYTES = 4 * 1024 * 1024
const REQUEST_IDLE_MS = 30_000

const LIST_AS_METADATA = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json'
const WATCH_AS_METADATA = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json'

export interface ClientOptions {
  /** `sluice/0.1.0` */
  readonly userAgent?: string
  readonly maxObjectBytes?: number
  /** The longest silence of a request that is no watch, milliseconds. */
  readonly idleMs?: number
  /** Turns of the event loop are shared with it. */
  readonly pacer?: Pacer
}

export interface Selection {
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
  /** Objects with their metadata only, which the server is asked to cut. */
  readonly metadataOnly?: boolean | undefined
  readonly signal?: AbortSignal | undefined
}

export interface ListRequest extends Selection {
  /** Objects in a page; 0: all in one. Servers may give more. */
  readonly limit?: number
  readonly continue?: string
  /** Not older than this one; `0` any that the server has at hand; empty: the newest. */
  readonly resourceVersion?: string
}

/** The end of a page. */
export interface ListPage {
  readonly resourceVersion: string
  /** Token of the next page, empty on the last. */
  readonly continue: string
}

export interface WatchRequest extends Selection {
  /** Events after this one. */
  readonly resourceVersion: string
  /** The server ends the watch after so long. */
  readonly timeoutSecs: number
  /** A silence that says that the connection is dead, milliseconds. */
  readonly idleMs: number
  /** Called when the server has taken the watch. */
  readonly onOpen?: () => void
}

/** A change, or a bookmark: an object of which only `metadata.resourceVersion` counts. */
export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  readonly object: ApiObject
}

export interface WriteOptions {
  /** Named in the object's managed fields. */
  readonly fieldManager?: string
  readonly signal?: AbortSignal | undefined
}

const EVENT_TYPES = new Set(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK'])

/**
 * A client of the Kubernetes API for what an agent does: lists and watches of any size in bounded memory and short
 * turns of the event loop, and small writes. Every failure is an ApiError; nothing is tried again but requests whose
 * credentials were out of date.
 */
export class ApiClient implements Disposable {
  readonly access: ClusterAccess
  readonly pacer: Pacer
  readonly #connection: Connection
  readonly #maxObjectBytes: number
  readonly #idleMs: number

  constructor(access: ClusterAccess, options: ClientOptions = {}) {
    this.access = access
    this.pacer = options.pacer ?? new Pacer()
    this.#connection = new Connection(access, options.userAgent ?? 'sluice')
    this.#maxObjectBytes = options.maxObjectBytes ?? MAX_OBJECT_BYTES
    this.#idleMs = options.idleMs ?? REQUEST_IDLE_MS
  }

  /** Times that credentials were read again because the server refused the last ones. */
  get renewals(): number {
    return this.#connection.renewals
  }

  /** Reads a page. Items are given on one by one as they come, so a page that fails may have been told in part. */
  async list(resource: Resource, request: ListRequest, onItem: (item: ApiObject) => void): Promise<ListPage> {
    const action = actionText('list', resource, request)
    const query = selectionQuery(request)
    if (request.limit !== undefined && request.limit > 0) query.set('limit', String(request.limit))
    const version = request.resourceVersion ?? ''
    if (request.continue !== undefined && request.continue !== '') query.set('continue', request.continue)
    else if (version !== '') {
      query.set('resourceVersion', version)
      // Said in so many words, as with a limit the default is another one.
      query.set('resourceVersionMatch', 'NotOlderThan')
    }
    const response = await this.#send({
      action,
      method: 'GET',
      path: `${pathOf(resource, request)}?${query}`,
      headers: request.metadataOnly === true ? { accept: LIST_AS_METADATA } : {},
      signal: request.signal,
    })
    const scanner = new ListScanner(action, this.#maxObjectBytes)
    for await (const chunk of response.chunks()) {
      for (const item of scanner.feed(chunk)) {
        onItem(parse(action, item) as ApiObject)
        if (this.pacer.isOver) await this.pacer.next()
      }
      if (this.pacer.isOver) await this.pacer.next()
    }
    return pageOf(action, scanner.end())
  }

  /**
   * Follows changes until the server ends the watch, which it does after `timeoutSecs`.
   *
   * @throws ApiError gone when `resourceVersion` is too old, in whichever way the server says so; timeout after a
   *   silence; network; malformed; and what else a request can meet
   */
  async watch(resource: Resource, request: WatchRequest, onEvent: (event: WatchEvent) => void): Promise<void> {
    const action = actionText('watch', resource, request)
    const query = selectionQuery(request)
    query.set('watch', 'true')
    query.set('allowWatchBookmarks', 'true')
    query.set('resourceVersion', request.resourceVersion)
    query.set('timeoutSeconds', String(request.timeoutSecs))
    const response = await this.#send({
      action,
      method: 'GET',
      path: `${pathOf(resource, request)}?${query}`,
      headers: request.metadataOnly === true ? { accept: WATCH_AS_METADATA } : {},
      signal: request.signal,
      idleMs: request.idleMs,
    })
    request.onOpen?.()
    const scanner = new LineScanner(action, this.#maxObjectBytes)
    for await (const chunk of response.chunks()) {
      for (const line of scanner.feed(chunk)) {
        onEvent(eventOf(action, parse(action, line)))
        if (this.pacer.isOver) await this.pacer.next()
      }
    }
    if (scanner.isMidLine) throw new ApiError('malformed', `Cannot ${action}: the last line is cut off`)
  }

  /** @param anyVersion also a cached one that may be some seconds old: cheap for the server */
  get(
    resource: Resource,
    place: Place,
    options: WriteOptions & { readonly anyVersion?: boolean } = {},
  ): Promise<ApiObject> {
    const query = options.anyVersion === true ? '?resourceVersion=0' : ''
    return this.#object('get', 'GET', resource, place, query, undefined, options)
  }

  /** @throws ApiError conflict when it exists */
  create(resource: Resource, place: Place, object: object, options: WriteOptions = {}): Promise<ApiObject> {
    return this.#object('create', 'POST', resource, { namespace: place.namespace }, '', object, options)
  }

  /** Replaces an object. @throws ApiError conflict when `metadata.resourceVersion` of it is not the present one */
  replace(resource: Resource, place: Place, object: object, options: WriteOptions = {}): Promise<ApiObject> {
    return this.#object('update', 'PUT', resource, place, '', object, options)
  }

  /** RFC 7386. A `metadata.resourceVersion` in it is a condition. */
  mergePatch(resource: Resource, place: Place, patch: object, options: WriteOptions = {}): Promise<ApiObject> {
    return this.#object('patch', 'PATCH', resource, place, '', patch, options)
  }

  /** mergePatch() of the status subresource. @param patch `{ status: ... }` */
  patchStatus(resource: Resource, place: Place, patch: object, options: WriteOptions = {}): Promise<ApiObject> {
    return this.mergePatch(resource, { ...place, subresource: 'status' }, patch, options)
  }

  /** @param uid only when it is this very one */
  async delete(
    resource: Resource,
    place: Place,
    options: WriteOptions & { readonly uid?: string } = {},
  ): Promise<void> {
    const body = options.uid === undefined ? undefined : { preconditions: { uid: options.uid } }
    await this.#object('delete', 'DELETE', resource, place, '', body, options)
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]()
  }

  #send(request: Omit<ApiRequest, 'idleMs' | 'answerMs'> & { readonly idleMs?: number }) {
    return this.#connection.send({ idleMs: this.#idleMs, answerMs: this.#idleMs, ...request })
  }

  async #object(
    verb: string,
    method: ApiRequest['method'],
    resource: Resource,
    place: Place,
    query: string,
    body: object | undefined,
    options: WriteOptions,
  ): Promise<ApiObject> {
    const action = actionText(verb, resource, place)
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    const manager = options.fieldManager
    const suffix =
      method === 'GET' || method === 'DELETE' || manager === undefined
        ? query
        : `?fieldManager=${encodeURIComponent(manager)}`
    const response = await this.#send({
      action,
      method,
      path: `${pathOf(resource, place)}${suffix}`,
      headers: body === undefined ? {} : { 'content-type': type },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: options.signal,
    })
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of response.chunks()) {
      chunks.push(chunk)
      size += chunk.length
      if (size > this.#maxObjectBytes)
        throw new ApiError('too_large', `Cannot ${action}: the answer has over ${size} bytes`)
    }
    return parse(action, Buffer.concat(chunks)) as ApiObject
  }
}

/** `list pods`, `patch leases kube-system/sluice` */
function actionText(verb: string, { plural, group }: Resource, { namespace, name }: Place): string {
  const where =
    name === undefined
      ? namespace === undefined
        ? ''
        : ` of ${namespace}`
      : ` ${namespace === undefined ? name : `${namespace}/${name}`}`
  return `${verb} ${plural}${group.includes('.') && !group.endsWith('.k8s.io') ? `.${group}` : ''}${where}`
}

function selectionQuery({ labelSelector, fieldSelector }: Selection): URLSearchParams {
  const query = new URLSearchParams()
  if (labelSelector !== undefined) query.set('labelSelector', labelSelector)
  if (fieldSelector !== undefined) query.set('fieldSelector', fieldSelector)
  return query
}

function parse(action: string, bytes: Buffer): unknown {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new ApiError('malformed', `Cannot ${action}: the API server's answer is no JSON`, { cause })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw new ApiError('malformed', `Cannot ${action}: the API server's answer is no object`)
}

function pageOf(action: string, frame: unknown): ListPage {
  const { metadata } = (frame ?? {}) as { metadata?: { resourceVersion?: unknown; continue?: unknown } }
  const version = metadata?.resourceVersion
  if (typeof version === 'string' && version !== '') {
    return { resourceVersion: version, continue: typeof metadata?.continue === 'string' ? metadata.continue : '' }
  }
  throw new ApiError('malformed', `Cannot ${action}: the answer has no metadata.resourceVersion`)
}

function eventOf(action: string, value: unknown): WatchEvent {
  const { type, object } = value as { type?: unknown; object?: unknown }
  if (type === 'ERROR') throw eventError(action, object)
  if (typeof type === 'string' && EVENT_TYPES.has(type) && typeof object === 'object' && object !== null) {
    return value as WatchEvent
  }
  throw new ApiError('malformed', `Cannot ${action}: an event of type ${JSON.stringify(type)?.slice(0, 50)}`)
}
