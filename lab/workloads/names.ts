import { Resolver } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import type { WorkloadConfig } from './roles.ts'

/** What every kind of work gets. */
export interface WorkContext {
  readonly config: WorkloadConfig
  readonly names: Names
  report(what: string, error: unknown): void
}

/** Answers are kept for as long as the lab's DNS server says: 5 s. */
const CACHE_MS = 5000
const CACHE_MAX = 256

/** Looks names up as a pod does: through the search list of its namespace, with real queries to the lab's server. */
export class Names {
  readonly #resolver: Resolver | undefined
  readonly #search: readonly string[]
  readonly #cache = new Map<string, { readonly until: number; readonly answer: Promise<string[]> }>()

  constructor(config: WorkloadConfig) {
    if (config.dnsServer !== '') {
      this.#resolver = new Resolver({ timeout: 1000, tries: 2 })
      this.#resolver.setServers([config.dnsServer])
    }
    this.#search =
      config.namespace === '' ? [] : [`${config.namespace}.svc.cluster.local`, 'svc.cluster.local', 'cluster.local']
  }

  /** Addresses of a name; an address is its own. Empty when there are none. */
  resolve(name: string, family: 4 | 6): Promise<string[]> {
    if (isIP(name) !== 0) return Promise.resolve([name])
    const key = `${family} ${name}`
    const now = Date.now()
    const cached = this.#cache.get(key)
    if (cached && cached.until > now) return cached.answer
    if (this.#cache.size >= CACHE_MAX) this.#cache.clear()
    const answer = this.#search_(name, family)
    this.#cache.set(key, { until: now + CACHE_MS, answer })
    return answer
  }

  /** Asks for both families, past the cache. */
  async ask(name: string): Promise<void> {
    await Promise.all([this.#search_(name, 4), this.#search_(name, 6)])
  }

  /** For node:net and node:http. */
  readonly lookup: LookupFunction = (name, options, callback) => {
    const family = options.family === 6 || options.family === 'IPv6' ? 6 : 4
    this.resolve(name, family).then((ips) => {
      if (ips.length === 0) {
        callback(Object.assign(new Error(`${name} has no address`), { code: 'ENOTFOUND' }), '', family)
      } else if (options.all) {
        callback(
          null,
          ips.map((address) => ({ address, family })),
        )
      } else callback(null, ips[0]!, family)
    })
  }

  /** As with `ndots:5`: a short name is tried with each suffix before it is tried as it is. */
  async #search_(name: string, family: 4 | 6): Promise<string[]> {
    const dots = name.split('.').length - 1
    const suffixed = this.#search.map((suffix) => `${name}.${suffix}`)
    const candidates = name.endsWith('.') ? [name.slice(0, -1)] : dots >= 5 ? [name, ...suffixed] : [...suffixed, name]
    for (const candidate of candidates) {
      const ips = await this.#query(candidate, family)
      if (ips.length > 0) return ips
    }
    return []
  }

  async #query(name: string, family: 4 | 6): Promise<string[]> {
    if (!this.#resolver) return []
    try {
      return family === 4 ? await this.#resolver.resolve4(name) : await this.#resolver.resolve6(name)
    } catch {
      return []
    }
  }
}
