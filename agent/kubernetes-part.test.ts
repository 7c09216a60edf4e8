import { afterEach, expect, test, vi } from 'vitest'
import { silentLogger } from '../base/logger.ts'
import { loadConfig } from './config.ts'
import { KubernetesPart } from './kubernetes-part.ts'

afterEach(() => vi.unstubAllEnvs())

const make = (overrides: Record<string, unknown>) =>
  KubernetesPart.make(loadConfig({ env: {}, overrides }), 'node-1', silentLogger)

test('KubernetesPart.make() makes none outside of a cluster, and none when it is switched off', async () => {
  vi.stubEnv('KUBERNETES_SERVICE_HOST', '')
  expect(await make({})).toBeUndefined()
  vi.stubEnv('KUBERNETES_SERVICE_HOST', '10.96.0.1')
  expect(await make({ 'kubernetes.enabled': false })).toBeUndefined()
})

test('KubernetesPart.make() does without in a pod that has no token, unless Kubernetes was asked for', async () => {
  vi.stubEnv('KUBERNETES_SERVICE_HOST', '10.96.0.1')
  vi.stubEnv('KUBERNETES_SERVICE_PORT', '443')
  expect(await make({})).toBeUndefined()
  await expect(make({ 'kubernetes.enabled': true })).rejects.toMatchObject({ code: 'SLUICE_KUBERNETES_CONFIG' })
  const kubeconfig = '/nonexistent/kubeconfig'
  await expect(make({ 'kubernetes.kubeconfig': kubeconfig })).rejects.toMatchObject({
    code: 'SLUICE_KUBERNETES_CONFIG',
    message: expect.stringContaining(kubeconfig),
  })
})
