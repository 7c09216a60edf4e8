import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseAllDocuments } from 'yaml'
import { kubernetesTool } from '../helpers/kubernetes-tools.ts'

const run = promisify(execFile)

export type Chart = 'sluice' | 'sluice-crds'

/** A Kubernetes object, as far as tests look into it. */
// biome-ignore lint/suspicious/noExplicitAny: of any kind, and a wrong path fails the test that takes it
export type Rendered = any

/** Nested values, as in a values file. */
export type Values = Readonly<Record<string, unknown>>

/**
 * Runs helm with a values file and the given arguments; what it says on standard error comes with the error.
 *
 * @throws Error when it exits with another code than 0
 */
export async function helm(args: readonly string[], values: Values = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-chart-'))
  try {
    const file = join(folder, 'values.yaml')
    // As JSON, which YAML 1.1 and 1.2 read alike.
    await writeFile(file, JSON.stringify(values))
    const home = {
      HELM_CACHE_HOME: folder,
      HELM_CONFIG_HOME: folder,
      HELM_DATA_HOME: folder,
      KUBECONFIG: '/nonexistent',
    }
    const { stdout } = await run(await kubernetesTool('helm'), [...args, '--values', file], {
      maxBuffer: 1 << 26,
      env: { PATH: process.env['PATH'] ?? '', HOME: folder, ...home },
    })
    return stdout
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** All objects that a chart makes, in namespace `net` for a release `sluice`. */
export async function render(values: Values = {}, chart: Chart = 'sluice', args: readonly string[] = []) {
  const text = await helm(['template', 'sluice', `deploy/helm/${chart}`, '--namespace', 'net', ...args], values)
  return new Release(text)
}

/** The objects of a manifest. */
export class Release {
  readonly objects: readonly Rendered[]

  /** @throws Error when a document is no YAML, or has a key twice */
  constructor(text: string) {
    this.objects = parseAllDocuments(text)
      .map((document) => {
        if (document.errors.length > 0) throw document.errors[0]
        return document.toJS() as Rendered
      })
      .filter((object) => object !== null)
  }

  /** `kind/name` of each, sorted. */
  get names(): string[] {
    return this.objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`).sort()
  }

  of(kind: string): Rendered[] {
    return this.objects.filter((object) => object.kind === kind)
  }

  /** @throws Error when it is not there */
  get(kind: string, name: string): Rendered {
    const found = this.of(kind).find(({ metadata }) => metadata.name === name)
    if (!found) throw new Error(`No ${kind} ${name} in ${this.names.join(', ')}`)
    return found
  }

  has(kind: string, name: string): boolean {
    return this.names.includes(`${kind}/${name}`)
  }

  /** Pod templates by the name of what makes them. */
  get pods(): {
    readonly name: string
    readonly labels: Rendered
    readonly annotations: Rendered
    readonly spec: Rendered
  }[] {
    return [...this.of('DaemonSet'), ...this.of('Deployment')].map(({ metadata, spec }) => ({
      name: metadata.name,
      labels: spec.template.metadata.labels,
      annotations: spec.template.metadata.annotations,
      spec: spec.template.spec,
    }))
  }

  /** The agent's container. */
  get agent(): Rendered {
    return this.get('DaemonSet', 'sluice').spec.template.spec.containers[0]
  }

  /** Text of the agent's configuration. */
  get config(): string {
    return this.get('ConfigMap', 'sluice-config').data['config.yaml']
  }
}

/** Directories of the node that a pod mounts, sorted. */
export function hostPaths(spec: Rendered): string[] {
  return spec.volumes.flatMap(({ hostPath }: Rendered) => (hostPath ? [hostPath.path] : [])).sort()
}

/** Where a container has mounts. */
export function mountPaths(container: Rendered): string[] {
  return container.volumeMounts.map(({ mountPath }: Rendered) => mountPath)
}

/** Environment of a container; what comes from the pod's fields has the field's name as value. */
export function envOf(container: Rendered): Record<string, string> {
  return Object.fromEntries(
    container.env.map(({ name, value, valueFrom }: Rendered) => [name, value ?? valueFrom.fieldRef.fieldPath]),
  )
}

/** Values that switch on everything that can be on at once. */
export const EVERYTHING: Values = {
  config: { node: { clusterName: 'prod.eu' }, log: { enabled: true, path: '/var/log/flows/flows.json' } },
  image: { repository: 'registry.example.com/sluice', digest: `sha256:${'a'.repeat(64)}` },
  imagePullSecrets: [{ name: 'pull' }],
  filterFiles: { 'log.yaml': 'apiVersion: acn.azure.com/v1alpha1\nkind: ContainerNetworkLog\n' },
  dynamicMetrics: [{ name: 'flow', contextOptions: [{ name: 'sourceContext', values: ['pod'] }] }],
  env: [{ name: 'SLUICE_KERNEL_DNS_PORTS', value: '53,5353' }],
  capabilities: { sysAdmin: true, syslog: true },
  chownHostDirectories: 'always',
  appArmorProfile: { type: 'RuntimeDefault' },
  seLinuxOptions: { type: 'spc_t' },
  nodeSelector: { pool: 'a' },
  affinity: { nodeAffinity: {} },
  podAnnotations: { a: 'b' },
  podLabels: { 'k8s-app': 'sluice' },
  extraVolumes: [{ name: 'more', emptyDir: {} }],
  extraVolumeMounts: [{ name: 'more', mountPath: '/more' }],
  serviceAccount: { annotations: { a: 'b' } },
  metrics: {
    service: { annotations: { a: 'b' }, labels: { c: 'd' } },
    serviceMonitor: { enabled: true, labels: { e: 'f' } },
  },
  peerService: { annotations: { a: 'b' } },
  tls: {
    api: { enabled: true },
    metrics: { enabled: true, clientAuth: true },
    relayServer: { enabled: true },
    certManager: { enabled: true, issuerRef: { name: 'ca' } },
  },
  relay: { enabled: true, extraConfig: { 'sort-buffer-len-max': 1000 }, tolerations: [{ operator: 'Exists' }] },
  ui: { enabled: true, tolerations: [{ operator: 'Exists' }] },
  networkPolicy: { enabled: true, relayFrom: [{ namespaceSelector: {} }] },
}
