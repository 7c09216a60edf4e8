import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { z } from 'zod'
import { DEFAULT_MAX_STREAMS } from '../api/server.ts'
import { errorText, SluiceError } from '../base/errors.ts'
import { describeIssues, parseYaml } from '../base/yaml-document.ts'
import { checkMetrics, DEFAULT_METRICS } from '../exporters/prometheus/config.ts'
import { compileFlowFilters } from '../filters/hubble/index.ts'
import { parseFlowFilters } from '../filters/hubble/json.ts'
import { parseFieldMask } from '../model/field-mask.ts'
import { address, duration, listenAddress, port, readable, size, sizeBytes } from './config-values.ts'

const tls = z
  .strictObject({
    certFile: z.string().min(1).describe('PEM certificate chain'),
    keyFile: z.string().min(1).describe('PEM private key'),
    clientCaFile: z.string().min(1).optional().describe('PEM CA; when set, clients must present a certificate of it'),
  })
  .describe('TLS 1.3; files are read again when they change')

/** Hubble FlowFilters as JSON, one or more behind another. */
const flowFilters = z.string().superRefine(readable((text) => compileFlowFilters(parseFlowFilters(text), [])))

/** The one schema of the configuration. docs/config.md is generated from it. */
export const configSchema = z.strictObject({
  node: z
    .strictObject({
      name: z
        .string()
        .min(1)
        .max(253)
        .optional()
        .describe('Node name in flows. Default: NODE_NAME of the environment, else the host name'),
      clusterName: z
        .string()
        .max(253)
        .default('default')
        .describe('Prefixes node_name as cluster/node unless it is "default"'),
      labels: z.array(z.string()).max(256).default([]).describe('Node labels, key=value'),
      netns: z
        .string()
        .min(1)
        .optional()
        .describe('Path of the network namespace to observe, when it is not the agent’s own'),
    })
    .prefault({}),
  kernel: z
    .strictObject({
      instance: z
        .string()
        .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'want lower-case letters, digits and dashes')
        .default('default')
        .describe('Names the pins, so that several agents can share a machine'),
      pinPath: z
        .string()
        .startsWith('/')
        .default('/sys/fs/bpf/sluice')
        .describe('Directory on a bpffs; pins live in <pinPath>/<instance>'),
      aggregation: z
        .enum(['flow', 'none'])
        .default('flow')
        .describe('flow: a record on what is new in a flow and every interval; none: a record for every packet'),
      aggregationInterval: duration('100ms', '10m')
        .default('5s')
        .describe('A live flow is told again after this time, as Cilium’s monitor interval'),
      aggregationFlags: z
        .array(z.enum(['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ece', 'cwr']))
        .default(['syn', 'fin', 'rst'])
        .describe('TCP flags whose first sight in a direction makes a record'),
      ringSize: size('64KiB', '1GiB')
        .refine((value) => Number.isInteger(Math.log2(sizeBytes(String(value)) ?? 0)), 'want a power of two, "16MiB"')
        .default('16MiB')
        .describe('Ring buffer, a power of two; 16 MiB hold 123,000 records'),
      maxFlows: z
        .int()
        .min(1024)
        .max(4_194_304)
        .default(262_144)
        .describe('Flow table; an entry takes about 220 bytes of kernel memory'),
      maxEndpoints: z.int().min(16).max(65_536).default(4096).describe('Interfaces that have counters of their own'),
      uplinks: z
        .union([z.literal('auto'), z.array(z.string().min(1).max(15))])
        .default('auto')
        .describe('Devices towards other nodes; auto: those with a default route'),
      tcpIdleTimeout: duration('1s', '24h')
        .default('10m')
        .describe('A silent TCP flow leaves the table after this time'),
      otherIdleTimeout: duration('1s', '24h').default('1m').describe('The same for UDP, ICMP, SCTP and others'),
      closedTimeout: duration('100ms', '10m').default('5s').describe('The same after both FINs or a RST'),
      dnsPorts: z.array(port).max(64).default([53]).describe('UDP and TCP ports whose payload is read as DNS'),
      httpPorts: z
        .array(port)
        .max(128)
        .default([80, 8000, 8080, 8081, 3000, 5000, 9090])
        .describe('TCP ports whose heads are read as HTTP/1'),
      l7PayloadBytes: z.int().min(64).max(1024).default(512).describe('Bytes of an L7 message that are captured'),
      l7RatePerSecond: z
        .int()
        .min(1)
        .max(1_000_000)
        .default(10_000)
        .describe('L7 messages captured per second and CPU; more are counted, not captured'),
    })
    .prefault({}),
  metadata: z
    .strictObject({
      file: z
        .string()
        .min(1)
        .optional()
        .describe('YAML file of pods, nodes, services and ranges; read again when it changes (docs/metadata.md)'),
    })
    .prefault({}),
  kubernetes: z
    .strictObject({
      enabled: z
        .literal(['auto', true, false], 'want auto, true or false')
        .default('auto')
        .describe('Names and filters from the Kubernetes API; auto: inside a pod, or when kubeconfig is set'),
      kubeconfig: z
        .string()
        .min(1)
        .optional()
        .describe('Path of a kubeconfig file. Default: the service account of the pod'),
      context: z.string().min(1).optional().describe('Context of the kubeconfig. Default: its current one'),
      namespace: z
        .string()
        .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'want a namespace')
        .optional()
        .describe(
          'Where the agents’ Lease and ConfigMaps are. Default: the pod’s own namespace, else that of the context',
        ),
      writeStatus: z
        .boolean()
        .default(true)
        .describe(
          'One of the agents, elected by a Lease, writes the status of filter resources and the ConfigMaps that show the filters in force',
        ),
    })
    .prefault({}),
  filters: z
    .strictObject({
      directory: z
        .string()
        .startsWith('/', 'want an absolute path')
        .optional()
        .describe(
          'Directory of filter resources as YAML or JSON files, followed while the agent runs (docs/filters.md)',
        ),
      merge: z
        .boolean()
        .default(false)
        .describe(
          'Merge several ContainerNetworkMetrics; false: the one named container-network-metric counts, as ACNS has it',
        ),
      unlisted: z
        .enum(['keep', 'drop'])
        .default('keep')
        .describe('Metrics that a ContainerNetworkMetric does not name: keep counts all their flows, drop none'),
    })
    .prefault({}),
  history: z
    .strictObject({
      keep: z
        .enum(['wanted', 'all'])
        .default('wanted')
        .describe(
          'wanted: what a metric, the log or a live query wants, the rest stays in the kernel; all: every event, whatever the filters',
        ),
      flows: z
        .int()
        .min(1024)
        .max(16_000_000)
        .default(1_000_000)
        .describe('Flows kept for queries; 160 bytes each, 1,000,000 = 160 MB'),
      l7Size: size('64KiB', '2GiB').default('32MiB').describe('L7 messages kept for them'),
    })
    .prefault({}),
  log: z
    .strictObject({
      enabled: z
        .literal(['auto', true, false], 'want auto, true or false')
        .default('auto')
        .describe(
          'auto: where filter resources come from (kubernetes, filters.directory) a ContainerNetworkLog says what is written, and without one nothing is; elsewhere, and with true, what allowList and denyList let through',
        ),
      path: z
        .string()
        .startsWith('/', 'want an absolute path')
        .default('/var/log/acns/hubble/events.log')
        .describe('Flows as JSON lines (docs/log-format.md)'),
      maxSize: size('1MiB', '16GiB')
        .default('50MiB')
        .describe('A file is rotated before it would exceed this; 50 MiB = 52,428,800 bytes'),
      maxBackups: z
        .int()
        .min(0)
        .max(1000)
        .default(5)
        .describe('Rotated files kept; (5 + 1) × 50 MiB = 300 MiB of disk at most'),
      compress: z.boolean().default(false).describe('gzip rotated files, in the background'),
      fileMode: z
        .string()
        .regex(/^0?[0-7]{3}$/, 'want three octal digits, "640"')
        .default('600')
        .describe('Mode of new files; 640 or 644 lets a log shipper that is not root read them'),
      allowList: z
        .array(flowFilters)
        .max(256)
        .default([])
        .describe('Hubble FlowFilters as JSON; only flows that match one are written'),
      denyList: z
        .array(flowFilters)
        .max(256)
        .default([])
        .describe('Hubble FlowFilters as JSON; flows that match one are not written'),
      fieldMask: z
        .array(z.string())
        .max(256)
        .superRefine(readable(parseFieldMask))
        .default([])
        .describe('Paths of flow.Flow that are written; empty: all'),
    })
    .prefault({}),
  metrics: z
    .strictObject({
      enabled: z.boolean().default(true),
      listen: address.default(':9965').describe('Address of /metrics'),
      handlers: z
        .array(z.string().min(1))
        .max(64)
        .superRefine(readable((handlers) => checkMetrics(handlers.join(' '))))
        .default([...DEFAULT_METRICS])
        .describe(
          'Hubble’s metric handlers with their options, as hubble.metrics.enabled; the default is ACNS’s shape',
        ),
      dynamicConfig: z
        .string()
        .startsWith('/', 'want an absolute path')
        .optional()
        .describe(
          'Hubble’s dynamic metrics file; when it is there its handlers stand in place of `handlers`, and it is read again when it changes',
        ),
      maxSeries: z
        .int()
        .min(1000)
        .max(10_000_000)
        .default(100_000)
        .describe('Series over all families; what is above goes to an overflow series and is counted'),
      openMetrics: z
        .boolean()
        .default(true)
        .describe('Answer in OpenMetrics, with exemplars, to scrapers that ask for it'),
      tls: tls.optional(),
    })
    .prefault({}),
  api: z
    .strictObject({
      listen: z
        .array(listenAddress)
        .max(16)
        .default(['unix:///var/run/sluice/hubble.sock', ':4244'])
        .describe('Addresses of Hubble’s gRPC API'),
      advertise: address
        .optional()
        .describe(
          'Address that hubble-relay is told to reach this node by. Default: the first TCP address of listen, with the node’s name where that has no host',
        ),
      socketMode: z
        .string()
        .regex(/^0?[0-7]{3}$/, 'want three octal digits, "660"')
        .default('660')
        .describe('Mode of unix sockets'),
      tls: tls.optional(),
      maxStreams: z
        .int()
        .min(1)
        .max(10_000)
        .default(DEFAULT_MAX_STREAMS)
        .describe('Streams answered at once, of 0.3 MB each; more are refused with RESOURCE_EXHAUSTED'),
    })
    .prefault({}),
  health: z
    .strictObject({
      listen: address.default('127.0.0.1:9964').describe('Address of /healthz and /readyz'),
    })
    .prefault({}),
  redact: z
    .strictObject({
      enabled: z.boolean().default(false).describe('Redact headers and URL queries of HTTP flows'),
      urlQuery: z.boolean().default(false),
      userInfo: z.boolean().default(true).describe('Passwords in URLs; in force also when enabled is false'),
      headersAllow: z.array(z.string()).max(256).default([]).describe('Headers kept; all others are redacted'),
      credentials: z
        .boolean()
        .default(true)
        .describe(
          'Redact authorization, cookie and API key headers whatever else is set, unless headersAllow names them',
        ),
      headersDeny: z.array(z.string()).max(256).default([]).describe('Headers redacted; all others are kept'),
    })
    .refine(
      (v) => v.headersAllow.length === 0 || v.headersDeny.length === 0,
      'give headersAllow or headersDeny, not both',
    )
    .prefault({}),
  agentLog: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .describe('Of the agent’s own log, on standard error'),
      format: z.enum(['json', 'text']).default('json'),
    })
    .prefault({}),
  telemetry: z
    .strictObject({
      otlpEndpoint: z
        .url({ protocol: /^https?$/ })
        .optional()
        .describe('Where the agent’s own traces and metrics go by OTLP/HTTP; off when not set'),
      interval: duration('1s', '1h').default('30s').describe('Between exports of own metrics'),
    })
    .prefault({}),
})

