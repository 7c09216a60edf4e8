import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type Config, configSchema, loadConfig } from '../../agent/config.ts'
import { missingTools } from '../helpers/kubernetes-tools.ts'
import { EVERYTHING, envOf, mountPaths, type Release, render, type Values } from './chart.ts'

const skipped = missingTools === undefined ? '' : ` (skipped: ${missingTools})`

describe.skipIf(missingTools !== undefined)(`configuration of the agents${skipped}`, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-chart-config-'))
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  /** As the agent reads it in the pod. */
  const configOf = (release: Release, env: NodeJS.ProcessEnv = envOf(release.agent)): Config => {
    const path = join(directory, 'config.yaml')
    writeFileSync(path, release.config)
    return loadConfig({ path, env })
  }

  test('differs from the agent’s defaults in this alone', async () => {
    expect(changes(configSchema.parse({}), configOf(await render()))).toEqual({
      'kernel.pinPath': '/bpffs',
      'kubernetes.enabled': true,
      'api.listen': ['unix:///var/run/sluice/hubble.sock', '127.0.0.1:4244'],
    })
  })

  test('with everything on differs in this too', async () => {
    expect(changes(configOf(await render()), configOf(await render(EVERYTHING)))).toEqual({
      'node.clusterName': 'prod.eu',
      'kernel.dnsPorts': [53, 5353],
      'filters.directory': '/etc/sluice/filters',
      'log.enabled': true,
      'log.path': '/var/log/flows/flows.json',
      'metrics.dynamicConfig': '/etc/sluice/dynamic-metrics/dynamic-metrics.yaml',
      'metrics.tls.certFile': '/etc/sluice/tls/metrics/tls.crt',
      'metrics.tls.keyFile': '/etc/sluice/tls/metrics/tls.key',
      'metrics.tls.clientCaFile': '/etc/sluice/tls/metrics/ca.crt',
      'api.listen': ['unix:///var/run/sluice/hubble.sock', ':4244'],
      'api.tls.certFile': '/etc/sluice/tls/api/tls.crt',
      'api.tls.keyFile': '/etc/sluice/tls/api/tls.key',
      'api.tls.clientCaFile': '/etc/sluice/tls/api/ca.crt',
    })
  })

  test('keeps numbers, lists and texts of the values as they are', async () => {
    const given = {
      kernel: { maxFlows: 4_194_304, dnsPorts: [53, 5353], ringSize: '64MiB', l7PayloadBytes: 1024 },
      history: { flows: 16_000_000 },
      log: { fileMode: '640', allowList: ['{"verdict":["DROPPED"]}'] },
      redact: { enabled: true },
    }
    const config = configOf(await render({ config: given }))
    expect(config).toMatchObject(given)
  })

  test('takes a key of the chart’s own back to the agent’s default when it is null', async () => {
    const release = await render({ config: { metrics: null, health: null, log: { path: null } } })
    expect(configOf(release).log.path).toBe('/var/log/acns/hubble/events.log')
    expect(release.agent.ports).toEqual([{ name: 'metrics', containerPort: 9965, protocol: 'TCP' }])
    expect(mountPaths(release.agent)).toContain('/var/log/acns/hubble')
  })

  test.each<[string, Values]>([
    ['defaults', {}],
    ['everything', EVERYTHING],
    ['a socket elsewhere', { config: { api: { listen: ['unix:///run/sluice/a.sock', '[::1]:4244'] } } }],
  ])('names only files below mounts, with %s', async (_name, values) => {
    const release = await render(values)
    const config = configOf(release)
    const files = [
      config.log.path,
      join(config.kernel.pinPath, config.kernel.instance),
      ...(config.filters.directory === undefined ? [] : [join(config.filters.directory, 'log.yaml')]),
      ...[config.api.tls, config.metrics.tls].flatMap((tls) => Object.values(tls ?? {})),
      ...(config.metrics.dynamicConfig ? [config.metrics.dynamicConfig] : []),
      ...config.api.listen.filter((a) => a.startsWith('unix:')).map((a) => a.replace(/^unix:(\/\/)?/, '')),
      release.agent.args[2],
    ]
    const mounts = mountPaths(release.agent)
    for (const file of files) expect([file, mounts.includes(dirname(file))]).toEqual([file, true])
  })

  test('comes with variables that the agent takes, and a misspelt one is its error', async () => {
    const release = await render(EVERYTHING)
    expect(Object.keys(envOf(release.agent))).toEqual([
      ...['NODE_NAME', 'POD_NAME', 'POD_NAMESPACE', 'HUBBLE_SERVER', 'SLUICE_KERNEL_DNS_PORTS'],
    ])
    expect(() => configOf(release, { SLUICE_LOG_ENABLD: 'true' })).toThrow(/SLUICE_LOG_ENABLD: no such key/)
    expect(release.pods[0]!.spec.enableServiceLinks).toBe(false)
  })

  test('makes new pods when it changes, and when nothing else does not', async () => {
    const checksum = async (values: Values) => (await render(values)).pods[0]!.annotations['checksum/config']
    const plain = await checksum({})
    expect(await checksum({ config: { log: { enabled: false } } })).not.toBe(plain)
    expect(await checksum({ filterFiles: { 'a.yaml': 'x' } })).not.toBe(plain)
    // Files are followed by the agent: other content is no reason to restart.
    expect(await checksum({ filterFiles: { 'a.yaml': 'x' } })).toBe(await checksum({ filterFiles: { 'a.yaml': 'y' } }))
    expect(await checksum({ resources: { limits: null } })).toBe(plain)
  })
})

/** Leaves that differ, by dotted path, with the value of the second. */
function changes(before: unknown, after: unknown, path = ''): Record<string, unknown> {
  const isTree = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (isTree(after)) {
    const tree = isTree(before) ? before : {}
    const keys = new Set([...Object.keys(tree), ...Object.keys(after)])
    return Object.assign({}, ...[...keys].map((key) => changes(tree[key], after[key], path ? `${path}.${key}` : key)))
  }
  return JSON.stringify(before) === JSON.stringify(after) ? {} : { [path]: after }
}
