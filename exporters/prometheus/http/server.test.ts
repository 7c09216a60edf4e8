import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { get as httpsGet, type RequestOptions } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { gunzipSync } from 'node:zlib'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { silentLogger } from '../../../base/logger.ts'
import { TestAuthority } from '../../../test/helpers/certificates.ts'
import { PART_BYTES, PartPool, ScrapeText } from '../render.ts'
import { MAX_CONNECTIONS, MetricsServer, type MetricsServerOptions } from './server.ts'

const LOOPBACK = { host: '127.0.0.1', port: 0 }

async function serve(options: Partial<MetricsServerOptions> = {}) {
  const pool = new PartPool()
  const answers: number[] = []
  const texts: ScrapeText[] = []
  const server = new MetricsServer({
    address: LOOPBACK,
    logger: silentLogger,
    render: async (format) => {
      const text = new ScrapeText(pool)
      text.appendText(`format ${format}\n`)
      texts.push(text)
      return text
    },
    onAnswer: (code) => answers.push(code),
    ...options,
  })
  const stop = new AbortController()
  onTestFinished(async () => {
    stop.abort()
    await server[Symbol.asyncDispose]()
  })
  await server.start(stop.signal)
  return { server, pool, answers, url: () => server.url! }
}

const big = (pool: PartPool, bytes: number) => {
  const text = new ScrapeText(pool)
  const line = Buffer.from(`${'x'.repeat(1023)}\n`)
  for (let written = 0; written < bytes; written += line.length) text.append(line)
  return text
}

describe('MetricsServer', () => {
  test('answers GET with a length and HEAD with headers alone', async () => {
    const { url } = await serve()
    const got = await fetch(url())
    expect(await got.text()).toBe('format text\n')
    expect([got.status, got.headers.get('content-type'), got.headers.get('vary')]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
      'Accept, Accept-Encoding',
    ])
    const head = await fetch(url(), { method: 'HEAD' })
    expect([head.status, head.headers.get('content-type'), await head.text()]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
      '',
    ])
  })

  test('answers in OpenMetrics where it is asked for, unless that is switched off', async () => {
    const headers = { accept: 'application/openmetrics-text;version=1.0.0' }
    const on = await fetch((await serve()).url(), { headers })
    expect(await on.text()).toBe('format openmetrics\n')
    expect(on.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
    const off = await fetch((await serve({ openMetrics: false })).url(), { headers })
    expect(await off.text()).toBe('format text\n')
  })

  test('compresses where it is asked for', async () => {
    const pool = new PartPool()
    const { url } = await serve({ render: async () => big(pool, 3 * PART_BYTES) })
    const { hostname, port } = new URL(url())
    const raw = await new Promise<Buffer>((resolve) => {
      const socket = connect(Number(port), hostname)
      const pieces: Buffer[] = []
      socket.on('data', (piece) => pieces.push(piece)).on('end', () => resolve(Buffer.concat(pieces)))
      socket.write('GET /metrics HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n')
    })
    const end = raw.indexOf('\r\n\r\n')
    expect(raw.subarray(0, end).toString()).toMatch(/Content-Encoding: gzip/i)
    expect(gunzipSync(raw.subarray(end + 4)).length).toBe(3 * PART_BYTES)
  })

  test.each([
    ['GET', '/', 404],
    ['GET', '/metrics/', 404],
    ['POST', '/metrics', 405],
    ['DELETE', '/metrics', 405],
    ['GET', '/metrics?x=1', 200],
  ])('%s %s is %i', async (method, path, code) => {
    const { url, answers } = await serve()
    const got = await fetch(new URL(path, url()), { method })
    expect(got.status).toBe(code)
    if (code === 405) expect(got.headers.get('allow')).toBe('GET, HEAD')
    await vi.waitFor(() => expect(answers).toEqual([code]))
  })

  test('refuses scrapes above the limit and serves again afterwards', async () => {
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const pool = new PartPool()
    const { url, server } = await serve({
      maxScrapes: 2,
      render: async () => {
        await gate
        return big(pool, 10)
      },
    })
    const first = [fetch(url()), fetch(url())]
    await sleep(100)
    const third = await fetch(url())
    expect([third.status, third.headers.get('retry-after'), server.refused]).toEqual([503, '1', 1])
    release()
    for (const response of await Promise.all(first)) expect((await response.text()).length).toBe(1024)
    expect((await fetch(url())).status).toBe(200)
  })

  test('cuts a scraper that does not read, and gives its memory back', async () => {
    const pool = new PartPool()
    const { url, server } = await serve({ timeoutMs: 300, render: async () => big(pool, 32 * PART_BYTES) })
    const { hostname, port } = new URL(url())
    const socket = connect(Number(port), hostname)
    onTestFinished(() => void socket.destroy())
    socket.on('error', () => {})
    socket.pause()
    socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n')
    await vi.waitFor(() => expect(server.cut).toBe(1), 3000)
    expect(pool.freeParts).toBe(32)
  })

  test('closes connections beyond its limit, counts them, and serves those that are open', async () => {
    const { url, server } = await serve()
    const { hostname, port } = new URL(url())
    const sockets = Array.from({ length: MAX_CONNECTIONS + 3 }, () => connect(Number(port), hostname))
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
    })
    for (const socket of sockets) socket.on('error', () => {})
    await vi.waitFor(() => expect(server.dropped).toBe(3), 3000)
    for (const socket of sockets) socket.destroy()
    await vi.waitFor(async () => expect((await fetch(url())).status).toBe(200), 3000)
  })

  test('answers 500 when rendering fails, and goes on', async () => {
    const { url } = await serve({ render: () => Promise.reject(new Error('broken')) })
    expect((await fetch(url())).status).toBe(500)
    expect((await fetch(url())).status).toBe(500)
  })

  test('rejects with the address when it cannot listen', async () => {
    const { url } = await serve()
    const port = Number(new URL(url()).port)
    await expect(serve({ address: { host: '127.0.0.1', port } })).rejects.toMatchObject({
      code: 'SLUICE_EXPORTER_START',
      message: expect.stringContaining(`Cannot serve metrics on "127.0.0.1:${port}"`),
    })
  })
})

