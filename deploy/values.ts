import { z } from 'zod'
import { configSchema } from '../agent/config.ts'

/** A part of a Kubernetes object that the chart hands on as it is. */
const passed = z.record(z.string(), z.unknown())
const passedList = z.array(z.unknown())
const labels = z.record(z.string(), z.string())
const name = z.string().max(253)
const pullPolicy = z.enum(['Always', 'IfNotPresent', 'Never'])

const image = z.strictObject({
  repository: z.string().min(1).describe('Name of the image, with its registry'),
  tag: z.string().describe('Empty: the version of the chart’s application'),
  digest: z
    .string()
    .regex(/^(sha256:[0-9a-f]{64})?$/)
    .describe('sha256:...; in force instead of the tag'),
  pullPolicy,
})

const scheduling = {
  nodeSelector: labels,
  tolerations: passedList,
  affinity: passed,
  priorityClassName: z.string(),
  podAnnotations: labels,
  podLabels: labels,
}

const placement = { resources: passed, ...scheduling }

const monitor = z.strictObject({
  enabled: z.boolean(),
  apiVersion: z
    .enum(['monitoring.coreos.com/v1', 'azmonitoring.coreos.com/v1'])
    .describe('azmonitoring.coreos.com/v1 is read by Azure Monitor managed Prometheus'),
  labels: labels,
  interval: z.string().regex(/^([0-9]+(ms|s|m|h))*$/),
  scrapeTimeout: z.string().regex(/^([0-9]+(ms|s|m|h))*$/),
  relabelings: passedList,
  metricRelabelings: passedList,
})

const secret = { secretName: z.string().min(1).max(253) }

/**
 * Values of the chart sluice. values.schema.json is made from it, with the agent's configuration as `config`, so that a
 * misspelt key is refused by helm and not by a pod that does not start.
 */
export const chartValues = z.strictObject({
  global: passed.optional().describe('Helm’s; the chart reads nothing of it'),
  nameOverride: z.string().max(63),
  fullnameOverride: z.string().max(63),
  clusterDomain: z.string().min(1),
  image,
  imagePullSecrets: z.array(z.strictObject({ name })),
  config: configSchema,
  filterFiles: z.record(z.string().regex(/^[-._a-zA-Z0-9]+\.(ya?ml|json)$/), z.string()),
  dynamicMetrics: z.array(passed),
  env: z.array(passed),
  runAsUser: z.int().min(0).max(4_294_967_294),
  chownHostDirectories: z.enum(['auto', 'always', 'never']),
  capabilities: z.strictObject({ sysAdmin: z.boolean(), syslog: z.boolean() }),
  seccompProfile: passed,
  appArmorProfile: passed,
  seLinuxOptions: passed,
  pinHostPath: z.string().startsWith('/'),
  purge: z.boolean(),
  updateStrategy: passed,
  terminationGracePeriodSeconds: z.int().min(1).max(3600),
  ...placement,
  extraVolumes: passedList,
  extraVolumeMounts: passedList,
  serviceAccount: z.strictObject({ create: z.boolean(), name, annotations: labels }),
  rbac: z.strictObject({ create: z.boolean() }),
  metrics: z.strictObject({
    scrapeAnnotations: z.enum(['pod', 'service', 'none']),
    service: z.strictObject({ enabled: z.boolean(), annotations: labels, labels }),
    serviceMonitor: monitor,
    podMonitor: monitor,
  }),
  peerService: z.strictObject({ annotations: labels }),
  tls: z.strictObject({
    api: z.strictObject({ enabled: z.boolean(), ...secret, clientAuth: z.boolean() }),
    metrics: z.strictObject({ enabled: z.boolean(), ...secret, clientAuth: z.boolean() }),
    relayClient: z.strictObject(secret),
    relayServer: z.strictObject({ enabled: z.boolean(), ...secret, clientAuth: z.boolean() }),
    uiClient: z.strictObject(secret),
    certManager: z.strictObject({
      enabled: z.boolean(),
      issuerRef: z.strictObject({ group: z.string(), kind: z.string(), name }),
      duration: z.string(),
      renewBefore: z.string(),
    }),
  }),
  relay: z.strictObject({
    enabled: z.boolean(),
    image,
    replicas: z.int().min(0).max(100),
    extraConfig: passed,
    service: z.strictObject({ type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer']), annotations: labels }),
    ...placement,
  }),
  ui: z.strictObject({
    enabled: z.boolean(),
    frontend: z.strictObject({ image, resources: passed }),
    backend: z.strictObject({ image, resources: passed }),
    replicas: z.int().min(0).max(100),
    service: z.strictObject({ type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer']), annotations: labels }),
    ...scheduling,
  }),
  networkPolicy: z.strictObject({ enabled: z.boolean(), relayFrom: passedList, uiFrom: passedList }),
})

/** What values.schema.json holds. */
export function chartSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(chartValues, { io: 'input', target: 'draft-7', unrepresentable: 'any' })
  // Defaults stand in values.yaml; a second copy here would only part from it. Whoever sets one key need not set all.
  const walk = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(walk)
    if (typeof node !== 'object' || node === null) return node
    return Object.fromEntries(
      Object.entries(node)
        .filter(([key, value]) => key !== 'default' && !(key === 'required' && Array.isArray(value)))
        .map(([key, value]) => [key, walk(value)]),
    )
  }
  return { title: 'Values of the chart sluice', ...(walk(schema) as Record<string, unknown>) }
}
