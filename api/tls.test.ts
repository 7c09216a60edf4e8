import { copyFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { TlsFiles } from '../base/certificate-files.ts'
import type { Logger } from '../base/logger.ts'
import { collect, gauge, startApi, until } from '../test/helpers/api-server.ts'
import { TestAuthority, type TestCertificate } from '../test/helpers/certificates.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { type ClientOptions, ObserverClient } from './client.ts'
import { ReloadingCertificate } from './tls.ts'

const NAME = 'node-1.default.hubble-grpc.cilium.io'
let ca: TestAuthority
let server: TestCertificate
let client: TestCertificate

beforeAll(async () => {
  ca = await TestAuthority.create()
  server = await ca.issue('server', `DNS:${NAME}`)
  client = await ca.issue('client', 'DNS:client')
})
afterAll(() => ca[Symbol.asyncDispose]())

function someFlows(): TestFlowStore {
  const store = new TestFlowStore(8)
  store.push({}, {})
  return store
}

function startTls(tls: TlsFiles) {
  const store = someFlows()
  return startApi(store, { api: { listen: [{ kind: 'tcp', host: '127.0.0.1', port: 0, tls }] } })
}

/** Flows that a client with these settings gets. */
async function flowsOf(address: string, options: Omit<ClientOptions, 'server'>): Promise<number> {
  using client = await ObserverClient.create({ server: address, ...options })
  return (await collect(client.getFlows({}))).length
}

/** Serial number of the certificate that a new connection is shown. */
function shownSerial(address: string): Promise<string> {
  const port = Number(address.split(':').at(-1))
  return new Promise((resolve, reject) => {
    const socket = tlsConnect(
      { port, host: '127.0.0.1', servername: '', rejectUnauthorized: false, ALPNProtocols: ['h2'] },
      () => {
        resolve(`${socket.getPeerCertificate().serialNumber} ${socket.alpnProtocol}`)
        socket.destroy()
      },
    )
    socket.once('error', reject)
  })
}

describe('ApiServer with TLS', () => {
  test('serves clients that trust its CA and know its name', async () => {
    const { address } = await startTls(server)
    expect(address).toMatch(/^tls:\/\/127\.0\.0\.1:\d+$/)
    expect(await flowsOf(address, { tlsCaCertFiles: [ca.certFile], tlsServerName: NAME })).toBe(2)
    expect(await flowsOf(address, { tlsAllowInsecure: true })).toBe(2)
    expect(await flowsOf(address.slice(6), { tls: true, tlsAllowInsecure: true })).toBe(2)
    expect(await shownSerial(address)).toMatch(/ h2$/)
  })

  test('is reached by its address without a name that TLS does not allow', async () => {
    const own = await ca.issue('address', 'IP:127.0.0.1')
    const { address } = await startTls(own)
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))
    expect(await flowsOf(address, { tlsCaCertFiles: [ca.certFile] })).toBe(2)
    expect(warnings).toEqual([])
  })

  test.each([
    ['a CA that it does not know', {}, /--tls-ca-cert-files/],
    ['a certificate of another name', { tlsServerName: 'other.example', trust: true }, /--tls-server-name/],
  ])(
    'is refused by a client that meets %s, and the remedy is named',
    async (_name, { trust, ...options }: { trust?: boolean; tlsServerName?: string }, remedy) => {
      const { address } = await startTls(server)
      const files = trust ? { tlsCaCertFiles: [ca.certFile] } : {}
      await expect(flowsOf(address, { ...options, ...files })).rejects.toMatchObject({
        code: 'SLUICE_RPC',
        remedy: expect.stringMatching(remedy),
      })
    },
  )

  test('names the remedy when one side speaks TLS and the other does not', async () => {
    const { address } = await startTls(server)
    await expect(flowsOf(address.slice(6), {})).rejects.toMatchObject({ remedy: expect.stringMatching(/--tls/) })
    const plain = await startApi(someFlows())
    await expect(flowsOf(`tls://${plain.address}`, { tlsAllowInsecure: true })).rejects.toMatchObject({
      remedy: expect.stringMatching(/leave out --tls/),
    })
  })

  test('tells nodes and relays the name in its certificate', async () => {
    const { address } = await startTls(server)
    using client = await ObserverClient.create({ server: address, tlsAllowInsecure: true })
    const { nodes } = await client.getNodes()
    expect(nodes[0]?.tls).toEqual({ enabled: true, server_name: NAME })
  })
})

test('ApiServer speaks TLS 1.3 and nothing older', async () => {
  const { address } = await startTls(server)
  const handshake = (maxVersion: 'TLSv1.2' | 'TLSv1.3') =>
    new Promise<string | null>((resolve, reject) => {
      const [host, port] = address.replace('tls://', '').split(':')
      const options = { host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['h2'], maxVersion }
      const socket = tlsConnect(options, () => {
        resolve(socket.getProtocol())
        socket.destroy()
      })
      socket.once('error', reject)
    })
  expect(await handshake('TLSv1.3')).toBe('TLSv1.3')
  await expect(handshake('TLSv1.2')).rejects.toThrow(/protocol version/)
})

