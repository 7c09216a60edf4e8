import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { ChildServer } from './child-server.ts'
import { programPath } from './programs.ts'

/** etcd wants a host and a port in every URL; of a socket they are its name, found in the working folder. */
const CLIENTS = 'clients:1'
const PEERS = 'peers:1'
const READY_TIMEOUT_MS = 60_000

/** One etcd that listens on sockets of a folder alone and keeps its data there, without syncing it. */
export class Etcd implements AsyncDisposable {
  /** For --etcd-servers of a program that runs in the same folder. */
  readonly endpoint = `unix://${CLIENTS}`
  readonly #folder: string
  #server: ChildServer | undefined

  constructor(folder: string) {
    this.#folder = folder
  }

  async start(): Promise<void> {
    this.#server = new ChildServer({
      path: programPath('etcd'),
      args: [
        '--name=test',
        '--data-dir=etcd',
        '--unsafe-no-fsync',
        `--listen-client-urls=unix://${CLIENTS}`,
        `--advertise-client-urls=unix://${CLIENTS}`,
        `--listen-peer-urls=unix://${PEERS}`,
        `--initial-advertise-peer-urls=unix://${PEERS}`,
        `--initial-cluster=test=unix://${PEERS}`,
      ],
      cwd: this.#folder,
      logFile: join(this.#folder, 'etcd.log'),
    })
    await this.#server.ready(async () => {
      const health = await this.#request('GET', '/health').catch(() => '')
      return health.includes('"health":"true"')
    }, READY_TIMEOUT_MS)
  }

  /**
   * Forgets every revision before the present one: a list that goes on from an older one, or a watch, is answered with
   * 410 Gone.
   */
  async compact(): Promise<void> {
    const range = JSON.parse(await this.#request('POST', '/v3/kv/range', { key: 'AA==' })) as {
      header: { revision: string }
    }
    const answer = await this.#request('POST', '/v3/kv/compaction', { revision: range.header.revision, physical: true })
    if (!answer.includes('"header"')) throw new Error(`etcd does not compact: ${answer}`)
  }

  #request(method: string, path: string, body?: object): Promise<string> {
    return new Promise((resolve, reject) => {
      const socketPath = join(this.#folder, CLIENTS)
      const request = httpRequest({ socketPath, method, path, timeout: 10_000 }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.once('error', reject)
        response.once('end', () => resolve(text))
      })
      request.once('timeout', () => request.destroy(new Error('No answer of etcd in 10 s')))
      request.once('error', reject)
      request.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.stop('SIGKILL')
  }
}
