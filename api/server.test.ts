import { lstat, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { collect, gauge, startApi, until } from '../test/helpers/api-server.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { ObserverClient } from './client.ts'
import { listenSpec } from './listener.ts'
import { ApiServer } from './server.ts'

function someFlows(): TestFlowStore {
  const store = new TestFlowStore(64)
  store.push({}, {}, {})
  return store
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sluice-api-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

test.each(['', 'unix://', 'host:65536', '::1:4244'])('listenSpec() refuses "%s"', (text) => {
  expect(() => listenSpec(text)).toThrow(expect.objectContaining({ code: 'SLUICE_CONFIG_INVALID' }))
})

describe('ApiServer on a unix socket', () => {
  test('makes folder and socket with the permissions asked for, and removes the socket at stop', async () => {
    const path = join(await folder(), 'deep/er/hubble.sock')
    const { server, client } = await startApi(someFlows(), { api: { listen: [{ kind: 'unix', path, mode: 0o600 }] } })
    expect(server.addresses).toEqual([`unix://${path}`])
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await collect(client.getFlows({}))).length).toBe(3)
    expect(await client.health()).toBe('SERVING')
    await server.stop()
    await expect(lstat(path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('takes the place of a socket that nobody listens to any more', async () => {
    const path = join(await folder(), 'hubble.sock')
    await leaveStaleSocket(path)
    expect((await lstat(path)).isSocket()).toBe(true)
    const { client } = await startApi(someFlows(), { api: { listen: [{ kind: 'unix', path }] } })
    expect((await collect(client.getFlows({}))).length).toBe(3)
  })

  test('leaves a socket alone that another process listens to, and a file that is no socket', async () => {
    const path = join(await folder(), 'hubble.sock')
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(path, resolve))
    onTestFinished(() => void other.close())
    await expectRefused(path, /another process listens there/)
    const file = join(await folder(), 'precious')
    await writeFile(file, 'data')
    await expectRefused(file, /a file that is no socket is in the way/)
  })

  test('says which path cannot be made', async () => {
    const file = join(await folder(), 'file')
    await writeFile(file, '')
    await expectRefused(join(file, 'hubble.sock'), /ENOTDIR|EEXIST/)
  })
})

async function expectRefused(path: string, text: RegExp): Promise<void> {
  const server = new ApiServer({ store: someFlows(), version: '1' }, { listen: [{ kind: 'unix', path }] })
  await expect(server.start()).rejects.toMatchObject({
    code: 'SLUICE_API_LISTEN',
    message: expect.stringMatching(text),
  })
  expect((await lstat(path).catch(() => undefined))?.isDirectory() ?? false).toBe(false)
}

/** A socket's file whose process has died without removing it. */
async function leaveStaleSocket(path: string): Promise<void> {
  const { execFile } = await import('node:child_process')
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
  await new Promise((resolve) => execFile(process.execPath, ['-e', script], resolve))
}

describe('ApiServer', () => {
  test('opens no listener when one of them cannot be opened', async () => {
    const { address } = await startApi(someFlows())
    const path = join(await folder(), 'hubble.sock')
    const listen = [{ kind: 'unix', path } as const, listenSpec(address)]
    const server = new ApiServer({ store: someFlows(), version: '1' }, { listen })
    await expect(server.start()).rejects.toMatchObject({
      code: 'SLUICE_API_LISTEN',
      message: expect.stringContaining('EADDRINUSE'),
    })
    await until('the socket is gone', () => true)
    await expect(lstat(path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('refuses connections beyond the limit and counts them', async () => {
    const { server, client, address } = await startApi(someFlows(), { api: { maxConnections: 2 } })
    await client.serverStatus()
    const port = Number(address.split(':')[1])
    const idle = connect(port, '127.0.0.1')
    onTestFinished(() => void idle.destroy())
    await until('two connections are open', () => gauge(server, 'sluice_api_connections') === 2)
    const refused = connect(port, '127.0.0.1')
    refused.on('error', () => {})
    await new Promise((resolve) => refused.once('close', resolve))
    expect(gauge(server, 'sluice_api_connections_refused_total')).toBe(1)
    idle.destroy()
    await until('there is room again', () => gauge(server, 'sluice_api_connections') === 1)
    using second = await ObserverClient.create({ server: address })
    expect((await second.serverStatus()).num_flows).toBe(3n)
  })

  test('survives bytes that are no HTTP/2', async () => {
    const { client, address, server } = await startApi(someFlows())
    for (const junk of [
      'GET / HTTP/1.1\r\n\r\n',
      '\0'.repeat(1000),
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff',
    ]) {
      const socket = connect(Number(address.split(':')[1]), '127.0.0.1')
      socket.on('error', () => {})
      socket.end(Buffer.from(junk, 'latin1'))
      socket.resume()
      await new Promise((resolve) => socket.once('close', resolve))
    }
    expect((await client.serverStatus()).num_flows).toBe(3n)
    await until('the connections are forgotten', () => gauge(server, 'sluice_api_connections') === 1)
  })

  test('ends followers with UNAVAILABLE at stop, and does not wait for them', async () => {
    const { server, client } = await startApi(someFlows())
    const following = collect(client.getFlows({ follow: true }))
    await until('the stream is open', () => gauge(server, 'sluice_api_streams') === 1)
    const start = performance.now()
    const stopped = server.stop(5000)
    await expect(following).rejects.toThrow(/the agent is stopping/)
    await stopped
    expect(performance.now() - start).toBeLessThan(2000)
  })

  test('cuts off clients that do not read when the deadline of stop has passed', async () => {
    const store = new TestFlowStore(50_000)
    store.push(...Array.from({ length: 50_000 }, () => ({})))
    const { server, client } = await startApi(store)
    const iterator = client.getFlows({ follow: true, number: 50_000n })[Symbol.asyncIterator]()
    await iterator.next()
    const start = performance.now()
    await server.stop(100)
    expect(performance.now() - start).toBeLessThan(1000)
    await iterator.return?.()
  })

  test('answers health for every name that clients ask for, and knows no others', async () => {
    const { client } = await startApi(someFlows())
    for (const name of ['', 'hubble.server.Observer', 'observer.Observer'])
      expect(await client.health(name)).toBe('SERVING')
    await expect(client.health('nobody')).rejects.toThrow(/NOT_FOUND/)
  })

  test('counts calls by method and status', async () => {
    const { server, client } = await startApi(someFlows())
    await client.serverStatus()
    await collect(client.getFlows({}))
    await collect(client.getFlows({ first: true, follow: true })).catch(() => {})
    await expect(client.ledger()).rejects.toThrow(/does not offer this call/)
    const lines: string[] = []
    const add = (name: string, _help: string, value: number, labels?: Readonly<Record<string, string>>): void => {
      if (value > 0) lines.push(`${name} ${labels?.['grpc_method'] ?? ''} ${labels?.['grpc_code'] ?? ''} ${value}`)
    }
    await until('the streams are over', () => gauge(server, 'sluice_api_streams') === 0)
    server.collect({ counter: add, gauge: () => {} })
    expect(lines).toEqual(
      expect.arrayContaining([
        'grpc_server_started_total GetFlows  2',
        'grpc_server_handled_total GetFlows OK 1',
        'grpc_server_handled_total GetFlows InvalidArgument 1',
        'grpc_server_msg_sent_total GetFlows  3',
        'grpc_server_handled_total ServerStatus OK 1',
        'grpc_server_handled_total GetLedger Unimplemented 1',
        'sluice_api_flows_sent_total   3',
      ]),
    )
  })

  test('answers sluice.v1.Agent from what the wiring gives', async () => {
    const ledger = { node_name: 'node-1', time: undefined, kernel: [], equations: [], stages: [], closes: true }
    const status = {
      node_name: 'node-1',
      version: '1',
      kernel_release: '6',
      started: undefined,
      uptime_ns: 1n,
      components: [],
    }
    const agent = { ledger: async () => ledger, status: () => status }
    const { client } = await startApi(someFlows(), { deps: { agent } })
    expect(await client.ledger()).toEqual(ledger)
    expect(await client.agentStatus()).toEqual(status)
  })
})
