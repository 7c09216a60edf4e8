import { describe, expect, onTestFinished, test } from 'vitest'
import { Listeners } from '../base/lifetime.ts'
import type { ClusterAccess } from '../kubernetes/access.ts'
import { ApiClient } from '../kubernetes/client.ts'
import { ApiDouble } from '../test/helpers/api-double.ts'
import { eventually } from '../test/helpers/eventually.ts'
import { ConfigMaps, type ConfigMapsOptions, DYNAMIC_METRICS, FLOW_LOGS } from './config-maps.ts'

const NAMESPACE = 'kube-system'
const { configMap, key } = DYNAMIC_METRICS

async function set(options: Partial<ConfigMapsOptions> = {}) {
  const api = await ApiDouble.start()
  onTestFinished(() => api[Symbol.asyncDispose]())
  const access: ClusterAccess = {
    server: new URL(api.url),
    namespace: NAMESPACE,
    credentials: async () => ({ headers: {}, tls: {} }),
  }
  const client = new ApiClient(access, { idleMs: 2000 })
  onTestFinished(() => client[Symbol.dispose]())
  const listeners = new Listeners<boolean>()
  const leader = { isLeader: true, onChange: (listener: (is: boolean) => void) => listeners.add(listener) }
  const become = (isLeader: boolean): void => {
    leader.isLeader = isLeader
    listeners.emit(isLeader)
  }
  const backoff = { minMs: 10, maxMs: 50 }
  const maps = new ConfigMaps({ client, namespace: NAMESPACE, leadership: leader, backoff, resyncMs: 20, ...options })
  onTestFinished(() => maps[Symbol.asyncDispose]())
  const data = (name = configMap) => api.get('configmaps', NAMESPACE, name)?.['data']
  const shows = (text: string) =>
    eventually(`it shows ${text}`, () => JSON.stringify(data()) === JSON.stringify({ [key]: text }))
  return { api, maps, become, data, shows }
}

const aWhile = () => new Promise((resolve) => setTimeout(resolve, 120))

describe('ConfigMaps.show()', () => {
  test('makes a ConfigMap of each text, and writes it again when the text changes', async () => {
    const { api, maps, data, shows } = await set()
    maps.show(DYNAMIC_METRICS, async () => 'metrics: []\n')
    maps.show(FLOW_LOGS, async () => 'flowLogs: []\n')
    await shows('metrics: []\n')
    await eventually('the other is there', () => data(FLOW_LOGS.configMap) !== undefined)
    expect(data(FLOW_LOGS.configMap)).toEqual({ 'flowlogs.yaml': 'flowLogs: []\n' })
    expect(api.get('configmaps', NAMESPACE, configMap)?.metadata.labels).toEqual({
      'app.kubernetes.io/name': 'sluice',
      'app.kubernetes.io/managed-by': 'sluice',
    })
    maps.show(DYNAMIC_METRICS, async () => 'metrics: [flow]\n')
    await shows('metrics: [flow]\n')
    await aWhile()
    await eventually('each is counted', () => maps.writes >= 3)
    expect([maps.writes, maps.failures, maps.lastError]).toEqual([3, 0, ''])
  })

  test('puts back what was edited, and makes again what was deleted', async () => {
    const { api, maps, shows } = await set()
    maps.show(DYNAMIC_METRICS, async () => 'right')
    await shows('right')
    api.apply('configmaps', {
      metadata: { namespace: NAMESPACE, name: configMap },
      data: { [key]: 'wrong', more: '1' },
    })
    await shows('right')
    api.apply('configmaps', { metadata: { namespace: NAMESPACE, name: configMap }, data: {} })
    await shows('right')
    api.remove('configmaps', NAMESPACE, configMap)
    await shows('right')
    await eventually('each is counted', () => maps.writes === 4)
  })

  test('looks without writing while all is as it should be', async () => {
    const { api, maps, shows } = await set()
    maps.show(DYNAMIC_METRICS, async () => 'right')
    await shows('right')
    await eventually('it has looked', () => api.seen('get', 'configmaps').length > 3)
    expect([api.seen('create', 'configmaps').length, api.seen('patch', 'configmaps').length]).toEqual([1, 0])
  })

  test('leaves them to the leader', async () => {
    const { api, maps, become, shows } = await set()
    become(false)
    maps.show(DYNAMIC_METRICS, async () => 'right')
    await aWhile()
    expect(api.requests).toEqual([])
    become(true)
    await shows('right')
    become(false)
    api.remove('configmaps', NAMESPACE, configMap)
    await aWhile()
    expect(api.get('configmaps', NAMESPACE, configMap)).toBeUndefined()
  })

  test('goes on when the API server fails, or another writes at the same time', async () => {
    const { api, maps, shows } = await set()
    api.fault({ verb: 'get', times: 2 }, { kind: 'reset' })
    api.fault({ verb: 'create', times: 1 }, { kind: 'status', code: 409, reason: 'AlreadyExists' })
    maps.show(DYNAMIC_METRICS, async () => 'right')
    await shows('right')
    expect(maps.failures).toBe(2)
  })

  test('says what is wrong where it is not allowed', async () => {
    const { api, maps, shows } = await set()
    api.forbid('configmaps')
    maps.show(DYNAMIC_METRICS, async () => 'right')
    await eventually('it has failed', () => maps.lastError !== '')
    expect(maps.lastError).toMatch(/Cannot get configmaps kube-system\/sluice-dynamic-metrics-config: 403 Forbidden/)
    api.allow('configmaps')
    await shows('right')
    await eventually('nothing is wrong', () => maps.lastError === '')
  })

  test('says in place of a text that is too long where it can be seen', async () => {
    const { maps, shows } = await set()
    maps.show(DYNAMIC_METRICS, async () => 'x'.repeat(1_000_001))
    await shows(
      '# The filters in force take 1000001 bytes here, and a ConfigMap holds 1000000: see `sluice filters list`\n',
    )
  })
})
