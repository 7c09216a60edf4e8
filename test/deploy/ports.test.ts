import { describe, expect, test } from 'vitest'
import { configSchema } from '../../agent/config.ts'
import { parseHostPort } from '../../base/listen-address.ts'
import { missingTools } from '../helpers/kubernetes-tools.ts'
import { EVERYTHING, type Rendered, render, type Values } from './chart.ts'

const skipped = missingTools === undefined ? '' : ` (skipped: ${missingTools})`

describe.skipIf(missingTools !== undefined)(`ports of the agents${skipped}`, () => {
  const defaults = configSchema.parse({})
  const port = (address: string) => parseHostPort(address)!.port

  test('are those of the agent’s defaults', async () => {
    const release = await render({ relay: { enabled: true } })
    expect(release.agent.ports).toEqual([
      { name: 'metrics', containerPort: port(defaults.metrics.listen), protocol: 'TCP' },
      { name: 'hubble', containerPort: port(defaults.api.listen[1]!), protocol: 'TCP' },
    ])
    expect(release.get('Service', 'sluice-metrics').spec).toMatchObject({
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      ports: [{ name: 'metrics', port: port(defaults.metrics.listen), targetPort: 'metrics' }],
    })
    expect(release.get('Service', 'hubble-peer').spec).toMatchObject({
      internalTrafficPolicy: 'Local',
      ports: [{ name: 'peer-service', port: 80, targetPort: 'hubble' }],
    })
    expect(release.pods[0]!.annotations).toMatchObject({
      'prometheus.io/scrape': 'true',
      'prometheus.io/port': String(port(defaults.metrics.listen)),
    })
  })

  test('follow the configuration', async () => {
    const config = {
      metrics: { listen: ':19965' },
      api: { listen: ['unix:///var/run/sluice/hubble.sock', '0.0.0.0:14244'] },
      health: { listen: ':19964' },
    }
    const release = await render({ config })
    expect(release.agent.ports.map(({ containerPort }: Rendered) => containerPort)).toEqual([19965, 14244])
    expect(release.get('Service', 'sluice-metrics').spec.ports[0].port).toBe(19965)
    expect(release.pods[0]!.annotations['prometheus.io/port']).toBe('19965')
    // Without a host the kubelet asks the pod's address.
    expect(release.agent.livenessProbe.httpGet).toEqual({ path: '/healthz', port: 19964 })
  })

  test('are probed where the health server listens', async () => {
    const { agent } = await render()
    const { host, port } = parseHostPort(defaults.health.listen)!
    expect(agent.livenessProbe.httpGet).toEqual({ host, path: '/healthz', port })
    expect(agent.startupProbe.httpGet).toEqual({ host, path: '/healthz', port })
    expect(agent.readinessProbe.httpGet).toEqual({ host, path: '/readyz', port })
    const v6 = await render({ config: { health: { listen: '[::1]:9964' } } })
    expect(v6.agent.readinessProbe.httpGet).toEqual({ host: '::1', path: '/readyz', port: 9964 })
  })

  test('of Hubble’s API are told to nobody while only the node reaches them', async () => {
    const release = await render()
    expect(release.agent.ports.map(({ name }: Rendered) => name)).toEqual(['metrics'])
    expect(release.has('Service', 'hubble-peer')).toBe(false)
  })

  test('are scraped once, in the way that is asked for', async () => {
    const places = async (metrics: Values) => {
      const release = await render({ metrics })
      const isMarked = (annotations: Rendered) => annotations?.['prometheus.io/scrape'] === 'true'
      return [
        ...(isMarked(release.pods[0]!.annotations) ? ['pod'] : []),
        ...release.of('Service').flatMap(({ metadata }) => (isMarked(metadata.annotations) ? ['service'] : [])),
        ...['ServiceMonitor', 'PodMonitor'].filter((kind) => release.has(kind, 'sluice')),
      ]
    }
    expect(await places({})).toEqual(['pod'])
    expect(await places({ scrapeAnnotations: 'service' })).toEqual(['service'])
    expect(await places({ scrapeAnnotations: 'none' })).toEqual([])
    expect(await places({ serviceMonitor: { enabled: true } })).toEqual(['ServiceMonitor'])
    expect(await places({ podMonitor: { enabled: true }, scrapeAnnotations: 'service' })).toEqual(['PodMonitor'])
  })

  test('are scraped with the labels that dashboards want', async () => {
    const endpoint = async (kind: 'ServiceMonitor' | 'PodMonitor', values: Values) => {
      const { spec } = (await render(values)).get(kind, 'sluice')
      return spec[kind === 'PodMonitor' ? 'podMetricsEndpoints' : 'endpoints'][0]
    }
    const node = ['node', 'instance'].map((targetLabel) => ({
      sourceLabels: ['__meta_kubernetes_pod_node_name'],
      targetLabel,
      action: 'replace',
    }))
    expect(await endpoint('PodMonitor', { metrics: { podMonitor: { enabled: true } } })).toEqual({
      port: 'metrics',
      path: '/metrics',
      honorLabels: true,
      interval: '15s',
      relabelings: node,
    })
    expect(await endpoint('ServiceMonitor', EVERYTHING)).toMatchObject({
      scheme: 'https',
      tlsConfig: { serverName: 'prod-eu.hubble-metrics.cilium.io' },
      relabelings: [...node, { targetLabel: 'cluster', replacement: 'prod.eu', action: 'replace' }],
    })
    const azure = { enabled: true, apiVersion: 'azmonitoring.coreos.com/v1' }
    expect((await render({ metrics: { podMonitor: azure } })).get('PodMonitor', 'sluice')).toMatchObject({
      apiVersion: 'azmonitoring.coreos.com/v1',
      spec: { labelLimit: 63, labelNameLengthLimit: 511, labelValueLengthLimit: 1023 },
    })
  })

  test('with TLS have certificates for the names that Hubble Relay asks for', async () => {
    const release = await render(EVERYTHING)
    const names = Object.fromEntries(
      release.of('Certificate').map(({ spec }) => [spec.secretName, [...spec.dnsNames, ...spec.usages]]),
    )
    expect(names).toEqual({
      'hubble-server-certs': ['*.prod-eu.hubble-grpc.cilium.io', 'server auth'],
      'hubble-metrics-server-certs': ['prod-eu.hubble-metrics.cilium.io', 'server auth', 'client auth'],
      'hubble-relay-client-certs': ['*.hubble-relay.cilium.io', 'client auth'],
      'hubble-relay-server-certs': ['*.hubble-relay.cilium.io', 'server auth'],
      'hubble-ui-client-certs': ['*.hubble-ui.cilium.io', 'client auth'],
    })
    expect(release.get('Service', 'hubble-peer').spec.ports[0].port).toBe(443)
    expect(release.get('Service', 'hubble-relay').spec.ports[0].port).toBe(443)
  })
})
