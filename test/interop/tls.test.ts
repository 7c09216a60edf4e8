import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { ApiServer } from '../../api/server.ts'
import type { TlsFiles } from '../../base/certificate-files.ts'
import { gauge, until } from '../helpers/api-server.ts'
import { TestAuthority, type TestCertificate } from '../helpers/certificates.ts'
import { build, Hubble, missing } from './hubble-cli.ts'
import { scenario } from './scenario.ts'

const NAME = 'instance.hubble-relay.cilium.io'

describe.skipIf(missing)(`the hubble command line by TLS${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let binary: string
  let ca: TestAuthority
  let server: TestCertificate
  let client: TestCertificate

  beforeAll(async () => {
    binary = build('hubble-1.19')
    ca = await TestAuthority.create()
    server = await ca.issue('server', `DNS:${NAME}`)
    client = await ca.issue('client', 'DNS:client')
  })
  afterAll(() => ca?.[Symbol.asyncDispose]())

  async function start(tls: TlsFiles): Promise<ApiServer> {
    const listen = [{ kind: 'tcp', host: '127.0.0.1', port: 0, tls }] as const
    const api = new ApiServer({ store: scenario(), version: '0.1.0' }, { listen })
    onTestFinished(() => api.stop(100))
    await api.start()
    return api
  }

  const trust = () => ['--tls-ca-cert-files', ca.certFile, '--tls-server-name', NAME]
  const own = () => ['--tls-client-cert-file', client.certFile, '--tls-client-key-file', client.keyFile]

  test('trusts the CA, and is refused without it and without TLS', async () => {
    const api = await start(server)
    const address = api.addresses[0]!
    const trusting = new Hubble(binary, ['--server', address, ...trust()])
    expect((await trusting.lines('observe', '--all')).length).toBe(12)
    expect((await trusting.lines('list', 'nodes', '-o', 'wide'))[1]).toMatch(/Enabled/)
    const insecure = new Hubble(binary, ['--server', address.slice(6), '--tls', '--tls-allow-insecure'])
    expect((await insecure.lines('status'))[0]).toContain('Ok')
    for (const flags of [
      ['--server', address],
      ['--server', address.slice(6)],
    ]) {
      expect((await new Hubble(binary, flags).run('observe')).code).toBe(1)
    }
  })

  test('needs a certificate of the CA where the server asks for one', async () => {
    const api = await start({ ...server, caFile: ca.certFile, requireClientCert: true })
    const flags = ['--server', api.addresses[0]!, ...trust()]
    expect((await new Hubble(binary, [...flags, ...own()]).lines('observe', '--last', '2')).length).toBe(2)
    expect((await new Hubble(binary, flags).run('observe', '--last', '2')).code).toBe(1)
  })

  test('sends its password only by TLS, and is not refused for it', async () => {
    const api = await start(server)
    const flags = [
      '--server',
      api.addresses[0]!,
      ...trust(),
      '--basic-auth-username',
      'me',
      '--basic-auth-password',
      'x',
    ]
    expect((await new Hubble(binary, flags).lines('observe', '--last', '2')).length).toBe(2)
  })

  test('goes on following while the certificate changes', async () => {
    const at = { certFile: join(ca.folder, 'live.crt'), keyFile: join(ca.folder, 'live.key'), reloadIntervalMs: 20 }
    await copyFile(server.certFile, at.certFile)
    await copyFile(server.keyFile, at.keyFile)
    const api = await start(at)
    const hubble = new Hubble(binary, ['--server', api.addresses[0]!, ...trust()])
    const run = hubble.start('observe', '--follow', '--last', '1')
    onTestFinished(() => void run.stop())
    await until('the history is printed', () => run.lines.length === 1)
    const next = await ca.issue('next', `DNS:${NAME}`)
    await copyFile(next.certFile, at.certFile)
    await copyFile(next.keyFile, at.keyFile)
    await until('the certificate is reloaded', () => gauge(api, 'sluice_api_tls_reloads_total') === 1)
    expect((await hubble.lines('observe', '--last', '1')).length).toBe(1)
    expect(await run.stop()).toBe(0)
  })
})
