import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type PeerNode, peerServerName } from '../../api/peer.ts'
import { ApiServer } from '../../api/server.ts'
import type { TlsFiles } from '../../base/certificate-files.ts'
import { until } from '../helpers/api-server.ts'
import { TestAuthority } from '../helpers/certificates.ts'
import { TestFlowStore } from '../helpers/flow-store.ts'
import { build, Hubble, missing } from './hubble-cli.ts'

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** A node with ten flows, whose source ports start at `port`. */
async function startNode(nodeName: string, port: number, tls?: TlsFiles) {
  const store = new TestFlowStore(64, { nodeName })
  for (let i = 0; i < 10; i++) {
    store.push({ srcPort: port + i, time: BigInt(1_790_000_000 + i) * 1_000_000_000n + BigInt(port) })
  }
  const listen = [{ kind: 'tcp', host: '127.0.0.1', port: 0, ...(tls ? { tls } : {}) }] as const
  const server = new ApiServer({ store, version: '0.1.0' }, { listen })
  await server.start()
  return { store, server, address: server.addresses[0]!.replace('tls://', '') }
}

describe.skipIf(missing)(`Hubble Relay in front of Sluice's nodes${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let relay: string
  let hubble: string
  let folder: string

  beforeAll(async () => {
    relay = build('hubble-relay-1.19')
    hubble = build('hubble-1.19')
    folder = await mkdtemp(join(tmpdir(), 'sluice-relay-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  /** Starts a relay that learns its nodes from a unix socket. @returns a command line that asks it */
  async function startRelay(peers: PeerNode[], flags: string[]): Promise<Hubble> {
    const path = join(folder, `peers-${peers.length}-${flags.length}.sock`)
    const source = { list: () => peers, onChange: () => ({ [Symbol.dispose]() {} }) }
    const peerServer = new ApiServer(
      { store: new TestFlowStore(8), version: '0.1.0', peers: source },
      { listen: [{ kind: 'unix', path }] },
    )
    await peerServer.start()
    onTestFinished(() => peerServer.stop(100))
    const listen = `127.0.0.1:${await freePort()}`
    const health = `127.0.0.1:${await freePort()}`
    const own = ['--gops=false', '--listen-address', listen, '--health-listen-address', health, '--disable-server-tls']
    const child = spawn(relay, ['serve', '--peer-service', `unix://${path}`, ...own, ...flags], { stdio: 'ignore' })
    onTestFinished(() => void child.kill('SIGKILL'))
    const client = new Hubble(hubble, ['--server', listen])
    let isUp = false
    const watch = (async () => {
      for (let i = 0; i < 80 && !isUp; i++) {
        const { stdout } = await client.run('status')
        isUp = new RegExp(`Connected Nodes: ${peers.length}/${peers.length}`).test(stdout)
        if (!isUp) await new Promise((resolve) => setTimeout(resolve, 250))
      }
    })()
    await watch
    await until('the relay is connected to every node', () => isUp)
    return client
  }

  test('shows the flows of all nodes, merged by time, and follows them', async () => {
    const a = await startNode('node-a', 1000)
    const b = await startNode('node-b', 2000)
    onTestFinished(() => a.server.stop(100))
    onTestFinished(() => b.server.stop(100))
    const peers = [
      { name: 'node-a', address: a.address, tlsServerName: undefined },
      { name: 'node-b', address: b.address, tlsServerName: undefined },
    ]
    const client = await startRelay(peers, ['--disable-client-tls'])
    const lines = await client.lines('observe', '--all', '--print-node-name')
    expect(lines.length).toBe(20)
    expect(lines[0]).toMatch(/\[node-a\]: 10\.0\.0\.1:1000/)
    expect(lines.map((line) => Number(/0\.1:(\d+)/.exec(line)?.[1]))).toEqual(
      Array.from({ length: 10 }, (_, i) => [1000 + i, 2000 + i]).flat(),
    )
    expect((await client.lines('list', 'nodes')).slice(1).map((line) => line.split(/ {2,}/).slice(0, 2))).toEqual([
      ['node-a', 'Connected'],
      ['node-b', 'Connected'],
    ])
    expect((await client.lines('status', '-o', 'json'))[0]).toMatch(/"num_flows":"20".*"num_connected_nodes":2/)
    const run = client.start('observe', '--follow')
    onTestFinished(() => void run.stop())
    await until('both nodes are followed', () => {
      a.store.push({ srcPort: 3000, time: BigInt(Date.now()) * 1_000_000n })
      b.store.push({ srcPort: 4000, time: BigInt(Date.now()) * 1_000_000n })
      return [/:3000/, /:4000/].every((port) => run.lines.some((line) => port.test(line)))
    })
    await run.stop()
  })

  test('reaches nodes by mTLS under the names that they are announced with', async () => {
    await using ca = await TestAuthority.create()
    const name = peerServerName('node-a')
    const server = await ca.issue('server', `DNS:${name}`)
    const client = await ca.issue('client', 'DNS:relay')
    const node = await startNode('node-a', 1000, { ...server, caFile: ca.certFile, requireClientCert: true })
    onTestFinished(() => node.server.stop(100))
    const asked = await startRelay(
      [{ name: 'node-a', address: node.address, tlsServerName: name }],
      [
        '--tls-hubble-server-ca-files',
        ca.certFile,
        '--tls-hubble-client-cert-file',
        client.certFile,
        '--tls-hubble-client-key-file',
        client.keyFile,
      ],
    )
    expect((await asked.lines('observe', '--last', '3')).length).toBe(3)
  })
})
