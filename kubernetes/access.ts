import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Agent } from 'node:http'
import { join } from 'node:path'
import { errorText, SluiceError } from '../base/errors.ts'
import { type Logger, silentLogger } from '../base/logger.ts'

/** What TLS needs to know; an agent makes new connections when the object is another one. */
export interface TlsMaterial {
  readonly ca?: Buffer | undefined
  readonly cert?: Buffer | undefined
  readonly key?: Buffer | undefined
  readonly servername?: string | undefined
  readonly rejectUnauthorized?: boolean | undefined
}

/** What a request brings with it. */
export interface Credentials {
  readonly headers: Readonly<Record<string, string>>
  readonly tls: TlsMaterial
  /** A way through a proxy; undefined: straight. Made once for each `tls`. */
  readonly agent?: Agent | undefined
}

/** How to reach an API server, and as whom. */
export interface ClusterAccess {
  readonly server: URL
  /** The namespace that is one's own. */
  readonly namespace: string
  /**
   * Credentials of now. @param renew the server refused the last ones: read everything again
   * @throws SluiceError SLUICE_KUBERNETES_CONFIG when there are none
   */
  credentials(renew: boolean): Promise<Credentials>
}

/** Where kubelet puts a pod's token, CA and namespace. */
export const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount'

/** Kubelet renews a token long before it ends, but files are cheap to read: a request looks again after so long. */
const TOKEN_AGE_MS = 10_000
const CA_AGE_MS = 60_000

export interface AccessOptions {
  readonly env?: NodeJS.ProcessEnv
  /** Instead of SERVICE_ACCOUNT_FOLDER. */
  readonly serviceAccountFolder?: string
  readonly log?: Logger
  readonly now?: () => number
}

export interface ClusterOptions extends AccessOptions {
  /** A kubeconfig file; unless given, the pod's own service account is used. */
  readonly kubeconfig?: string | undefined
  /** A context of the file; its current one unless given. */
  readonly context?: string | undefined
  /** Overrides the pod's or the context's. */
  readonly namespace?: string | undefined
}

/** Whether this process runs in a pod of a cluster. */
export function isInCluster(env: NodeJS.ProcessEnv = process.env): boolean {
  return (env['KUBERNETES_SERVICE_HOST'] ?? '') !== ''
}

/**
 * Access by kubeconfig where one is named, else by the pod's service account.
 *
 * @throws SluiceError SLUICE_KUBERNETES_CONFIG
 */
export async function clusterAccess(options: ClusterOptions = {}): Promise<ClusterAccess> {
  if (options.kubeconfig === undefined) return inClusterAccess(options)
  // Kubernetes' own client knows every way to log in, and takes 90 MB: only for who has a kubeconfig.
  const { kubeconfigAccess } = await import('./kubeconfig.ts')
  return kubeconfigAccess(options.kubeconfig, options)
}

/**
 * Access of a pod: address from the environment; token, CA and namespace from files, which are followed.
 *
 * @throws SluiceError SLUICE_KUBERNETES_CONFIG outside of a pod, or without a token
 */
export async function inClusterAccess(options: ClusterOptions = {}): Promise<ClusterAccess> {
  const env = options.env ?? process.env
  const folder = options.serviceAccountFolder ?? SERVICE_ACCOUNT_FOLDER
  const host = env['KUBERNETES_SERVICE_HOST'] ?? ''
  const port = env['KUBERNETES_SERVICE_PORT'] || '443'
  if (host === '') {
    throw refused('Cannot reach the Kubernetes API: KUBERNETES_SERVICE_HOST is not set, so this is no pod of a cluster')
  }
  const text = `https://${host.includes(':') ? `[${host}]` : host}:${port}`
  if (!URL.canParse(text)) throw refused(`Cannot reach the Kubernetes API: "${host}:${port}" is no address`)
  const access = new PodAccess(new URL(text), folder, options)
  await access.load()
  return access
}

class PodAccess implements ClusterAccess {
  readonly server: URL
  namespace: string
  readonly #token: FollowedFile
  readonly #ca: FollowedFile
  readonly #namespaceFile: string
  #credentials: Credentials | undefined

  constructor(server: URL, folder: string, options: ClusterOptions) {
    const { log = silentLogger, now = () => performance.now() } = options
    this.server = server
    this.namespace = options.namespace ?? ''
    this.#namespaceFile = join(folder, 'namespace')
    this.#token = new FollowedFile('token', join(folder, 'token'), TOKEN_AGE_MS, log, now)
    // Without a CA file the system's certificates serve, as for any client.
    this.#ca = new FollowedFile('CA', join(folder, 'ca.crt'), CA_AGE_MS, log, now)
  }

  async load(): Promise<void> {
    await this.credentials(false)
    if (this.namespace !== '') return
    try {
      this.namespace = (await readFile(this.#namespaceFile, 'utf8')).trim()
    } catch (cause) {
      throw refused(`Cannot read namespace file "${this.#namespaceFile}": ${errorText(cause)}`, cause)
    }
  }

  async credentials(renew: boolean): Promise<Credentials> {
    const [token, ca] = await Promise.all([this.#token.read(renew), this.#ca.read(renew)])
    const text = token?.toString('utf8').trim() ?? ''
    if (text === '')
      throw refused(`Cannot log in to the Kubernetes API: token file "${this.#token.path}" is missing or empty`)
    const old = this.#credentials
    const authorization = `Bearer ${text}`
    if (old?.headers['authorization'] === authorization && old.tls.ca === ca) return old
    const tls = old !== undefined && old.tls.ca === ca ? old.tls : { ca }
    this.#credentials = { headers: { authorization }, tls }
    return this.#credentials
  }
}

/** A small file that is replaced from time to time. What was read last serves while it cannot be read. */
class FollowedFile {
  readonly path: string
  readonly #what: string
  readonly #maxAgeMs: number
  readonly #log: Logger
  readonly #now: () => number
  #bytes: Buffer | undefined
  #readAt = Number.NEGATIVE_INFINITY

  constructor(what: string, path: string, maxAgeMs: number, log: Logger, now: () => number) {
    this.path = path
    this.#what = what
    this.#maxAgeMs = maxAgeMs
    this.#log = log
    this.#now = now
  }

  /** The same buffer as long as it holds the same. @throws SluiceError when it never could be read and is there */
  async read(fresh: boolean): Promise<Buffer | undefined> {
    if (!fresh && this.#now() - this.#readAt < this.#maxAgeMs) return this.#bytes
    this.#readAt = this.#now()
    try {
      const bytes = await readFile(this.path)
      if (this.#bytes?.equals(bytes)) return this.#bytes
      if (this.#bytes !== undefined) this.#log.info({ path: this.path }, `${this.#what} file has changed`)
      this.#bytes = bytes
    } catch (cause) {
      if (this.#bytes === undefined && existsSync(this.path)) {
        throw refused(`Cannot read ${this.#what} file "${this.path}": ${errorText(cause)}`, cause)
      }
      this.#log.debug({ path: this.path, err: errorText(cause) }, `${this.#what} file cannot be read`)
    }
    return this.#bytes
  }
}

function refused(message: string, cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_KUBERNETES_CONFIG', message, { cause })
}
