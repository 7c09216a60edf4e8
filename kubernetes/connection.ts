import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { errorText } from '../base/errors.ts'
import type { ClusterAccess, Credentials, TlsMaterial } from './access.ts'
import { ApiError, statusError, transportError } from './api-error.ts'

/** Watches hold a connection each; so many are more than all of them and the requests beside. */
const MAX_SOCKETS = 64
const KEEP_ALIVE_MS = 30_000
/** Of an error's body as much is read. */
const MAX_ERROR_BYTES = 65_536

/** Certificates that an own CA does not vouch for: perhaps it has been replaced. */
const CA_TROUBLE = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_HAS_EXPIRED',
  'CERT_UNTRUSTED',
])

export interface ApiRequest {
  /** For errors: `list pods`. */
  readonly action: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** With its query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | undefined
  readonly signal?: AbortSignal | undefined
  /** The longest time until the answer begins. */
  readonly answerMs: number
  /** The longest time between two pieces of it. */
  readonly idleMs: number
}

/** An answer of 200 or 201 whose body is still to come. */
export interface ApiResponse {
  /** Pieces of the body. Throws ApiError timeout when none comes for `idleMs`, network when the connection breaks. */
  chunks(): AsyncGenerator<Buffer, void, void>
}

/** HTTP/1.1 to one API server: connections that are kept, credentials, time-outs, errors as values of one type. */
export class Connection implements Disposable {
  /** Times that credentials were read again because the server refused the last ones. */
  renewals = 0
  readonly #access: ClusterAccess
  readonly #userAgent: string
  #agent: HttpAgent | undefined
  #tls: TlsMaterial | undefined

  constructor(access: ClusterAccess, userAgent: string) {
    this.#access = access
    this.#userAgent = userAgent
  }

  /** @throws ApiError for every answer but 2xx, and for none */
  async send(request: ApiRequest): Promise<ApiResponse> {
    try {
      return await this.#sendOnce(request, await this.#credentials(request, false))
    } catch (error) {
      if (!isRefused(error)) throw error
      const fresh = await this.#credentials(request, true)
      this.renewals++
      return await this.#sendOnce(request, fresh)
    }
  }

  [Symbol.dispose](): void {
    this.#agent?.destroy()
    this.#agent = undefined
  }

  async #credentials({ action }: ApiRequest, renew: boolean): Promise<Credentials> {
    try {
      return await this.#access.credentials(renew)
    } catch (cause) {
      throw new ApiError('unauthorized', `Cannot ${action}: ${errorText(cause)}`, { cause })
    }
  }

  async #sendOnce(request: ApiRequest, credentials: Credentials): Promise<ApiResponse> {
    const response = await this.#exchange(request, credentials)
    const { statusCode = 0 } = response.message
    if (statusCode >= 200 && statusCode < 300) return { chunks: () => response.chunks() }
    let body = ''
    try {
      for await (const chunk of response.chunks()) {
        body += chunk.toString('utf8')
        if (body.length > MAX_ERROR_BYTES) break
      }
    } catch {
      // What came of it has to do.
    }
    throw statusError(request.action, statusCode, body, response.message.headers['retry-after'])
  }

  async #exchange(request: ApiRequest, credentials: Credentials): Promise<Exchange> {
    const exchange = new Exchange(request)
    try {
      await exchange.begin(this.#options(request, credentials))
    } catch (error) {
      // A kept connection may have been closed by the server just now; asking again harms nobody.
      if (!exchange.metStaleConnection || request.method !== 'GET') throw error
      const again = new Exchange(request)
      await again.begin(this.#options(request, credentials))
      return again
    }
    return exchange
  }

  #options(request: ApiRequest, credentials: Credentials): RequestOptions {
    const { server } = this.#access
    const base = server.pathname === '/' ? '' : server.pathname.replace(/\/$/, '')
    return {
      protocol: server.protocol,
      hostname: server.hostname.replace(/^\[|\]$/g, ''),
      port: server.port || (server.protocol === 'https:' ? 443 : 80),
      method: request.method,
      path: base + request.path,
      agent: this.#agentFor(credentials),
      headers: {
        accept: 'application/json',
        'user-agent': this.#userAgent,
        ...(request.body === undefined ? {} : { 'content-length': String(Buffer.byteLength(request.body)) }),
        ...request.headers,
        ...credentials.headers,
      },
    }
  }

  /** Requests under way keep the agent that they began with. */
  #agentFor({ tls, agent }: Credentials): HttpAgent {
    if (this.#agent !== undefined && this.#tls === tls) return this.#agent
    const old = this.#agent
    const settings = { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS, maxSockets: MAX_SOCKETS, maxFreeSockets: 2 }
    const isTls = this.#access.server.protocol === 'https:'
    this.#agent = agent ?? (isTls ? new HttpsAgent({ ...settings, ...tlsOptions(tls) }) : new HttpAgent(settings))
    this.#tls = tls
    for (const socket of Object.values(old?.freeSockets ?? {}).flat()) socket?.destroy()
    return this.#agent
  }
}

