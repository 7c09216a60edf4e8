import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Fault, Verb } from './api-double-faults.ts'
import { type Collection, type KubeObject, mergePatch, Refusal, type Storage } from './api-double-store.ts'

const MAX_BODY = 3 * 1024 * 1024

export interface Target {
  readonly collection: Collection
  readonly namespace: string | undefined
  readonly name: string
  readonly subresource: string
  readonly query: URLSearchParams
  readonly verb: Verb
  readonly partial: boolean
}

/** What a request is about; undefined for paths that a server does not know. */
export function targetOf(storage: Storage, url: URL, request: IncomingMessage): Target | undefined {
  const parts = url.pathname
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent)
  const [root, ...rest] = parts
  const [group, version, path] =
    root === 'api' ? ['', rest[0], rest.slice(1)] : root === 'apis' ? [rest[0], rest[1], rest.slice(2)] : []
  if (group === undefined || version === undefined || path === undefined) return undefined
  // `namespaces/x` is the namespace itself, `namespaces/x/pods` what is in it.
  const isInside = path[0] === 'namespaces' && path.length > 2 && path[2] !== 'status'
  const namespace = isInside ? path[1] : undefined
  const [plural = '', name = '', subresource = ''] = isInside ? path.slice(2) : path
  const collection = storage.find(group, version, plural)
  if (collection === undefined || (subresource !== '' && !(subresource === 'status' && collection.type.hasStatus))) {
    return undefined
  }
  if (namespace !== undefined && !collection.type.namespaced) return undefined
  const query = url.searchParams
  const verb = verbOf(request.method ?? 'GET', name, query)
  const partial = /as=PartialObjectMetadata/.test(request.headers.accept ?? '')
  return verb === undefined ? undefined : { collection, namespace, name, subresource, query, verb, partial }
}

/** A patch that names no resourceVersion meets whatever version there is. */
export function sentPatch(old: KubeObject, sent: unknown): unknown {
  const version = (sent as KubeObject | undefined)?.metadata?.resourceVersion ?? old.metadata.resourceVersion
  return mergePatch(sent, { metadata: { resourceVersion: version } })
}

function verbOf(method: string, name: string, query: URLSearchParams): Verb | undefined {
  const watches = ['1', 'true'].includes(query.get('watch') ?? '')
  if (name === '') return method === 'GET' ? (watches ? 'watch' : 'list') : method === 'POST' ? 'create' : undefined
  return ({ GET: 'get', PUT: 'update', PATCH: 'patch', DELETE: 'delete' } as const)[method as 'GET']
}

export function checkPatchType(request: IncomingMessage): void {
  const type = (request.headers['content-type'] ?? '').split(';')[0]
  if (type === 'application/merge-patch+json') return
  const text = `the body of the request was in an unknown format - accepted media types include: application/merge-patch+json`
  throw new Refusal(415, 'UnsupportedMediaType', text)
}

export function checked(sent: unknown): KubeObject {
  if (typeof sent === 'object' && sent !== null && 'metadata' in sent) return sent as KubeObject
  throw new Refusal(400, 'BadRequest', 'the object provided is unrecognized: it has no metadata')
}

export async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    chunks.push(chunk as Buffer)
    size += (chunk as Buffer).length
    if (size > MAX_BODY) throw new Refusal(413, 'RequestEntityTooLarge', `limit is ${MAX_BODY}`)
  }
  if (size === 0) return undefined
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown
  } catch (error) {
    throw new Refusal(400, 'BadRequest', `error decoding request body: ${String(error)}`)
  }
}

/** The body of an error. */
export function statusObject(code: number, reason: string, message: string, details?: object): object {
  const status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason }
  return { ...status, ...(details === undefined ? {} : { details }), code }
}

export function answerStatus(response: ServerResponse, fault: Fault & { kind: 'status' }): void {
  const { code, reason = '', message = `injected ${code}`, retryAfterSecs, body } = fault
  const headers = { ...(retryAfterSecs === undefined ? {} : { 'retry-after': String(retryAfterSecs) }) }
  const text = body ?? JSON.stringify(statusObject(code, reason, message))
  response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(text)
}

export function refuse(response: ServerResponse, error: unknown): void {
  const { code, reason, message, details } =
    error instanceof Refusal ? error : new Refusal(500, 'InternalError', String(error))
  if (response.headersSent) return void response.destroy()
  response.writeHead(code, { 'content-type': 'application/json' })
  response.end(JSON.stringify(statusObject(code, reason, message, details)))
}
