import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { KubernetesMetadata } from '../collector/metadata/kubernetes.ts'
import { ConfigMaps } from '../control/config-maps.ts'
import { KubernetesResourceSource } from '../control/kubernetes-source.ts'
import { ElectedLeadership, type Leadership, NO_LEADERSHIP } from '../control/leadership.ts'
import { ApiClient, clusterAccess, isInCluster } from '../kubernetes/index.ts'
import type { TelemetrySource } from '../model/contracts.ts'
import type { Config } from './config.ts'
import { sluiceVersion } from './version.ts'

/** Agents of one cluster and instance are candidates for one Lease. */
const LEASE_NAME = 'sluice-agent'

/** All that speaks with the Kubernetes API: names, filter resources and their status. */
export class KubernetesPart implements AsyncDisposable {
  readonly metadata: KubernetesMetadata
  readonly resources: KubernetesResourceSource
  /** Shows the filters in force; undefined where this agent is to write nothing. */
  readonly configMaps: ConfigMaps | undefined
  /** Base address of the API server. */
  readonly server: string
  readonly #client: ApiClient
  readonly #elected: ElectedLeadership | undefined

  private constructor(client: ApiClient, config: Config, identity: string, log: Logger) {
    const { server, namespace } = client.access
    this.#client = client
    this.server = server.origin
    if (config.kubernetes.writeStatus) {
      this.#elected = new ElectedLeadership({ client, namespace, name: LEASE_NAME, identity, log })
      this.configMaps = new ConfigMaps({ client, namespace, leadership: this.#elected, log })
    }
    const leadership: Leadership = this.#elected ?? NO_LEADERSHIP
    this.metadata = new KubernetesMetadata({ client, log: log.child({ part: 'metadata' }) })
    this.resources = new KubernetesResourceSource({ client, leadership, log })
  }

  /**
   * The part that the configuration asks for, undefined when it asks for none.
   *
   * @param nodeName tells this agent from the others
   * @throws SluiceError SLUICE_KUBERNETES_CONFIG when there is no way to an API server
   */
  static async make(config: Config, nodeName: string, log: Logger): Promise<KubernetesPart | undefined> {
    const { enabled, kubeconfig, context, namespace } = config.kubernetes
    if (enabled === false || (enabled === 'auto' && kubeconfig === undefined && !isInCluster())) return undefined
    const own = log.child({ part: 'kubernetes' })
    const access = await clusterAccess({ kubeconfig, context, namespace, log: own }).catch((error: unknown) => {
      // A pod without a service account's token: nobody asked for Kubernetes, so the agent does without.
      if (enabled !== 'auto' || kubeconfig !== undefined) throw error
      own.warn({ err: errorText(error) }, 'in a cluster without access to its API: no names and filters from there')
      return undefined
    })
    if (access === undefined) return undefined
    const client = new ApiClient(access, { userAgent: `sluice/${sluiceVersion()}` })
    return new KubernetesPart(client, config, process.env['POD_NAME'] ?? nodeName, own)
  }

  /** Becomes a candidate for writing statuses. */
  start(): void {
    this.#elected?.start()
  }

  telemetry(): TelemetrySource[] {
    return [this.metadata, this.resources, this.configMaps, this.#elected].filter((one) => one !== undefined)
  }

  /** What was started by others, metadata and resources, they dispose of. The Lease is let go last. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.configMaps?.[Symbol.asyncDispose]()
    await this.#elected?.[Symbol.asyncDispose]()
    this.#client[Symbol.dispose]()
  }
}
