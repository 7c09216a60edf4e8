import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { isMap, isScalar, parseDocument, type YAMLMap } from 'yaml'
import { chartSchema, chartValues } from '../../deploy/values.ts'
import { missingTools } from '../helpers/kubernetes-tools.ts'
import { EVERYTHING, helm, Release, type Rendered, render, type Values } from './chart.ts'

const CHART = 'deploy/helm/sluice'

/** Every combination that tests look at as a whole. */
const SHAPES: readonly [string, Values][] = [
  ['defaults', {}],
  ['everything', EVERYTHING],
  ['another user', { runAsUser: 10001, tls: { api: { enabled: true } } }],
  ['no API server', { config: { kubernetes: { enabled: false } } }],
  [
    'a relay without TLS, and pods scraped by Azure',
    {
      relay: { enabled: true },
      ui: { enabled: true },
      metrics: { podMonitor: { enabled: true, apiVersion: 'azmonitoring.coreos.com/v1' } },
    },
  ],
  ['purge', { purge: true }],
  ['metrics and log off', { config: { metrics: { enabled: false }, log: { enabled: false } } }],
]

describe.skipIf(missingTools !== undefined)(`the charts${missingTools ? ` (skipped: ${missingTools})` : ''}`, () => {
  test.each([
    ...SHAPES.map(([name, values]) => ['sluice', name, values] as const),
    ['sluice-crds', 'defaults', {}] as const,
  ])('%s passes helm lint --strict with %s', async (chart, _name, values) => {
    expect(await helm(['lint', '--strict', `deploy/helm/${chart}`], values)).toContain('0 chart(s) failed')
  })

  test('make exactly these objects by default', async () => {
    expect((await render()).names).toEqual([
      'ClusterRole/sluice',
      'ClusterRoleBinding/sluice',
      'ConfigMap/sluice-config',
      'DaemonSet/sluice',
      'Role/sluice',
      'RoleBinding/sluice',
      'Service/sluice-metrics',
      'ServiceAccount/sluice',
    ])
  })

  test('make these beside them with everything on', async () => {
    const before = (await render()).names
    expect((await render(EVERYTHING)).names.filter((name) => !before.includes(name))).toEqual([
      'Certificate/hubble-metrics-server-certs',
      'Certificate/hubble-relay-client-certs',
      'Certificate/hubble-relay-server-certs',
      'Certificate/hubble-server-certs',
      'Certificate/hubble-ui-client-certs',
      'ClusterRole/sluice-hubble-ui',
      'ClusterRoleBinding/sluice-hubble-ui',
      'ConfigMap/hubble-relay-config',
      'ConfigMap/hubble-ui-nginx',
      'ConfigMap/sluice-dynamic-metrics',
      'ConfigMap/sluice-filters',
      'Deployment/hubble-relay',
      'Deployment/hubble-ui',
      'NetworkPolicy/hubble-relay',
      'NetworkPolicy/hubble-ui',
      'Service/hubble-peer',
      'Service/hubble-relay',
      'Service/hubble-ui',
      'ServiceAccount/hubble-relay',
      'ServiceAccount/hubble-ui',
      'ServiceMonitor/sluice',
    ])
  })

  test.each(SHAPES)('refer only to what is there, with %s', async (_name, values) => {
    const release = await render(values)
    expect(brokenReferences(release)).toEqual([])
    for (const object of release.objects) {
      const isCluster = object.kind.startsWith('ClusterRole')
      expect([object.kind, object.metadata.namespace]).toEqual([object.kind, isCluster ? undefined : 'net'])
    }
  })

  test('select pods by labels that an upgrade keeps', async () => {
    for (const { spec } of (await render(EVERYTHING)).of('DaemonSet')) {
      expect(Object.keys(spec.selector.matchLabels).sort()).toEqual([
        'app.kubernetes.io/component',
        'app.kubernetes.io/instance',
        'app.kubernetes.io/name',
      ])
    }
  })

  test('with purge, have pods that are ready when nothing is left on their node', async () => {
    const { agent, pods } = await render({ purge: true, config: { kernel: { instance: 'second' } } })
    expect(agent.command).toEqual([
      ...['sh', '-c', 'sluice agent --purge --config /etc/sluice/config/config.yaml && exec sleep infinity'],
    ])
    expect(agent).not.toHaveProperty('args')
    expect(agent.readinessProbe.exec.command).toEqual(['test', '!', '-d', '/bpffs/second'])
    expect(Object.keys(agent).filter((key) => key.endsWith('Probe'))).toEqual(['readinessProbe'])
    expect(pods[0]!.spec.terminationGracePeriodSeconds).toBe(1)
  })

  test('say in NOTES what to do next, and warn of an API that everybody reads', async () => {
    const notes = async (values: Values) => {
      const args = ['install', 'sluice', CHART, '--namespace', 'net', '--dry-run=client']
      return (await helm(args, values)).split('\nNOTES:\n')[1]
    }
    const plain = await notes({})
    expect(plain).toContain('kubectl -n net rollout status daemonset/sluice')
    expect(plain).toContain('kubectl -n net exec daemonset/sluice -- sluice observe')
    expect(plain).toContain('kubectl -n net port-forward daemonset/sluice 4244')
    expect(plain).not.toContain('WARNING')
    const relayed = await notes({ relay: { enabled: true } })
    expect(relayed).toContain('hubble observe --port-forward --kube-namespace net')
    expect(relayed).toMatch(/WARNING: everybody who reaches port 4244/)
    expect(await notes(EVERYTHING)).not.toContain('WARNING')
    expect(await notes({ purge: true })).toContain('helm -n net uninstall sluice')
  })
})