export type Config = z.output<typeof configSchema>

/** What was given besides the file: dotted keys to values, from the environment or from flags. */
export type Overrides = Readonly<Record<string, unknown>>

/**
 * Reads a configuration: file, then environment, then overrides; each later one wins.
 *
 * @throws SluiceError SLUICE_CONFIG_INVALID listing every mistake with file, line, key, value and what is wanted
 */
export function loadConfig(options: { path?: string; env?: NodeJS.ProcessEnv; overrides?: Overrides }): Config {
  const fromFile = options.path === undefined ? {} : readFile(options.path)
  const given: [string, unknown, string][] = [
    ...environmentKeys(options.env ?? process.env),
    ...Object.entries(options.overrides ?? {}).map(([key, value]): [string, unknown, string] => [key, value, 'flag']),
  ]
  let merged: Record<string, unknown> = fromFile
  for (const [key, value, origin] of given) merged = withKey(merged, key, value, origin)
  const result = configSchema.safeParse(merged)
  if (!result.success) {
    // The file alone was good, so what is wrong now came with the environment or a flag.
    const origins = new Map(given.map(([key, , origin]) => [key, origin]))
    const problems = describeIssues(result.error.issues, merged).map(({ path, text }) => {
      const origin = origins.get(path.slice(0, 2).join('.')) ?? 'environment or flag'
      return `  ${origin}: ${text}`
    })
    throw new SluiceError('SLUICE_CONFIG_INVALID', `Cannot use the configuration:\n${problems.join('\n')}`)
  }
  return result.data
}

