import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface TestCertificate {
  readonly certFile: string
  readonly keyFile: string
}

/** A certificate authority in a folder of its own, made with the openssl command; for tests of TLS. */
export class TestAuthority implements AsyncDisposable {
  readonly folder: string
  readonly certFile: string
  readonly #keyFile: string

  private constructor(folder: string) {
    this.folder = folder
    this.certFile = join(folder, 'ca.crt')
    this.#keyFile = join(folder, 'ca.key')
  }

  static async create(): Promise<TestAuthority> {
    const authority = new TestAuthority(await mkdtemp(join(tmpdir(), 'sluice-ca-')))
    const subject = ['-subj', '/CN=Test CA', '-days', '2']
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    const out = ['-keyout', authority.#keyFile, '-out', authority.certFile]
    await run('openssl', ['req', '-x509', ...key, ...subject, ...out])
    return authority
  }

  /** @param name of the files @param hosts subject alternative names, `DNS:localhost,IP:127.0.0.1` */
  async issue(name: string, hosts: string): Promise<TestCertificate> {
    const at = (suffix: string): string => join(this.folder, `${name}.${suffix}`)
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    await run('openssl', ['req', ...key, '-subj', `/CN=${name}`, '-keyout', at('key'), '-out', at('csr')])
    await writeFile(at('ext'), `subjectAltName=${hosts}\n`)
    const ca = ['-CA', this.certFile, '-CAkey', this.#keyFile, '-CAcreateserial']
    await run('openssl', [
      'x509',
      '-req',
      '-in',
      at('csr'),
      ...ca,
      '-days',
      '2',
      '-extfile',
      at('ext'),
      '-out',
      at('crt'),
    ])
    return { certFile: at('crt'), keyFile: at('key') }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }
}
