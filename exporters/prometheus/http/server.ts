import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { SecureContextOptions } from 'node:tls'
import { createGzip } from 'node:zlib'
import { CertificateFiles, MIN_TLS_VERSION, type Pems, type TlsFiles } from '../../../base/certificate-files.ts'
import { errorText, SluiceError } from '../../../base/errors.ts'
import { type HostPort, hostPortText } from '../../../base/listen-address.ts'
import type { Logger } from '../../../base/logger.ts'
import type { ScrapeText } from '../render.ts'
import type { Format } from '../series/text.ts'
import { acceptsGzip, negotiateFormat } from './negotiate.ts'

export interface MetricsServerOptions {
  readonly address: HostPort
  readonly logger: Logger
  readonly tls?: TlsFiles | undefined
  /** Whether OpenMetrics is offered. Default true. */
  readonly openMetrics?: boolean
  /** Renders a scrape; the server releases what it gets. */
  readonly render: (format: Format) => Promise<ScrapeText>
  /** Told of every answer. */
  readonly onAnswer?: (code: number, seconds: number) => void
  /** Answers under way at a time; more get 503. Each may hold one scrape's text: 4 × 15 MB at 100,000 series. */
  readonly maxScrapes?: number
  /** From request to the last byte; after it the connection is cut. */
  readonly timeoutMs?: number
}

export const DEFAULT_MAX_SCRAPES = 4
/** Prometheus gives up after its scrape_timeout, 10 s by default. */
export const DEFAULT_TIMEOUT_MS = 30_000
/** Sockets open at a time, idle ones included. */
export const MAX_CONNECTIONS = 128
/** Level 1: label text repeats so much that 19 MB of 100,000 series become 0.7 MB. Compressed off the event loop. */
const GZIP = { level: 1, chunkSize: 65_536 } as const
/** How long to wait for certificates that are not there yet. */
const CERTIFICATE_RETRY_MS = 1_000

/** HTTP for one path, /metrics. */
export class MetricsServer implements AsyncDisposable {
  readonly #options: MetricsServerOptions
  #server: Server | TlsServer | undefined
  #certificates: CertificateFiles | undefined
  #active = 0
  #isDisposed = false
  /** Scrapes refused because maxScrapes were under way. */
  refused = 0
  /** Connections closed at once because too many were open. */
  dropped = 0
  /** Scrapes cut because the client did not take them in time, or went. */
  cut = 0

  constructor(options: MetricsServerOptions) {
    this.#options = options
  }

  /** Where it listens; undefined before. */
  get url(): string | undefined {
    const address = this.#server?.address() as AddressInfo | null | undefined
    if (address === null || address === undefined) return undefined
    const { host } = this.#options.address
    return `${this.#options.tls ? 'https' : 'http'}://${hostPortText({ host: host || '127.0.0.1', port: address.port })}/metrics`
  }

  /** Started, and not listening for want of a certificate. */
  get isWaiting(): boolean {
    return this.#certificates !== undefined && this.#server === undefined && !this.#isDisposed
  }

  get certificates(): CertificateFiles | undefined {
    return this.#certificates
  }

  /**
   * Listens. With TLS files that are not there yet it returns and listens when they come.
   *
   * @throws SluiceError SLUICE_EXPORTER_START when the address cannot be had
   */
  async start(signal: AbortSignal): Promise<void> {
    const { tls, logger } = this.#options
    if (tls === undefined) {
      await this.#listen(createServer({ maxHeaderSize: 16_384 }, this.#listener))
      return
    }
    this.#certificates = new CertificateFiles(tls, logger)
    try {
      await this.#certificates.load()
    } catch (error) {
      logger.warn({ error: errorText(error) }, 'Metrics wait for their certificate')
      void this.#waitForCertificate(this.#certificates, signal)
      return
    }
    await this.#listenTls(this.#certificates)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true
    this.#certificates?.[Symbol.dispose]()
    const server = this.#server
    this.#server = undefined
    if (server === undefined) return
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeAllConnections()
    await closed
  }

