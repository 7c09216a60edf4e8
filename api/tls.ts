import { experimental, type ServerCredentials } from '@grpc/grpc-js'
import { CertificateFiles, MIN_TLS_VERSION, type TlsFiles } from '../base/certificate-files.ts'
import type { Logger } from '../base/logger.ts'

/** Derived: grpc-js exports the type of its argument only through this function. */
type CertificateProvider = Parameters<typeof experimental.createCertificateProviderServerCredentials>[0]
type IdentityListener = Parameters<CertificateProvider['addIdentityCertificateListener']>[0]
type CaListener = Parameters<CertificateProvider['addCaCertificateListener']>[0]

/** A server certificate that follows its files, as grpc-js takes it. */
export class ReloadingCertificate implements CertificateProvider, Disposable {
  readonly #files: CertificateFiles
  readonly #identityListeners = new Set<IdentityListener>()
  readonly #caListeners = new Set<CaListener>()

  /** @throws SluiceError SLUICE_TLS_FILE */
  constructor(files: TlsFiles, log: Logger) {
    this.#files = new CertificateFiles(files, log)
  }

  get reloads(): number {
    return this.#files.reloads
  }

  get failures(): number {
    return this.#files.failures
  }

  /** @throws SluiceError SLUICE_TLS_FILE when the files cannot be used: a server must not start without */
  async start(): Promise<ServerCredentials> {
    if (await this.#files.load()) this.#tellAll()
    this.#files.watch(() => this.#tellAll())
    const { caFile, requireClientCert } = this.#files.files
    // grpc-js names these parameters the other way round: the first one is the server's own certificate.
    const made = experimental.createCertificateProviderServerCredentials(
      this,
      caFile === undefined ? null : this,
      requireClientCert ?? false,
    )
    return withMinVersion(made)
  }

  /** Looks at the files now. Never rejects: what is wrong is logged and counted. */
  async reload(): Promise<void> {
    await this.#files.reload(() => this.#tellAll())
  }

  #tellAll(): void {
    for (const listener of this.#caListeners) this.#tellCa(listener)
    for (const listener of this.#identityListeners) this.#tellIdentity(listener)
  }

  #tellIdentity(listener: IdentityListener): void {
    const { current } = this.#files
    if (current === undefined || !this.#identityListeners.has(listener)) return
    listener({ certificate: current.cert, privateKey: current.key })
  }

  #tellCa(listener: CaListener): void {
    const ca = this.#files.current?.ca
    if (ca === undefined || !this.#caListeners.has(listener)) return
    listener({ caCertificate: ca })
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
    this.#files[Symbol.dispose]()
  }
}

/** grpc-js has no setting for the version of TLS: it is added to the options that it makes of each certificate. */
function withMinVersion(made: ServerCredentials): ServerCredentials {
  const inner = made as unknown as { calculateSecureContextOptions(): object | null }
  const original = inner.calculateSecureContextOptions.bind(made)
  inner.calculateSecureContextOptions = () => {
    const options = original()
    return options === null ? null : { ...options, minVersion: MIN_TLS_VERSION }
  }
  return made
}