const HOSTS = 'DNS:localhost,IP:127.0.0.1'

/** An authority whose folder is removed after the test. */
async function authorityOf(): Promise<TestAuthority> {
  const authority = await TestAuthority.create()
  onTestFinished(() => authority[Symbol.asyncDispose]())
  return authority
}

/** One TLS request. @returns status, and the server certificate's common name */
function tlsGet(url: string, options: RequestOptions): Promise<{ status: number; name: string; protocol: string }> {
  return new Promise((resolve, reject) => {
    httpsGet(url, { agent: false, ...options }, (response) => {
      response.resume()
      const socket = response.socket as TLSSocket
      const name = socket.getPeerCertificate().subject.CN
      resolve({ status: response.statusCode ?? 0, name: String(name), protocol: socket.getProtocol() ?? '' })
    }).on('error', reject)
  })
}

describe('MetricsServer with TLS', () => {
  test('serves TLS 1.3 and nothing older', async () => {
    const authority = await authorityOf()
    const { url } = await serve({ tls: await authority.issue('server', HOSTS) })
    const ca = readFileSync(authority.certFile)
    expect(await tlsGet(url(), { ca })).toEqual({ status: 200, name: 'server', protocol: 'TLSv1.3' })
    await expect(tlsGet(url(), { ca, maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version/)
  })

  test('wants a client certificate of its authority when told to', async () => {
    const authority = await authorityOf()
    const stranger = await authorityOf()
    const { url } = await serve({
      tls: { ...(await authority.issue('server', HOSTS)), caFile: authority.certFile, requireClientCert: true },
    })
    const ca = readFileSync(authority.certFile)
    const as = (files: { certFile: string; keyFile: string }) => ({
      ca,
      cert: readFileSync(files.certFile),
      key: readFileSync(files.keyFile),
    })
    expect((await tlsGet(url(), as(await authority.issue('client', HOSTS)))).status).toBe(200)
    await expect(tlsGet(url(), { ca })).rejects.toThrow()
    await expect(tlsGet(url(), as(await stranger.issue('client', HOSTS)))).rejects.toThrow()
  })

  test('serves a renewed certificate without a restart, and keeps the old one while files do not fit', async () => {
    const authority = await authorityOf()
    const first = await authority.issue('first', HOSTS)
    const second = await authority.issue('second', HOSTS)
    const { url, server } = await serve({ tls: { ...first, reloadIntervalMs: 30 } })
    const ca = readFileSync(authority.certFile)
    copyFileSync(second.certFile, first.certFile)
    await vi.waitFor(() => expect(server.certificates!.failures).toBeGreaterThan(0), 3000)
    expect((await tlsGet(url(), { ca })).name).toBe('first')
    renameSync(second.keyFile, first.keyFile)
    await vi.waitFor(() => expect(server.certificates!.reloads).toBe(1), 3000)
    expect((await tlsGet(url(), { ca })).name).toBe('second')
  })

  test('waits for files that are not there yet', async () => {
    const authority = await authorityOf()
    const later = await authority.issue('later', HOSTS)
    const keyFile = join(authority.folder, 'not-yet.key')
    const { server, url } = await serve({ tls: { certFile: later.certFile, keyFile } })
    expect([server.url, server.isWaiting]).toEqual([undefined, true])
    writeFileSync(keyFile, readFileSync(later.keyFile))
    await vi.waitFor(() => expect(server.url).toBeDefined(), 5000)
    expect(server.isWaiting).toBe(false)
    expect((await tlsGet(url(), { ca: readFileSync(authority.certFile) })).status).toBe(200)
  })
})