/** The name flows carry. */
export function nodeNameOf(config: Config, env: NodeJS.ProcessEnv = process.env): string {
  return config.node.name ?? env['NODE_NAME'] ?? hostname()
}

function readFile(path: string): Record<string, unknown> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new SluiceError('SLUICE_CONFIG_INVALID', `Cannot read the configuration "${path}": ${errorText(error)}`, {
      cause: error,
    })
  }
  // Validated here for messages with lines; the raw values go on, so that overrides meet the same schema once more.
  parseYaml(text, configSchema, { file: path, code: 'SLUICE_CONFIG_INVALID', maxBytes: 1 << 20 })
  return parseYaml(text, z.record(z.string(), z.unknown()), { file: path, code: 'SLUICE_CONFIG_INVALID' })
}

/** Every leaf of the schema by its dotted path. */
export function configKeys(): Map<string, z.core.JSONSchema.BaseSchema> {
  const keys = new Map<string, z.core.JSONSchema.BaseSchema>()
  const walk = (schema: z.core.JSONSchema.BaseSchema, path: string) => {
    if (schema.properties && schema.type === 'object') {
      for (const [name, child] of Object.entries(schema.properties)) {
        if (typeof child === 'object') walk(child, path === '' ? name : `${path}.${name}`)
      }
      return
    }
    keys.set(path, schema)
  }
  walk(z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' }), '')
  return keys
}

/** `log.maxBackups` is SLUICE_LOG_MAX_BACKUPS. */
export function environmentName(key: string): string {
  return `SLUICE_${key
    .replace(/\./g, '_')
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .toUpperCase()}`
}

function environmentKeys(env: NodeJS.ProcessEnv): [string, unknown, string][] {
  const found: [string, unknown, string][] = []
  for (const key of configKeys().keys()) {
    const name = environmentName(key)
    const value = env[name]
    if (value !== undefined) found.push([key, value, name])
  }
  refuseUnknown(
    env,
    found.map(([, , name]) => name),
  )
  return found
}

/** What Kubernetes sets in every pod for a Service named sluice-log, sluice-api and so on. */
const SERVICE_LINK = /_(SERVICE_(HOST|PORT)|PORT)(_|$)/

/** A misspelt variable is a mistake like a misspelt key: names that begin as a section's do must be one of its keys. */
function refuseUnknown(env: NodeJS.ProcessEnv, known: readonly string[]): void {
  const sections = Object.keys(configSchema.shape).map((section) => `${environmentName(section)}_`)
  const unknown = Object.keys(env).filter(
    (name) => sections.some((section) => name.startsWith(section)) && !known.includes(name) && !SERVICE_LINK.test(name),
  )
  if (unknown.length === 0) return
  throw new SluiceError(
    'SLUICE_CONFIG_INVALID',
    `Cannot use the environment: ${unknown.slice(0, 20).join(', ')}: no such key; docs/config.md lists the variables`,
  )
}

/** A copy with one key set; text is turned into what the schema has at that place. */
function withKey(root: Record<string, unknown>, key: string, value: unknown, origin: string): Record<string, unknown> {
  const schema = configKeys().get(key)
  if (!schema) {
    throw new SluiceError(
      'SLUICE_CONFIG_INVALID',
      `Cannot set "${key}" (${origin}): not a known key; docs/config.md lists them`,
    )
  }
  const parts = key.split('.')
  const copy = structuredClone(root)
  let at = copy
  for (const part of parts.slice(0, -1)) {
    const next = at[part]
    at[part] = typeof next === 'object' && next !== null ? next : {}
    at = at[part] as Record<string, unknown>
  }
  at[parts.at(-1)!] = typeof value === 'string' ? fromText(value, schema) : value
  return copy
}

function fromText(text: string, schema: z.core.JSONSchema.BaseSchema): unknown {
  const takesBoolean = schema.type === 'boolean' || schema.enum?.includes(true) === true
  if (takesBoolean && (text === 'true' || text === 'false')) return text === 'true'
  if ((schema.type === 'integer' || schema.type === 'number') && /^-?\d+$/.test(text)) return Number(text)
  const list = schema.type === 'array' || schema.anyOf?.some((one) => typeof one === 'object' && one.type === 'array')
  if (list && text !== 'auto') {
    const items = text === '' ? [] : text.startsWith('[') ? parseList(text) : text.split(',').map((item) => item.trim())
    const kind = typeof schema.items === 'object' && !Array.isArray(schema.items) ? schema.items.type : undefined
    return kind === 'integer' ? items.map((item) => (/^\d+$/.test(String(item)) ? Number(item) : item)) : items
  }
  return text
}

function parseList(text: string): unknown[] {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) ? value : [text]
  } catch {
    return [text]
  }
}
