import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'

/** An answer of an API server. */
export interface Answer {
  readonly status: number
  readonly text: string
  /** The text as JSON; undefined where it is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every kind
  readonly body: any
}

export interface CallOptions {
  /** Sent as JSON. */
  readonly body?: unknown
  /** Of the body; `application/json` unless given. */
  readonly contentType?: string
  readonly accept?: string
  /** In place of the caller's own. */
  readonly token?: string
}

const TIMEOUT_MS = 60_000

/** Plain requests to an API server: what tests need beside the client that they test. */
export class Caller implements Disposable {
  readonly url: string
  readonly #token: string
  readonly #agent: HttpAgent | HttpsAgent

  /** @param ca PEM; undefined for http */
  constructor(url: string, token: string, ca: Buffer | undefined) {
    this.url = url
    this.#token = token
    const options = { keepAlive: true, maxSockets: 32 }
    this.#agent = ca === undefined ? new HttpAgent(options) : new HttpsAgent({ ...options, ca })
  }

  /** Rejects when no answer comes; any status is an answer. */
  async call(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const response = await this.#send(method, path, options)
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += chunk
    return { status: response.statusCode ?? 0, text, body: parsed(text) }
  }

  /** As call(), for what has to succeed. @returns the body */
  async ok(method: string, path: string, options: CallOptions = {}): Promise<Answer['body']> {
    const { status, text, body } = await this.call(method, path, options)
    if (status < 200 || status > 299) throw new Error(`${method} ${path}: ${status} ${text}`)
    return body
  }

  /** Lines of a watch until it ends or there are so many; an answer that is no watch is one line. */
  async watch(path: string, count: number, options: CallOptions = {}): Promise<Answer[]> {
    const response = await this.#send('GET', path, options)
    const status = response.statusCode ?? 0
    const lines: string[] = []
    let rest = ''
    for await (const chunk of response.setEncoding('utf8')) {
      const parts = (rest + chunk).split('\n')
      rest = parts.pop() ?? ''
      lines.push(...parts)
      if (lines.length >= count) break
    }
    if (rest !== '') lines.push(rest)
    response.destroy()
    return lines.map((text) => ({ status, text, body: parsed(text) }))
  }

  #send(method: string, path: string, options: CallOptions): Promise<IncomingMessage> {
    const body = options.body === undefined ? undefined : JSON.stringify(options.body)
    const send = this.url.startsWith('https:') ? httpsRequest : httpRequest
    return new Promise((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${options.token ?? this.#token}`,
        accept: options.accept ?? 'application/json',
        ...(body === undefined ? {} : { 'content-type': options.contentType ?? 'application/json' }),
        // Of a DELETE Node would send the body without saying how long it is.
        ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
      }
      const request = send(this.url + path, { method, agent: this.#agent, timeout: TIMEOUT_MS, headers }, resolve)
      request.once('timeout', () => request.destroy(new Error(`No answer to ${method} ${path} in ${TIMEOUT_MS} ms`)))
      request.once('error', reject)
      request.end(body)
    })
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
