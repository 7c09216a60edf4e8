import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { experimental, type ServerCredentials } from '@grpc/grpc-js'
import { errorText, SluiceError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'

/** Certificate files of one listener; PEM. */
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

/** Files are compared this often: kubelet renews them by swapping a symbolic link, which no watch sees reliably. */
const RELOAD_INTERVAL_MS = 5000

interface Pems {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca: Buffer | undefined
}

/** Derived: grpc-js exports the type of its argument only through this function. */
type CertificateProvider = Parameters<typeof experimental.createCertificateProviderServerCredentials>[0]
type IdentityListener = Parameters<CertificateProvider['addIdentityCertificateListener']>[0]
type CaListener = Parameters<CertificateProvider['addCaCertificateListener']>[0]

/**
 * A server certificate that follows its files. A new one is used for new connections as soon as certificate and key
 * belong together; until then, and while files are missing or broken, the last good one stays in use.
 */
export class ReloadingCertificate implements CertificateProvider, Disposable {
  readonly #files: TlsFiles
  readonly #log: Logger
  readonly #identityListeners = new Set<IdentityListener>()
  readonly #caListeners = new Set<CaListener>()
  #current: Pems | undefined
  #timer: NodeJS.Timeout | undefined
  #lastFailure = ''
  reloads = 0
  failures = 0

  constructor(files: TlsFiles, log: Logger) {
    this.#files = files
    this.#log = log
  }

  /** @throws SluiceError SLUICE_TLS_FILE when the files cannot be used: a server must not start without */
  async start(intervalMs = this.#files.reloadIntervalMs ?? RELOAD_INTERVAL_MS): Promise<ServerCredentials> {
    if (this.#files.requireClientCert && this.#files.caFile === undefined) {
      throw new SluiceError(
        'SLUICE_TLS_FILE',
        'Cannot require client certificates: no file of CA certificates is given',
      )
    }
    this.#apply(await this.#read())
    this.#timer = setInterval(() => void this.reload(), intervalMs).unref()
    // grpc-js names these parameters the other way round: the first one is the server's own certificate.
    return experimental.createCertificateProviderServerCredentials(
      this,
      this.#files.caFile === undefined ? null : this,
      this.#files.requireClientCert ?? false,
    )
  }

  /** Looks at the files now. Never rejects: what is wrong is logged and counted. */
  async reload(): Promise<void> {
    try {
      const pems = await this.#read()
      if (this.#current !== undefined && isSame(pems, this.#current)) return
      this.#apply(pems)
      this.reloads++
      this.#lastFailure = ''
      this.#log.info({ certFile: this.#files.certFile, notAfter: notAfter(pems.cert) }, 'server certificate reloaded')
    } catch (error) {
      this.failures++
      const text = errorText(error)
      if (text !== this.#lastFailure)
        this.#log.warn({ error: text }, 'server certificate not reloaded, the last one stays in use')
      this.#lastFailure = text
    }
  }

  async #read(): Promise<Pems> {
    const { certFile, keyFile, caFile } = this.#files
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

  #apply(pems: Pems): void {
    this.#current = pems
    for (const listener of this.#caListeners) this.#tellCa(listener)
    for (const listener of this.#identityListeners) this.#tellIdentity(listener)
  }

  #tellIdentity(listener: IdentityListener): void {
    if (this.#current === undefined || !this.#identityListeners.has(listener)) return
    listener({ certificate: this.#current.cert, privateKey: this.#current.key })
  }

  #tellCa(listener: CaListener): void {
    if (this.#current?.ca === undefined || !this.#caListeners.has(listener)) return
    listener({ caCertificate: this.#current.ca })
  }

  /** grpc-js adds its listener before it listens to itself: told at once, it would not hear. */
  #tellLater(tell: () => void): void {
    queueMicrotask(tell)
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.add(listener)
    this.#tellLater(() => this.#tellIdentity(listener))
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.delete(listener)
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#caListeners.add(listener)
    this.#tellLater(() => this.#tellCa(listener))
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#caListeners.delete(listener)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

/** @throws SluiceError SLUICE_TLS_FILE */
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
  return (
    a.cert.equals(b.cert) &&
    a.key.equals(b.key) &&
    (a.ca === undefined ? b.ca === undefined : b.ca !== undefined && a.ca.equals(b.ca))
  )
}

function notAfter(cert: Buffer): string {
  return new X509Certificate(cert).validTo
}
