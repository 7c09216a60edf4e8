import { execFile } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { eventually } from '../../helpers/eventually.ts'
import { Cluster } from './cluster.ts'
import { buildPrograms, KUBERNETES_VERSION, missing } from './programs.ts'

const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps'

describe.skipIf(missing)(`Cluster${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let cluster: Cluster

  beforeAll(async () => {
    buildPrograms()
    cluster = await Cluster.start()
  })
  afterAll(async () => await cluster?.[Symbol.asyncDispose]())

  test('kubectl() talks to the version that is pinned', async () => {
    const version = JSON.parse(await cluster.kubectlOk(['version', '-o', 'json']))
    expect(version.serverVersion.gitVersion).toBe(`v${KUBERNETES_VERSION}`)
  })

  test('accountToken() gives an account that may do nothing until it is bound', async () => {
    const token = await cluster.accountToken('default', 'nobody')
    const { status, body } = await cluster.call('GET', '/api/v1/pods', { token })
    expect([status, body.reason]).toEqual([403, 'Forbidden'])
    expect(body.message).toContain('system:serviceaccount:default:nobody')
    expect((await cluster.call('GET', '/api/v1/pods', { token: 'wrong' })).status).toBe(401)
  })

  test('startApiServer() finds again what was there before the server was killed', async () => {
    await cluster.ok('POST', CONFIG_MAPS, { body: { metadata: { name: 'kept' }, data: { a: '1' } } })
    const { url } = cluster
    await cluster.stopApiServer('SIGKILL')
    await expect(cluster.call('GET', CONFIG_MAPS)).rejects.toThrow(/ECONNREFUSED|ECONNRESET|socket hang up/)
    await cluster.startApiServer()
    expect(cluster.url).toBe(url)
    expect((await cluster.ok('GET', `${CONFIG_MAPS}/kept`)).data).toEqual({ a: '1' })
  })

  test('etcd.compact() makes a list of an older revision impossible', async () => {
    const before = await cluster.ok('GET', CONFIG_MAPS)
    const exact = `${CONFIG_MAPS}?limit=500&resourceVersionMatch=Exact&resourceVersion=${before.metadata.resourceVersion}`
    for (let i = 0; i < 3; i++) await cluster.ok('POST', CONFIG_MAPS, { body: { metadata: { name: `later-${i}` } } })
    await cluster.etcd.compact()
    await cluster.stopApiServer('SIGKILL')
    await cluster.startApiServer()
    const { status, body } = await cluster.call('GET', exact)
    expect([status, body.reason]).toEqual([410, 'Expired'])
  })
})

describe.skipIf(missing)('a process that holds a Cluster', () => {
  test('leaves no server behind when it is killed', async () => {
    const tmp = await mkdtemp(join(tmpdir(), 'sluice-cluster-test-'))
    onTestFinished(() => rm(tmp, { recursive: true, force: true }))
    const module = JSON.stringify(new URL('./cluster.ts', import.meta.url).href)
    const code = `const { Cluster } = await import(${module}); const cluster = await Cluster.start()
      console.log(cluster.folder); setInterval(() => {}, 1000)`
    const child = execFile(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
      env: { ...process.env, TMPDIR: tmp },
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const folder = await new Promise<string>((resolve, reject) => {
      child.stdout?.once('data', (text: string) => resolve(text.trim()))
      child.once('exit', (status) => reject(new Error(`ended with ${status}`)))
    })
    expect(processesIn(folder)).toHaveLength(2)
    child.kill('SIGKILL')
    await eventually('both servers are gone', () => processesIn(folder).length === 0)
  })
})

/** Processes that work in a folder. */
function processesIn(folder: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`) === folder
    } catch {
      // Gone since the directory was read, or somebody else's.
      return false
    }
  })
}
