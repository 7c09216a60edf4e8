import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errorText, SluiceError } from '../base/errors.ts'
import { hostPortText, parseHostPort } from '../base/listen-address.ts'

/** One thing that must hold for the agent to be ready; `detail` says what is wrong when it does not. */
export interface Check {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
}

/**
 * `/healthz`: the process answers and its drain loop turns. `/readyz`: everything configured works. Both answer 200 or
 * 503 with one line per check.
 */
export class HealthServer implements AsyncDisposable {
  readonly #server: Server
  readonly #listen: string
  readonly #live: () => Check[]
  readonly #ready: () => Check[]

  constructor(options: { listen: string; live: () => Check[]; ready: () => Check[] }) {
    this.#listen = options.listen
    this.#live = options.live
    this.#ready = options.ready
    this.#server = createServer({ requestTimeout: 5000, headersTimeout: 5000 }, (request, response) => {
      const path = request.url?.split('?')[0]
      const checks = path === '/healthz' ? asked(this.#live) : path === '/readyz' ? asked(this.#ready) : undefined
      const ok = checks?.every((check) => check.ok) ?? false
      response.writeHead(checks === undefined ? 404 : ok ? 200 : 503, { 'content-type': 'text/plain; charset=utf-8' })
      response.end(checks === undefined ? 'not found\n' : checks.map(line).join(''))
    })
    this.#server.maxConnections = 64
  }

  /** @throws SluiceError SLUICE_API_LISTEN */
  async start(): Promise<void> {
    const { host, port } = parseHostPort(this.#listen)!
    await new Promise<void>((resolve, reject) => {
      // Stays: a failed accept (file descriptors used up) is the connection's trouble and must not end the process.
      this.#server.on('error', (error) => {
        reject(
          new SluiceError(
            'SLUICE_API_LISTEN',
            `Cannot listen on "${this.#listen}" (health.listen): ${errorText(error)}`,
            { cause: error },
          ),
        )
      })
      this.#server.listen(port, host === '' ? undefined : host, () => resolve())
    })
  }

  get address(): string {
    const address = this.#server.address() as AddressInfo | null
    if (!address) return this.#listen
    return hostPortText({ host: address.address, port: address.port })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

/** A part that fails while it is asked is not well; it must not end the process. */
function asked(checks: () => Check[]): Check[] {
  try {
    return checks()
  } catch (error) {
    return [{ name: 'checks', ok: false, detail: errorText(error) }]
  }
}

function line(check: Check): string {
  return `${check.ok ? 'ok  ' : 'FAIL'} ${check.name}${check.detail === '' ? '' : `: ${check.detail}`}\n`
}