  async #waitForCertificate(certificates: CertificateFiles, signal: AbortSignal): Promise<void> {
    const isOver = () => signal.aborted || this.#isDisposed
    while (!isOver()) {
      await new Promise((resolve) => setTimeout(resolve, CERTIFICATE_RETRY_MS).unref())
      if (isOver()) return
      try {
        await certificates.load()
        if (isOver()) return
        await this.#listenTls(certificates)
        return
      } catch (error) {
        certificates.failures++
        this.#options.logger.debug({ error: errorText(error) }, 'Metrics still wait for their certificate')
      }
    }
  }

  async #listenTls(certificates: CertificateFiles): Promise<void> {
    const { caFile, requireClientCert } = certificates.files
    const server = createTlsServer(
      {
        ...contextOptions(certificates.current!),
        requestCert: caFile !== undefined,
        rejectUnauthorized: requireClientCert === true,
        handshakeTimeout: 10_000,
        maxHeaderSize: 16_384,
      },
      this.#listener,
    )
    await this.#listen(server)
    certificates.watch((pems) => server.setSecureContext(contextOptions(pems)))
  }

  async #listen(server: Server | TlsServer): Promise<void> {
    const { address, timeoutMs = DEFAULT_TIMEOUT_MS } = this.#options
    server.maxConnections = MAX_CONNECTIONS
    server.on('drop', () => {
      this.dropped++
    })
    server.headersTimeout = 10_000
    server.requestTimeout = timeoutMs
    server.keepAliveTimeout = 60_000
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => {
        const where = hostPortText(address)
        const text = `Cannot serve metrics on "${where}": ${errorText(error)}`
        reject(new SluiceError('SLUICE_EXPORTER_START', text, { cause: error }))
      })
      server.listen({ port: address.port, ...(address.host === '' ? {} : { host: address.host }) }, resolve)
    })
    server.on('error', (error) => this.#options.logger.warn({ error: errorText(error) }, 'Metrics server error'))
    this.#server = server
    this.#options.logger.info({ url: this.url }, 'Serving metrics')
  }

  readonly #listener: RequestListener = (request, response) => {
    const startedMs = performance.now()
    response.once('close', () => {
      this.#options.onAnswer?.(response.statusCode, (performance.now() - startedMs) / 1000)
    })
    this.#answer(request, response).catch((error: unknown) => {
      this.#options.logger.warn({ error: errorText(error) }, 'Scrape failed')
      if (response.headersSent) response.destroy()
      else plain(response, 500, 'Metrics could not be rendered\n')
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume()
    const path = (request.url ?? '').split('?', 1)[0]
    if (path !== '/metrics') return plain(response, 404, 'Metrics are at /metrics\n')
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD')
      return plain(response, 405, 'Use GET or HEAD\n')
    }
    if (this.#active >= (this.#options.maxScrapes ?? DEFAULT_MAX_SCRAPES)) {
      this.refused++
      response.setHeader('Retry-After', '1')
      return plain(response, 503, 'Too many scrapes at a time\n')
    }
    this.#active++
    try {
      await this.#scrape(request, response)
    } finally {
      this.#active--
    }
  }

  async #scrape(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { format, contentType } = negotiateFormat(
      this.#options.openMetrics === false ? undefined : request.headers.accept,
    )
    const text = await this.#options.render(format)
    const deadline = setTimeout(() => response.destroy(), this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS)
    try {
      response.setHeader('Content-Type', contentType)
      response.setHeader('Vary', 'Accept, Accept-Encoding')
      const gzip = acceptsGzip(request.headers['accept-encoding'])
      if (gzip) response.setHeader('Content-Encoding', 'gzip')
      else response.setHeader('Content-Length', text.length)
      if (request.method === 'HEAD') {
        response.end()
        return
      }
      const parts = Readable.from(text.parts(), { objectMode: false, highWaterMark: 1 })
      await (gzip ? pipeline(parts, createGzip(GZIP), response) : pipeline(parts, response))
    } catch (error) {
      // The client went, or was too slow: nothing to answer any more.
      this.cut++
      this.#options.logger.debug({ error: errorText(error) }, 'Scrape cut')
      response.destroy()
    } finally {
      clearTimeout(deadline)
      text.release()
    }
  }
}

function contextOptions({ cert, key, ca }: Pems): SecureContextOptions {
  return { cert, key, minVersion: MIN_TLS_VERSION, ...(ca === undefined ? {} : { ca }) }
}

function plain(response: ServerResponse, code: number, body: string): void {
  response.statusCode = code
  response.setHeader('Content-Type', 'text/plain; charset=utf-8')
  response.end(body)
}
