import type { Agent, RequestOptions } from 'node:https'
import { KubeConfig } from '@kubernetes/client-node'
import { errorText, SluiceError } from '../base/errors.ts'
import type { ClusterAccess, Credentials, TlsMaterial } from './access.ts'

/** Tokens of plugins live for minutes at least, and a plugin is a process. */
const MAX_AGE_MS = 30_000

interface KubeconfigOptions {
  readonly context?: string | undefined
  readonly namespace?: string | undefined
  readonly now?: (() => number) | undefined
}

/**
 * Access by a kubeconfig file, with all its ways to log in: certificates, tokens, token files, OIDC, plugins. The file
 * is read once; what it points to is read again as it changes.
 *
 * @throws SluiceError SLUICE_KUBERNETES_CONFIG naming the file and what is wrong with it
 */
export function kubeconfigAccess(path: string, options: KubeconfigOptions = {}): ClusterAccess {
  const config = load(path)
  if (options.context !== undefined) {
    const known = config.getContexts().map(({ name }) => name)
    if (!known.includes(options.context)) {
      throw refused(`Cannot use context "${options.context}" of "${path}": want one of ${known.join(', ') || 'none'}`)
    }
    config.setCurrentContext(options.context)
  }
  const context = config.getContextObject(config.getCurrentContext())
  const cluster = config.getCurrentCluster()
  if (context === null || cluster === null || !URL.canParse(cluster.server)) {
    throw refused(`Cannot use "${path}": context "${config.getCurrentContext()}" names no cluster with an address`)
  }
  const namespace = options.namespace ?? context.namespace ?? 'default'
  return new KubeconfigAccess(config, new URL(cluster.server), namespace, options.now ?? (() => performance.now()))
}

function load(path: string): KubeConfig {
  const config = new KubeConfig()
  try {
    config.loadFromFile(path)
  } catch (cause) {
    throw refused(`Cannot read kubeconfig file "${path}": ${errorText(cause)}`, cause)
  }
  // Addresses without TLS are refused by that client, unless TLS is not to be verified.
  const clusters = config.clusters.map((one) =>
    one.server.startsWith('http:') ? { ...one, skipTLSVerify: true } : one,
  )
  config.loadFromOptions({ ...config, clusters, currentContext: config.getCurrentContext() })
  return config
}

class KubeconfigAccess implements ClusterAccess {
  readonly server: URL
  readonly namespace: string
  readonly #config: KubeConfig
  readonly #now: () => number
  #credentials: Credentials | undefined
  #readAt = 0

  constructor(config: KubeConfig, server: URL, namespace: string, now: () => number) {
    this.#config = config
    this.server = server
    this.namespace = namespace
    this.#now = now
  }

  async credentials(renew: boolean): Promise<Credentials> {
    const old = this.#credentials
    if (old !== undefined && !renew && this.#now() - this.#readAt < MAX_AGE_MS) return old
    const options: RequestOptions = { headers: {} }
    try {
      await this.#config.applyToHTTPSOptions(options)
    } catch (cause) {
      throw refused(`Cannot log in to ${this.server.origin}: ${errorText(cause)}`, cause)
    }
    this.#readAt = this.#now()
    const material = materialOf(options)
    const tls = old !== undefined && isSame(old.tls, material) ? old.tls : material
    const isProxied = (this.#config.getCurrentCluster()?.proxyUrl ?? '') !== ''
    const agent = isProxied ? (tls === old?.tls ? old.agent : (options.agent as Agent)) : undefined
    this.#credentials = { headers: headersOf(options), tls, agent }
    return this.#credentials
  }
}

function headersOf(options: RequestOptions): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    if (value !== undefined) headers[name.toLowerCase()] = String(value)
  }
  if (typeof options.auth === 'string') {
    headers['authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`
  }
  return headers
}

function materialOf({ ca, cert, key, servername, rejectUnauthorized }: RequestOptions): TlsMaterial {
  return { ca: ca as Buffer, cert: cert as Buffer, key: key as Buffer, servername, rejectUnauthorized }
}

function isSame(a: TlsMaterial, b: TlsMaterial): boolean {
  const same = (x: Buffer | undefined, y: Buffer | undefined) => x === y || (x !== undefined && y?.equals(x) === true)
  return same(a.ca, b.ca) && same(a.cert, b.cert) && same(a.key, b.key)
}

function refused(message: string, cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_KUBERNETES_CONFIG', message, { cause })
}
