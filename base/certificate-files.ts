import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { errorText, SluiceError } from './errors.ts'
import type { Logger } from './logger.ts'

/** PEM files of a TLS server. */
export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
  /** Certificates that sign clients' certificates; given: clients may show one. */
  readonly caFile?: string | undefined
  /** Refuse clients without a certificate that `caFile` signed (mTLS). Needs `caFile`. */
  readonly requireClientCert?: boolean | undefined
  /** How often the files are looked at, milliseconds; 5,000 unless given. */
  readonly reloadIntervalMs?: number | undefined
}

/** What the files hold; certificate and key belong together. */
export interface Pems {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca: Buffer | undefined
}

/** Older versions are served to nobody. */
export const MIN_TLS_VERSION = 'TLSv1.3'

/** Files are compared this often: kubelet renews them by swapping a symbolic link, which no watch sees reliably. */
const RELOAD_INTERVAL_MS = 5000

/**
 * Certificates of a server that follow their files. New ones come into force as soon as certificate and key belong
 * together; until then, and while files are missing or broken, the last good ones stay.
 */
export class CertificateFiles implements Disposable {
  readonly files: TlsFiles
  /** Changes on disk that came into force. */
  reloads = 0
  /** Reads that failed. */
  failures = 0
  readonly #log: Logger
  #current: Pems | undefined
  #timer: NodeJS.Timeout | undefined
  #lastFailure = ''

  /** @throws SluiceError SLUICE_TLS_FILE when clients' certificates are required and nothing says whose */
  constructor(files: TlsFiles, log: Logger) {
    if (files.requireClientCert && files.caFile === undefined) {
      throw new SluiceError(
        'SLUICE_TLS_FILE',
        'Cannot require client certificates: no file of CA certificates is given',
      )
    }
    this.files = files
    this.#log = log
  }

  /** What is in force; undefined until the files could be read once. */
  get current(): Pems | undefined {
    return this.#current
  }

  /**
   * Reads the files now.
   *
   * @returns true when they differ from those in force, which they replace
   * @throws SluiceError SLUICE_TLS_FILE when they cannot be read or do not belong together
   */
  async load(): Promise<boolean> {
    const pems = await readPems(this.files)
    if (this.#current !== undefined && isSame(pems, this.#current)) return false
    this.#current = pems
    return true
  }

  /** Reads the files now. Never rejects: what is wrong is logged once per kind of trouble, and counted. */
  async reload(onChange: (pems: Pems) => void): Promise<void> {
    try {
      if (!(await this.load())) return
      this.reloads++
      this.#lastFailure = ''
      const { cert } = this.#current!
      this.#log.info(
        { certFile: this.files.certFile, notAfter: new X509Certificate(cert).validTo },
        'certificate reloaded',
      )
      onChange(this.#current!)
    } catch (error) {
      this.failures++
      const text = errorText(error)
      if (text !== this.#lastFailure)
        this.#log.warn({ error: text }, 'certificate not reloaded, the last one stays in use')
      this.#lastFailure = text
    }
  }

  /** Looks for changes until disposed. */
  watch(onChange: (pems: Pems) => void): void {
    clearInterval(this.#timer)
    const interval = this.files.reloadIntervalMs ?? RELOAD_INTERVAL_MS
    this.#timer = setInterval(() => void this.reload(onChange), interval).unref()
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

async function readPems({ certFile, keyFile, caFile }: TlsFiles): Promise<Pems> {
  const [cert, key, ca] = await Promise.all([
    readPem('certificate', certFile),
    readPem('key', keyFile),
    caFile === undefined ? undefined : readPem('CA', caFile),
  ])
  try {
    createSecureContext({ cert, key, ...(ca === undefined ? {} : { ca }) })
  } catch (cause) {
    const text = `Cannot use certificate "${certFile}" with key "${keyFile}": ${errorText(cause)}`
    throw new SluiceError('SLUICE_TLS_FILE', text, { cause })
  }
  return { cert, key, ca }
}

/** @param what names the file's role in messages @throws SluiceError SLUICE_TLS_FILE */
export async function readPem(what: string, file: string): Promise<Buffer> {
  try {
    const bytes = await readFile(file)
    if (!bytes.includes('-----BEGIN')) throw new Error('no PEM block inside')
    return bytes
  } catch (cause) {
    throw new SluiceError('SLUICE_TLS_FILE', `Cannot read ${what} file "${file}": ${errorText(cause)}`, { cause })
  }
}

function isSame(a: Pems, b: Pems): boolean {
  const isSameCa = a.ca === undefined ? b.ca === undefined : b.ca !== undefined && a.ca.equals(b.ca)
  return a.cert.equals(b.cert) && a.key.equals(b.key) && isSameCa
}