function tlsOptions({ ca, cert, key, servername, rejectUnauthorized }: TlsMaterial): object {
  const options = { ca, cert, key, servername, rejectUnauthorized }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

function isRefused(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false
  if (error.status === 401) return true
  return CA_TROUBLE.has((error.cause as NodeJS.ErrnoException | undefined)?.code ?? '')
}

/** One request and its answer. */
class Exchange {
  message!: IncomingMessage
  /** The connection was a kept one, and broke before anything came. */
  metStaleConnection = false
  readonly #request: ApiRequest
  #destroy: (error: Error) => void = () => {}
  #timer: NodeJS.Timeout | undefined
  /** Which wait is under way. */
  #turn = 0
  readonly #onAbort = (): void => this.#destroy(this.#stopped())

  constructor(request: ApiRequest) {
    this.#request = request
  }

  /** Resolves when the answer has begun. @throws ApiError */
  async begin(options: RequestOptions): Promise<void> {
    const { signal, body, action, answerMs } = this.#request
    if (signal?.aborted) throw this.#stopped()
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#await(answerMs)
    try {
      this.message = await new Promise<IncomingMessage>((resolve, reject) => {
        const request = (options.protocol === 'https:' ? httpsRequest : httpRequest)(options, resolve)
        this.#destroy = (error) => request.destroy(error)
        request.on('error', (error: NodeJS.ErrnoException) => {
          this.metStaleConnection = request.reusedSocket && error.code === 'ECONNRESET'
          reject(error)
        })
        request.end(body)
      })
    } catch (error) {
      this.#settle()
      throw transportError(action, error)
    }
    this.#heard()
    this.#destroy = (error) => this.message.destroy(error)
  }

  async *chunks(): AsyncGenerator<Buffer, void, void> {
    const pieces = this.message[Symbol.asyncIterator]() as AsyncIterator<Buffer>
    try {
      for (;;) {
        // Time counts only while the server is waited for: the caller may take its own.
        this.#await(this.#request.idleMs)
        const { value, done } = await pieces.next()
        this.#heard()
        if (done === true) break
        yield value
      }
      // A body that is cut off inside of HTTP ends without an error where the server closes in good order.
      if (!this.message.complete) throw new Error('the connection was closed inside of the answer')
    } catch (error) {
      throw transportError(this.#request.action, error)
    } finally {
      this.#settle()
      this.message.destroy()
    }
  }

  #settle(): void {
    this.#heard()
    this.#request.signal?.removeEventListener('abort', this.#onAbort)
  }

  /** Silence of so long ends it, unless #heard() is called before. */
  #await(ms: number): void {
    const text = `Cannot ${this.#request.action}: the API server sent nothing for ${ms / 1000} s`
    const turn = ++this.#turn
    const end = (): void => {
      if (turn === this.#turn) this.#destroy(new ApiError('timeout', text))
    }
    clearTimeout(this.#timer)
    // Sockets are read before it ends: after a pause of this process or machine the answer may be there already.
    this.#timer = setTimeout(() => setImmediate(end), ms)
  }

  #heard(): void {
    this.#turn++
    clearTimeout(this.#timer)
  }

  #stopped(): ApiError {
    return new ApiError('stopped', `Cannot ${this.#request.action}: stopped`)
  }
}
