import { mkdtemp, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { SluiceError } from '../base/errors.ts'
import { ApiDouble } from '../test/helpers/api-double.ts'
import { TestAuthority } from '../test/helpers/certificates.ts'
import { clusterAccess, isInCluster } from './access.ts'
import { ApiClient } from './client.ts'
import { RESOURCES } from './resource.ts'

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sluice-kubernetes-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A pod in a cluster: an API server with its own CA, and the files that the pod has. */
async function inCluster(token = 'first') {
  const api = await ApiDouble.start({ tls: true, token })
  onTestFinished(() => api[Symbol.asyncDispose]())
  const serviceAccountFolder = await folder()
  const env = await api.files(serviceAccountFolder, token)
  let nowMs = 0
  const access = await clusterAccess({ env, serviceAccountFolder, now: () => nowMs })
  const client = new ApiClient(access)
  onTestFinished(() => client[Symbol.dispose]())
  const list = () => client.list(RESOURCES.pods, {}, () => {})
  const pass = (ms: number) => {
    nowMs += ms
  }
  return { api, access, client, list, pass, folder: serviceAccountFolder, env }
}

const refusal = async (run: () => Promise<unknown>): Promise<string> => {
  try {
    await run()
  } catch (error) {
    if (SluiceError.is(error)) return `${error.code}: ${error.message}`
    throw error
  }
  return ''
}

describe('clusterAccess() in a pod', () => {
  test('logs in with the token over TLS that the CA vouches for', async () => {
    const { api, access, list } = await inCluster()
    await list()
    expect(access.namespace).toBe('kube-system')
    expect(api.requests[0]?.headers.authorization).toBe('Bearer first')
    expect(api.requests[0]?.headers['user-agent']).toBe('sluice')
  })

  test('takes a new token up by itself, before the old one is refused', async () => {
    const { api, list, pass, folder: files, client } = await inCluster()
    await list()
    await writeFile(join(files, 'token'), 'second\n')
    api.tokens.add('second')
    pass(10_000)
    await list()
    expect(api.requests.at(-1)?.headers.authorization).toBe('Bearer second')
    expect(client.renewals).toBe(0)
  })

  test('reads the token again at once when it is refused', async () => {
    const { api, list, folder: files, client } = await inCluster()
    await list()
    await writeFile(join(files, 'token'), 'second')
    api.tokens.clear()
    api.tokens.add('second')
    await list()
    expect(client.renewals).toBe(1)
    // The same token again is refused: that is an error, and no loop.
    api.tokens.clear()
    api.tokens.add('third')
    expect(await refusal(list)).toMatch(/^SLUICE_KUBERNETES_API: Cannot list pods: 401 Unauthorized/)
  })

  test('goes on with the token that it has while the file is being replaced', async () => {
    const { list, pass, folder: files } = await inCluster()
    await unlink(join(files, 'token'))
    pass(10_000)
    await list()
    await writeFile(join(files, 'real'), 'first')
    await symlink('real', join(files, 'token'))
    pass(10_000)
    await list()
  })

  test('follows a new CA: at once when the server shows its certificate, and trusts the old one no more', async () => {
    const { api, list, folder: files, client } = await inCluster()
    await list()
    await using authority = await TestAuthority.create()
    await api.useAuthority(authority)
    expect(await refusal(list)).toMatch(/Cannot list pods: .*certificate/)
    await writeFile(join(files, 'ca.crt'), await import('node:fs').then((fs) => fs.readFileSync(authority.certFile)))
    await list()
    expect(client.renewals).toBe(2)
  })

  test('says what is missing', async () => {
    const files = await folder()
    expect(isInCluster({})).toBe(false)
    expect(isInCluster({ KUBERNETES_SERVICE_HOST: '10.0.0.1' })).toBe(true)
    expect(await refusal(() => clusterAccess({ env: {} }))).toContain('KUBERNETES_SERVICE_HOST is not set')
    const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' }
    const open = () => clusterAccess({ env, serviceAccountFolder: files })
    expect(await refusal(open)).toBe(
      `SLUICE_KUBERNETES_CONFIG: Cannot log in to the Kubernetes API: token file "${files}/token" is missing or empty`,
    )
    await writeFile(join(files, 'token'), 't')
    expect(await refusal(open)).toContain(`Cannot read namespace file "${files}/namespace"`)
    await writeFile(join(files, 'namespace'), 'monitoring\n')
    const access = await open()
    expect([access.server.href, access.namespace]).toEqual(['https://[fd00::1]:6443/', 'monitoring'])
    const bad = { env: { ...env, KUBERNETES_SERVICE_PORT: 'x' }, serviceAccountFolder: files }
    expect(await refusal(() => clusterAccess(bad))).toContain('"fd00::1:x" is no address')
  })
})

describe('clusterAccess() with a kubeconfig', () => {
  test('logs in as its context says', async () => {
    const api = await ApiDouble.start({ tls: true, token: 'secret' })
    onTestFinished(() => api[Symbol.asyncDispose]())
    const path = join(await folder(), 'config')
    await writeFile(path, api.kubeconfig('secret'))
    const access = await clusterAccess({ kubeconfig: path })
    using client = new ApiClient(access)
    await client.list(RESOURCES.pods, {}, () => {})
    expect(access.namespace).toBe('testing')
    expect(api.requests[0]?.headers.authorization).toBe('Bearer secret')
    expect((await clusterAccess({ kubeconfig: path, namespace: 'own' })).namespace).toBe('own')
  })

  test('reaches a server without TLS, as through kubectl proxy', async () => {
    const api = await ApiDouble.start()
    onTestFinished(() => api[Symbol.asyncDispose]())
    const path = join(await folder(), 'config')
    await writeFile(path, api.kubeconfig('any'))
    using client = new ApiClient(await clusterAccess({ kubeconfig: path, context: 'double' }))
    await client.list(RESOURCES.pods, {}, () => {})
    expect(api.requests).toHaveLength(1)
  })

  test.each([
    ['{', {}, 'Cannot read kubeconfig file'],
    [undefined, {}, 'no such file'],
    ['{"clusters":[],"contexts":[],"users":[]}', {}, 'names no cluster with an address'],
    ['{"clusters":[],"contexts":[],"users":[]}', { context: 'prod' }, 'Cannot use context "prod"'],
  ])('refuses %j with %j', async (text, options, message) => {
    const path = join(await folder(), 'config')
    if (text !== undefined) await writeFile(path, text)
    expect(await refusal(() => clusterAccess({ kubeconfig: path, ...options }))).toContain(message)
  })
})
