import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { errorText, SluiceError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/logger.ts'

/** PEM files of a TLS server. With `clientCaFiles`, clients must show a certificate that one of them signed. */
export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
  readonly clientCaFiles?: readonly string[] | undefined
}

/** How old a replaced certificate may get before the new one is served; reading three small files costs nothing. */
export const RELOAD_INTERVAL_MS = 5_000

/**
 * The server's certificates, read from disk again and again so that a renewed one is served without a restart.
 * Files that cannot be used (half written, not belonging together) leave the last good ones in force.
 */
export class Certificates implements Disposable {
  /** Reloads that brought new files into force. */
  reloads = 0
  /** Reads that failed; the last good certificates stayed. */
  failures = 0
  readonly #files: TlsFiles
  readonly #logger: Logger
  readonly #intervalMs: number
  #current: SecureContextOptions | undefined
  #fingerprint = ''
  #lastError = ''
  #timer: NodeJS.Timeout | undefined

  constructor(files: TlsFiles, logger: Logger, intervalMs = RELOAD_INTERVAL_MS) {
    this.#files = files
    this.#logger = logger
    this.#intervalMs = intervalMs
  }

  /** Options for a TLS server; undefined until the files could be read once. */
  get options(): SecureContextOptions | undefined {
    return this.#current
  }

  get requiresClient(): boolean {
    return (this.#files.clientCaFiles ?? []).length > 0
  }

  /**
   * Reads the files now.
   *
   * @returns true when they differ from those in force
   * @throws SluiceError SLUICE_TLS_FILE when they cannot be read or do not belong together
   */
  async load(): Promise<boolean> {
    const { certFile, keyFile, clientCaFiles = [] } = this.#files
    const [cert, key, ...ca] = await Promise.all([certFile, keyFile, ...clientCaFiles].map(readPem))
    const fingerprint = [cert, key, ...ca].join('\0')
    if (fingerprint === this.#fingerprint) return false
    const options: SecureContextOptions = { cert, key, minVersion: 'TLSv1.3', ...(ca.length > 0 ? { ca } : {}) }
    try {
      createSecureContext(options)
    } catch (error) {
      throw new SluiceError(
        'SLUICE_TLS_FILE',
        `Cannot use certificate "${certFile}" with key "${keyFile}": ${errorText(error)}`,
        { cause: error },
      )
    }
    this.#current = options
    this.#fingerprint = fingerprint
    return true
  }

  /** Looks for new files until disposed. @param onChange called with options that differ from the last */
  watch(onChange: (options: SecureContextOptions) => void): void {
    this.#timer = setInterval(() => void this.#reload(onChange), this.#intervalMs)
    this.#timer.unref()
  }

  async #reload(onChange: (options: SecureContextOptions) => void): Promise<void> {
    try {
      if (!(await this.load())) return
      this.#lastError = ''
      this.reloads++
      this.#logger.info({ certFile: this.#files.certFile }, 'Serving a new certificate')
      if (this.#timer !== undefined && this.#current !== undefined) onChange(this.#current)
    } catch (error) {
      this.failures++
      const text = errorText(error)
      // Said once per state of the files, not at every look.
      if (text !== this.#lastError) this.#logger.warn({ error: text }, 'Cannot read new certificates, keeping the old')
      this.#lastError = text
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new SluiceError('SLUICE_TLS_FILE', `Cannot read TLS file "${path}": ${errorText(error)}`, { cause: error })
  }
}