describe.skipIf(missingTools !== undefined)('values of the chart', () => {
  const document = parseDocument(readFileSync(`${CHART}/values.yaml`, 'utf8'))

  test('have the shape that their schema wants, each of its keys and no other', () => {
    chartValues.parse(document.toJS())
    const keys = (value: unknown): string[] => Object.keys(value as object).sort()
    const walk = (schema: Rendered, value: Rendered, path: string): string[] => {
      if (schema.properties === undefined || path === 'config') return []
      const missing = keys(schema.properties).filter((key) => key !== 'global' && !(key in value))
      return [
        ...missing.map((key) => `${path}.${key}`),
        ...keys(value).flatMap((key) => walk(schema.properties[key], value[key], path === '' ? key : `${path}.${key}`)),
      ]
    }
    expect(walk(chartSchema(), document.toJS(), '')).toEqual([])
  })

  test('are commented, each group at least once', () => {
    const bare: string[] = []
    for (const pair of (document.contents as YAMLMap).items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : ''
      if (!isCommented(pair.key) && !isMap(pair.value)) bare.push(key)
      if (!isMap(pair.value)) continue
      const isAnyInside = pair.value.commentBefore || pair.value.items.some(({ key }) => isCommented(key))
      if (!isCommented(pair.key) && !isAnyInside) bare.push(key)
    }
    // What Kubernetes names so needs no word; groups whose comment stands above the first of them.
    expect(bare).toEqual([
      'nodeSelector',
      'affinity',
      'podAnnotations',
      'podLabels',
      'extraVolumes',
      'extraVolumeMounts',
    ])
  })

  test.each<[string, Values, RegExp]>([
    ['an unknown key', { relayy: {} }, /additional properties 'relayy' not allowed/],
    [
      'an unknown key of the configuration',
      { config: { log: { enabld: true } } },
      /'\/config\/log'.*'enabld' not allowed/s,
    ],
    [
      'a wrong type',
      { config: { log: { maxBackups: 'many' } } },
      /'\/config\/log\/maxBackups': got string, want integer/,
    ],
    [
      'a number out of range',
      { config: { kernel: { maxFlows: 1 } } },
      /'\/config\/kernel\/maxFlows': minimum: got 1, want 1,?024/,
    ],
    ['a word that is none of the known', { image: { pullPolicy: 'never' } }, /'Always', 'IfNotPresent', 'Never'/],
    ['privileged: true', { privileged: true }, /additional properties 'privileged' not allowed/],
    ['a digest of another form', { image: { digest: 'sha1:12' } }, /'\/image\/digest'/],
    ['a file that is no resource', { filterFiles: { 'a.txt': '' } }, /'a\.txt' does not match pattern/],
  ])('are refused with %s', async (_name, values, message) => {
    await expect(render(values)).rejects.toThrow(message)
  })

  test.each<[Values, string]>([
    [{ runAsUser: 1000, capabilities: { syslog: true } }, 'need runAsUser: 0'],
    [{ metrics: { serviceMonitor: { enabled: true }, podMonitor: { enabled: true } } }, 'enable one of them'],
    [{ metrics: { serviceMonitor: { enabled: true }, service: { enabled: false } } }, 'needs metrics.service.enabled'],
    [{ relay: { enabled: true }, config: { api: { listen: ['127.0.0.1:4244'] } } }, 'an address in config.api.listen'],
    [{ ui: { enabled: true } }, 'ui.enabled needs relay.enabled'],
    [{ tls: { relayServer: { enabled: true } } }, 'needs relay.enabled'],
    [{ tls: { certManager: { enabled: true } } }, 'needs tls.certManager.issuerRef.name'],
    [{ config: { kernel: { pinPath: '/sys/fs/bpf/sluice' } } }, 'must not be below /sys'],
  ])('that cannot work together are refused with their remedy: %j', async (values, message) => {
    await expect(render(values)).rejects.toThrow(message)
  })
})

test('what is generated below deploy/ is up to date', async () => {
  const args = ['--import', 'tsx', 'scripts/gen-deploy.ts', '--check']
  await promisify(execFile)(process.execPath, args, { timeout: 20_000 })
})

