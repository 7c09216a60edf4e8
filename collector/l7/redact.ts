import { SluiceError } from '../../base/errors.ts'
import type { HttpHeader } from '../../model/l7.ts'

/** What stands for a value that is not shown; Hubble's word. */
export const REDACTED = 'HUBBLE_REDACTED'

/** Headers whose values let the reader act as the sender. */
const CREDENTIALS: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'x-api-key',
  'x-auth-token',
])

/** Hubble's redaction settings (`hubble-redact-*`), and one of our own. */
export interface RedactOptions {
  /** Master switch for `urlQuery` and the header lists; false by default, as in Hubble. */
  readonly enabled?: boolean
  /** Cuts query and fragment off URLs. */
  readonly urlQuery?: boolean
  /** Replaces the password in `user:password@host`; true by default, and in force also when `enabled` is false. */
  readonly userInfo?: boolean
  /** These headers are shown, all others redacted. Excludes `headersDeny`. */
  readonly headersAllow?: readonly string[]
  /** These headers are redacted, all others shown. */
  readonly headersDeny?: readonly string[]
  /**
   * Values of authorization, cookie and API key headers are redacted whatever else is set, unless `headersAllow`
   * names them; true by default: the kernel captures heads that nobody asked to be logged.
   */
  readonly credentials?: boolean
}

/**
 * Takes secrets out of HTTP heads at the place where they are parsed, so that metrics, log and API all see the same
 * redacted text. With `enabled` and both lists empty every header value is redacted, as in Hubble.
 */
export class Redactor {
  readonly #urlQuery: boolean
  readonly #userInfo: boolean
  readonly #credentials: boolean
  readonly #enabled: boolean
  readonly #allow: ReadonlySet<string>
  readonly #deny: ReadonlySet<string>

  /** Throws SLUICE_CONFIG_INVALID when both header lists are given. */
  constructor(options: RedactOptions = {}) {
    this.#enabled = options.enabled ?? false
    this.#urlQuery = this.#enabled && (options.urlQuery ?? false)
    this.#userInfo = options.userInfo ?? true
    this.#credentials = options.credentials ?? true
    this.#allow = lowerCase(options.headersAllow)
    this.#deny = lowerCase(options.headersDeny)
    if (this.#allow.size > 0 && this.#deny.size > 0) {
      throw new SluiceError(
        'SLUICE_CONFIG_INVALID',
        'Cannot redact headers: "headersAllow" and "headersDeny" are both given, want at most one of them',
      )
    }
  }

  url(url: string): string {
    let text = url
    if (this.#urlQuery) {
      const cut = text.search(/[?#]/)
      if (cut >= 0) text = text.slice(0, cut)
    }
    return this.#userInfo && text.includes('@') ? withoutPassword(text) : text
  }

  /** @param key in any case @returns the value to show */
  header(key: string, value: string): string {
    return this.#hides(key.toLowerCase()) ? REDACTED : value
  }

  headers(headers: readonly HttpHeader[]): HttpHeader[] {
    return headers.map(({ key, value }) => ({ key, value: this.header(key, value) }))
  }

  #hides(key: string): boolean {
    if (this.#allow.has(key)) return false
    if (this.#credentials && CREDENTIALS.has(key)) return true
    if (!this.#enabled) return false
    return this.#deny.size === 0 || this.#deny.has(key)
  }
}

/** Replaces the password in the authority, the part between `//` and the next `/`, `?` or `#`. */
function withoutPassword(url: string): string {
  const scheme = url.indexOf('//')
  if (scheme < 0) return url
  const from = scheme + 2
  const rest = url.slice(from).search(/[/?#]/)
  const to = rest < 0 ? url.length : from + rest
  const at = url.lastIndexOf('@', to - 1)
  const colon = url.indexOf(':', from)
  if (at < from || colon < 0 || colon > at) return url
  return `${url.slice(0, colon)}:${REDACTED}${url.slice(at)}`
}

function lowerCase(names: readonly string[] = []): ReadonlySet<string> {
  return new Set(names.map((name) => name.toLowerCase()))
}