describe('ApiServer with mTLS', () => {
  const mutual = (): TlsFiles => ({ ...server, caFile: ca.certFile, requireClientCert: true })

  test('serves clients with a certificate of the CA, and no others', async () => {
    const { address } = await startTls(mutual())
    const own = { tlsAllowInsecure: true, tlsClientCertFile: client.certFile, tlsClientKeyFile: client.keyFile }
    expect(await flowsOf(address, own)).toBe(2)
    await expect(flowsOf(address, { tlsAllowInsecure: true })).rejects.toMatchObject({ code: 'SLUICE_RPC' })
    await using stranger = await TestAuthority.create()
    const other = await stranger.issue('client', 'DNS:client')
    const foreign = { tlsAllowInsecure: true, tlsClientCertFile: other.certFile, tlsClientKeyFile: other.keyFile }
    await expect(flowsOf(address, foreign)).rejects.toMatchObject({ code: 'SLUICE_RPC' })
  })

  test('without a CA file is a mistake that is named', () => {
    const files = { ...server, requireClientCert: true }
    expect(() => new ReloadingCertificate(files, silent())).toThrow(/no file of CA certificates is given/)
  })
})

describe('ReloadingCertificate', () => {
  test.each([
    ['missing', 'nowhere.crt', /Cannot read certificate file .*nowhere\.crt.*ENOENT/],
    ['no PEM', 'junk.crt', /no PEM block/],
    ['of another key', 'client.crt', /Cannot use certificate .*client\.crt.* with key .*server\.key/],
  ])('start() rejects when the certificate is %s', async (_name, file, text) => {
    await writeFile(join(ca.folder, 'junk.crt'), 'junk')
    const files = { certFile: join(ca.folder, file), keyFile: server.keyFile }
    await expect(new ReloadingCertificate(files, silent()).start()).rejects.toMatchObject({
      code: 'SLUICE_TLS_FILE',
      message: expect.stringMatching(text),
    })
  })

  test('shows a new certificate to new connections, and keeps the last good one while the files are broken', async () => {
    const at = { certFile: join(ca.folder, 'live.crt'), keyFile: join(ca.folder, 'live.key'), reloadIntervalMs: 60_000 }
    const install = async ({ certFile, keyFile }: TestCertificate) => {
      await copyFile(certFile, at.certFile)
      await copyFile(keyFile, at.keyFile)
    }
    await install(server)
    const log = silent()
    const certificate = new ReloadingCertificate(at, log)
    onTestFinished(() => certificate[Symbol.dispose]())
    const told: string[] = []
    certificate.addIdentityCertificateListener((update) => told.push(update?.certificate.toString() ?? ''))
    await certificate.start()
    await certificate.reload()
    expect([told.length, certificate.reloads]).toEqual([1, 0])
    // Certificate and key are two files: for a moment they do not belong together.
    await copyFile(client.certFile, at.certFile)
    await certificate.reload()
    await certificate.reload()
    expect([told.length, certificate.failures, log.lines]).toEqual([1, 2, 1])
    await install(client)
    await certificate.reload()
    expect([told.length, certificate.reloads]).toEqual([2, 1])
    expect(told[1]).not.toBe(told[0])
  })

  test('changes the certificate of a running server without cutting a stream', async () => {
    const at = { certFile: join(ca.folder, 'run.crt'), keyFile: join(ca.folder, 'run.key'), reloadIntervalMs: 20 }
    await copyFile(server.certFile, at.certFile)
    await copyFile(server.keyFile, at.keyFile)
    const store = someFlows()
    const { address, server: api } = await startApi(store, {
      api: { listen: [{ kind: 'tcp', host: '127.0.0.1', port: 0, tls: at }] },
      client: { tlsAllowInsecure: true },
    })
    using follower = await ObserverClient.create({ server: address, tlsAllowInsecure: true })
    const abort = new AbortController()
    let seen = 0
    const ended = (async () => {
      for await (const _ of follower.getFlows({ follow: true }, { signal: abort.signal })) seen++
    })()
    await until('the stream is open', () => gauge(api, 'sluice_api_streams') === 1)
    const before = await shownSerial(address)
    const next = await ca.issue('next', `DNS:${NAME}`)
    await copyFile(next.certFile, at.certFile)
    await copyFile(next.keyFile, at.keyFile)
    await until('the certificate is reloaded', () => gauge(api, 'sluice_api_tls_reloads_total') === 1)
    expect(await shownSerial(address)).not.toBe(before)
    store.push({})
    await until('the stream goes on', () => seen === 1)
    abort.abort()
    await ended
  })
})

/** A logger that counts its warnings. */
function silent(): Logger & { lines: number } {
  const logger = { lines: 0, debug() {}, info() {}, warn: () => void logger.lines++, error() {}, child: () => logger }
  return logger
}
