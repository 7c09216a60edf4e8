/**
 * A Kubernetes API server for tests, in this process: what its clients see, not how it is made.
 *
 *     await using api = await ApiDouble.start({ token: 'secret' })          // http; { tls: true } for https with an own CA
 *     api.apply('pods', pod({ namespace: 'shop', name: 'cart-0', ip: '10.1.0.7' }))    // written without a request
 *     api.remove('pods', 'shop', 'cart-0')
 *     api.get('leases', 'kube-system', 'sluice')                             // undefined when there is none
 *     api.define({ group: 'acn.azure.com', version: 'v1alpha1', plural: 'containernetworkmetrics',
 *                  kind: 'ContainerNetworkMetric', namespaced: false, hasStatus: true })   // a CRD; undefine() takes it away
 *     using fault = api.fault({ verb: 'list', resource: 'pods' }, { kind: 'status', code: 429, retryAfterSecs: 1 })
 *     api.forbid('replicasets')                                             // 403 for every verb; allow() ends it
 *     api.compact()                 // watches from before, and continue tokens, get 410
 *     api.expireContinues()         // the tokens only
 *     await api.suspend()           // nobody listens, connections are cut; resume() listens again, with all that changed
 *     api.closeWatches('reset')     // or 'end', 'error' (an ERROR event of code 410), for one resource or all
 *     api.requests                  // the last 10,000: verb, resource, name, query, status
 *     new ApiClient(api.access())   // or api.files(): a pod's service-account folder; api.kubeconfig(): a file's text
 *     api.url, api.caFile, api.watching('pods')
 *
 * It has pods, namespaces, nodes, services, configmaps, endpointslices, replicasets, jobs, leases; list with limit and
 * continue tokens of one snapshot, resourceVersion with its match; watch with bookmarks, time-out and a bounded past;
 * metadata-only answers; label and field selectors; get, create, update, merge-patch, delete with preconditions and
 * finalizers; the status subresource; conflicts by resourceVersion; errors as v1.Status; bearer tokens.
 * It differs from a real one: no discovery, no admission (a namespace need not exist), pods go when they are deleted
 * (there is no kubelet), server-side apply and JSON patches answer 415. Faults: api-double-faults.ts. Objects to fill
 * it with: api-double-objects.ts. As a process of its own: api-double-process.ts.
 */

import { readFileSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { ClusterAccess } from '../../kubernetes/access.ts'
import { type Fault, type FaultMatch, Faults, FaultyBody, type Verb } from './api-double-faults.ts'
import { Lists } from './api-double-lists.ts'
import {
  answerStatus,
  bodyOf,
  checked,
  checkPatchType,
  refuse,
  sentPatch,
  type Target,
  targetOf,
} from './api-double-requests.ts'
import { selectorOf } from './api-double-select.ts'
import {
  type Collection,
  type KubeObject,
  keyOf,
  mergePatch,
  Refusal,
  type ResourceType,
  Storage,
} from './api-double-store.ts'
import { Watch } from './api-double-watch.ts'
import { TestAuthority } from './certificates.ts'

export type { Fault, FaultMatch, KubeObject, ResourceType, Verb }

const BUILT_IN: readonly ResourceType[] = [
  { group: '', version: 'v1', plural: 'pods', kind: 'Pod', namespaced: true, hasStatus: true },
  { group: '', version: 'v1', plural: 'namespaces', kind: 'Namespace', namespaced: false, hasStatus: true },
  { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false, hasStatus: true },
  { group: '', version: 'v1', plural: 'services', kind: 'Service', namespaced: true, hasStatus: true },
  { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true, hasStatus: false },
  {
    group: 'discovery.k8s.io',
    version: 'v1',
    plural: 'endpointslices',
    kind: 'EndpointSlice',
    namespaced: true,
    hasStatus: false,
  },
  { group: 'apps', version: 'v1', plural: 'replicasets', kind: 'ReplicaSet', namespaced: true, hasStatus: true },
  { group: 'batch', version: 'v1', plural: 'jobs', kind: 'Job', namespaced: true, hasStatus: true },
  { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', kind: 'Lease', namespaced: true, hasStatus: false },
]

const MAX_REQUESTS = 10_000

export interface ApiDoubleOptions {
  /** https with a certificate of an own CA. */
  readonly tls?: boolean
  /** The bearer token that clients must show; none is asked for unless given. */
  readonly token?: string
  /** How often watches that allow it get a bookmark; 60,000 as a real server has it. */
  readonly bookmarkMs?: number
  /** Changes of each resource that watches can resume from; 10,000. */
  readonly historyLimit?: number
  /** How a watch from too old a revision is refused: in the stream (as mostly) or by HTTP. */
  readonly goneAs?: 'event' | 'http'
  readonly port?: number
}

export interface SeenRequest {
  readonly verb: Verb
  readonly resource: string
  readonly name: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  /** 0 while there is no answer. */
  status: number
}

/** See the top of this file. */
export class ApiDouble implements AsyncDisposable {
  readonly storage: Storage
  readonly lists: Lists
  readonly requests: SeenRequest[] = []
  /** Connections that were made. */
  connections = 0
  /** Tokens that are taken; empty: any, or none. */
  readonly tokens = new Set<string>()
  goneAs: 'event' | 'http'
  readonly #authority: TestAuthority | undefined
  readonly #server: Server | TlsServer
  readonly #faults = new Faults()
  readonly #forbidden = new Set<string>()
  readonly #watches = new Set<Watch>()
  readonly #bookmarkMs: number
  /** Of a suspended server. */
  #port = 0

  private constructor(options: ApiDoubleOptions, authority: TestAuthority | undefined, tls: object | undefined) {
    this.storage = new Storage(options.historyLimit ?? 10_000)
    this.lists = new Lists(this.storage)
    this.goneAs = options.goneAs ?? 'event'
    this.#bookmarkMs = options.bookmarkMs ?? 60_000
    this.#authority = authority
    for (const type of BUILT_IN) this.storage.define(type)
    if (options.token !== undefined) this.tokens.add(options.token)
    const listener = (request: IncomingMessage, response: ServerResponse): void => void this.#serve(request, response)
    this.#server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
    this.#server.keepAliveTimeout = 60_000
    this.#server.on('connection', () => {
      this.connections++
    })
  }

  static async start(options: ApiDoubleOptions = {}): Promise<ApiDouble> {
    const authority = options.tls === true ? await TestAuthority.create() : undefined
    const files = await authority?.issue('apiserver', 'DNS:localhost,IP:127.0.0.1')
    const tls = files && { cert: readFileSync(files.certFile), key: readFileSync(files.keyFile) }
    const double = new ApiDouble(options, authority, tls)
    await double.#listen(options.port ?? 0)
    return double
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `${this.#authority === undefined ? 'http' : 'https'}://127.0.0.1:${this.port}`
  }

  /** PEM file of the CA; empty without TLS. */
  get caFile(): string {
    return this.#authority?.certFile ?? ''
  }

  /** Watches open at present. */
  watching(resource?: string): number {
    return [...this.#watches].filter((watch) => resource === undefined || watch.resource === resource).length
  }

  define(type: ResourceType): void {
    this.storage.define(type)
  }

  /** Takes a resource away, as deleting its CRD does: requests get 404, watches end. */
  undefine(plural: string): void {
    this.storage.undefine(this.#collection(plural).type)
    this.closeWatches('end', plural)
  }

  /** Creates or replaces an object, status and all; its key is in its metadata. */
  apply(plural: string, object: KubeObject): KubeObject {
    const collection = this.#collection(plural)
    const { namespace, name } = object.metadata
    if (!collection.objects.has(keyOf(namespace, name!))) return this.storage.create(collection, namespace, object)
    const { resourceVersion: _, ...metadata } = object.metadata
    const change = (old: KubeObject) => ({ ...old, ...object, metadata: { ...old.metadata, ...metadata } })
    return this.storage.update(collection, namespace, name!, '*', change)
  }

  remove(plural: string, namespace: string | undefined, name: string): void {
    this.storage.delete(this.#collection(plural), namespace, name)
  }

  get(plural: string, namespace: string | undefined, name: string): KubeObject | undefined {
    return this.#collection(plural).objects.get(keyOf(namespace, name))
  }

  /** @returns lifts the fault when disposed */
  fault(match: FaultMatch, fault: Fault): Disposable {
    return this.#faults.add(match, fault)
  }

  forbid(plural: string): void {
    this.#forbidden.add(plural)
  }

  allow(plural: string): void {
    this.#forbidden.delete(plural)
  }

  compact(): void {
    this.storage.compact()
  }

  expireContinues(): void {
    this.lists.expireContinues()
  }

  closeWatches(how: 'end' | 'reset' | 'error', plural?: string): void {
    for (const watch of [...this.#watches]) if (plural === undefined || watch.resource === plural) watch.close(how)
  }

  /** Requests of one kind that were seen. */
  seen(verb: Verb, plural: string): SeenRequest[] {
    return this.requests.filter((request) => request.verb === verb && request.resource === plural)
  }

  /** From now on the server shows a certificate of this CA to new connections. */
  async useAuthority(authority: TestAuthority): Promise<void> {
    const files = await authority.issue('apiserver', 'DNS:localhost,IP:127.0.0.1')
    const tls = { cert: readFileSync(files.certFile), key: readFileSync(files.keyFile) }
    ;(this.#server as TlsServer).setSecureContext(tls)
    this.#server.closeIdleConnections()
  }

  /** Writes a pod's service-account folder. @returns the environment that a pod has beside it */
  async files(folder: string, token: string, namespace = 'kube-system'): Promise<Record<string, string>> {
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'token'), token)
    await writeFile(join(folder, 'namespace'), namespace)
    if (this.caFile !== '') await writeFile(join(folder, 'ca.crt'), readFileSync(this.caFile))
    return { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(this.port) }
  }

  /** The access that kubernetes/client.ts wants, without files. */
  access(token = 'token'): ClusterAccess {
    const tls = this.caFile === '' ? {} : { ca: readFileSync(this.caFile) }
    const credentials = { headers: { authorization: `Bearer ${token}` }, tls }
    return { server: new URL(this.url), namespace: 'testing', credentials: async () => credentials }
  }

  /** Text of a kubeconfig file with one context, `double`. */
  kubeconfig(token: string): string {
    const ca = this.caFile === '' ? {} : { 'certificate-authority': this.caFile }
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'double', cluster: { server: this.url, ...ca } }],
      users: [{ name: 'tester', user: { token } }],
      contexts: [{ name: 'double', context: { cluster: 'double', user: 'tester', namespace: 'testing' } }],
      'current-context': 'double',
    })
  }

  /** As a server that is down: connections are cut, and nobody listens. Objects can be changed meanwhile. */
  async suspend(): Promise<void> {
    this.#port = this.port
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  /** Ends suspend(): the same server, at the same port. */
  async resume(): Promise<void> {
    await this.#listen(this.#port)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.suspend()
    if (this.#authority !== undefined) await rm(this.#authority.folder, { recursive: true, force: true })
  }

  #listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject).listen(port, '127.0.0.1', () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
  }

  #collection(plural: string): Collection {
    for (const collection of this.storage.collections()) if (collection.type.plural === plural) return collection
    throw new Error(`The double has no resource "${plural}": define() it first`)
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {})
    const seen: SeenRequest[] = []
    try {
      const url = new URL(request.url ?? '/', 'http://double')
      if (['/healthz', '/livez', '/readyz'].includes(url.pathname)) return void response.end('ok')
      const target = targetOf(this.storage, url, request)
      if (target === undefined) return void response.writeHead(404).end('404 page not found\n')
      const { collection, name, query, verb } = target
      const { headers } = request
      seen.push({ verb, resource: collection.type.plural, name, query, headers, status: 0 })
      this.#note(seen[0]!)
      this.#authorize(request, target)
      const fault = this.#faults.take(verb, collection.type.plural)
      if (fault?.kind === 'hang') return
      if (fault?.kind === 'reset' && fault.afterMs === undefined) return void request.socket.resetAndDestroy()
      if (fault?.kind === 'status') return void answerStatus(response, fault)
      await this.#answer(target, request, response, fault)
    } catch (error) {
      refuse(response, error)
    } finally {
      if (seen[0] !== undefined) seen[0].status = response.headersSent ? response.statusCode : 0
    }
  }

  #note(seen: SeenRequest): void {
    this.requests.push(seen)
    if (this.requests.length > MAX_REQUESTS) this.requests.splice(0, MAX_REQUESTS / 10)
  }

  #authorize(request: IncomingMessage, target: Target): void {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
    if (this.tokens.size > 0 && !this.tokens.has(token)) throw new Refusal(401, 'Unauthorized', 'Unauthorized')
    const { plural, group } = target.collection.type
    if (!this.#forbidden.has(plural)) return
    const scope = target.namespace === undefined ? 'at the cluster scope' : `in the namespace "${target.namespace}"`
    const user = 'system:serviceaccount:kube-system:sluice'
    const text = `User "${user}" cannot ${target.verb} resource "${plural}" in API group "${group}" ${scope}`
    const details = { ...(group === '' ? {} : { group }), kind: plural }
    throw new Refusal(403, 'Forbidden', `${plural} is forbidden: ${text}`, details)
  }

  async #answer(
    target: Target,
    request: IncomingMessage,
    response: ServerResponse,
    fault: Fault | undefined,
  ): Promise<void> {
    if (target.verb === 'watch') return this.#watch(target, response, fault)
    const [code, text] =
      target.verb === 'list'
        ? [200, this.lists.list(target.collection, target.namespace, target.query, target.partial)]
        : await this.#change(target, request)
    response.writeHead(code, { 'content-type': 'application/json' })
    response.flushHeaders()
    const body = new FaultyBody(response, fault)
    body.write(fault?.kind === 'raw' ? fault.text : text)
    body.end()
  }

  #watch({ collection, namespace, query, partial }: Target, response: ServerResponse, fault: Fault | undefined): void {
    const watch = new Watch({
      lists: this.lists,
      storage: this.storage,
      collection,
      namespace,
      wants: selectorOf(query),
      query,
      partial,
      response,
      fault,
      bookmarkMs: this.#bookmarkMs,
      goneAs: this.goneAs,
    })
    this.#watches.add(watch)
    response.once('close', () => this.#watches.delete(watch))
    watch.start()
  }

  async #change(target: Target, request: IncomingMessage): Promise<[number, string]> {
    const { collection, namespace, name, subresource, verb } = target
    const { storage } = this
    if (verb === 'get') return [200, this.lists.text(storage.get(collection, namespace, name), target.partial)]
    const sent = await bodyOf(request)
    if (verb === 'delete') {
      const { preconditions } = (sent ?? {}) as { preconditions?: { uid?: string } }
      const gone = storage.delete(collection, namespace, name, preconditions?.uid)
      return [200, this.lists.text(gone, false)]
    }
    if (verb === 'create') return [201, this.lists.text(storage.create(collection, namespace, checked(sent)), false)]
    if (verb === 'patch') checkPatchType(request)
    const change = (old: KubeObject) =>
      verb === 'patch' ? (mergePatch(old, sentPatch(old, sent)) as KubeObject) : checked(sent)
    return [200, this.lists.text(storage.update(collection, namespace, name, subresource, change), false)]
  }
}