describe.skipIf(missingTools !== undefined)('the chart sluice-crds', () => {
  test('holds the CRDs of deploy/crds, kept on uninstall unless told otherwise', async () => {
    const files = readdirSync('deploy/crds').filter((name) => name.endsWith('.yaml'))
    const release = await render({}, 'sluice-crds')
    expect(release.objects.length).toBe(files.length)
    expect(files.length).toBe(3)
    for (const file of files) {
      const [source] = new Release(readFileSync(`deploy/crds/${file}`, 'utf8')).objects
      const made = release.get('CustomResourceDefinition', source.metadata.name)
      expect(made.spec).toEqual(source.spec)
      expect(made.metadata.annotations).toMatchObject({
        ...source.metadata.annotations,
        'helm.sh/resource-policy': 'keep',
      })
    }
    for (const { metadata } of (await render({ keep: false }, 'sluice-crds')).objects) {
      expect(metadata.annotations ?? {}).not.toHaveProperty('helm.sh/resource-policy')
    }
  })

  test('and the chart sluice install the same ones', async () => {
    const own = await render({}, 'sluice-crds')
    const both = await render({}, 'sluice', ['--include-crds'])
    expect(both.of('CustomResourceDefinition').map(({ metadata }) => metadata.name)).toEqual(
      own.objects.map(({ metadata }) => metadata.name),
    )
  })
})

function isCommented(key: unknown): boolean {
  return isScalar(key) && Boolean(key.commentBefore)
}

/** Names of objects, ports and volumes that something refers to and nothing has. */
function brokenReferences(release: Release): string[] {
  const broken: string[] = []
  const want = (kind: string, name: string, by: string) => {
    if (!release.has(kind, name)) broken.push(`${by}: no ${kind} ${name}`)
  }
  const isCertified = release.of('Certificate').length > 0
  for (const { name, spec } of release.pods) {
    want('ServiceAccount', spec.serviceAccountName, name)
    const volumes = new Map<string, Rendered>(spec.volumes.map((volume: Rendered) => [volume.name, volume]))
    const used = new Set<string>()
    for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
      const paths = container.volumeMounts.map(({ mountPath }: Rendered) => mountPath)
      if (new Set(paths).size !== paths.length) broken.push(`${name}: two mounts at one path: ${paths.join(', ')}`)
      for (const mount of container.volumeMounts) {
        used.add(mount.name)
        if (!volumes.has(mount.name)) broken.push(`${name}: no volume ${mount.name}`)
        // A runtime cannot make the directory for a mount inside of one that is read-only.
        const around = container.volumeMounts.find(
          ({ mountPath, readOnly }: Rendered) => readOnly && mount.mountPath.startsWith(`${mountPath}/`),
        )
        if (around) broken.push(`${name}: ${mount.mountPath} is inside of ${around.mountPath}, which is read-only`)
      }
    }
    for (const [volume, { configMap, secret }] of volumes) {
      if (!used.has(volume)) broken.push(`${name}: nothing mounts ${volume}`)
      if (configMap) want('ConfigMap', configMap.name, name)
      if (secret && isCertified) want('Certificate', secret.secretName, name)
    }
  }
  const selected = (selector: Rendered) =>
    release.pods.filter(({ labels }) => Object.entries(selector).every(([key, value]) => labels[key] === value))
  const portNames = (pods: Release['pods']) =>
    pods.flatMap(({ spec }) =>
      spec.containers.flatMap(({ ports = [] }: Rendered) => ports.map((p: Rendered) => p.name)),
    )
  for (const { metadata, spec } of release.of('Service')) {
    const pods = selected(spec.selector)
    if (pods.length !== 1) broken.push(`Service ${metadata.name} selects ${pods.length} kinds of pods`)
    for (const { targetPort } of spec.ports) {
      if (!portNames(pods).includes(targetPort)) broken.push(`Service ${metadata.name}: no port ${targetPort}`)
    }
  }
  for (const { metadata, spec } of release.of('NetworkPolicy')) {
    const ports = spec.ingress.flatMap(({ ports }: Rendered) => ports)
    for (const { port } of ports) {
      if (!portNames(selected(spec.podSelector.matchLabels)).includes(port)) broken.push(`${metadata.name}: no ${port}`)
    }
  }
  for (const { kind, spec } of [...release.of('ServiceMonitor'), ...release.of('PodMonitor')]) {
    const labels =
      kind === 'PodMonitor'
        ? release.pods.map((pod) => pod.labels)
        : release.of('Service').map((s) => s.metadata.labels)
    const wanted = Object.entries(spec.selector.matchLabels)
    if (!labels.some((has) => wanted.every(([key, value]) => has[key] === value)))
      broken.push(`${kind} selects nothing`)
  }
  for (const { kind, roleRef, subjects } of [...release.of('RoleBinding'), ...release.of('ClusterRoleBinding')]) {
    want(roleRef.kind, roleRef.name, kind)
    for (const { name } of subjects) want('ServiceAccount', name, kind)
  }
  return broken
}
