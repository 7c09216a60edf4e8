import { setTimeout as sleep } from 'node:timers/promises'
import { type Logger, silentLogger } from '../../base/logger.ts'
import type { ReflectorState } from '../../kubernetes/index.ts'
import { collectReflector } from '../../kubernetes/telemetry.ts'
import type { MetadataSink, MetadataSource, TelemetrySink, TelemetrySource } from '../../model/contracts.ts'
import { type KubernetesMetadataOptions, KubernetesParts } from './kubernetes-parts.ts'

export type { KubernetesMetadataOptions }

/** An agent starts without names after so long: flows matter more. */
const DEADLINE_MS = 5000

/**
 * Names of pods, nodes and services from the Kubernetes API, of the whole cluster, as both ends of a flow are to be
 * named. Follows changes until disposed; while the API server cannot be reached what is known stays in use.
 *
 * Needs list and watch for pods, namespaces, nodes, services; and, where it may: endpointslices, replicasets, jobs.
 * Without the last two the names of ReplicaSets and Jobs tell their Deployments and CronJobs.
 */
export class KubernetesMetadata implements MetadataSource, TelemetrySource {
  readonly name = 'kubernetes'
  readonly #options: KubernetesMetadataOptions
  readonly #log: Logger
  #parts: KubernetesParts | undefined
  #stopped: Promise<void> | undefined

  constructor(options: KubernetesMetadataOptions) {
    this.#options = options
    this.#log = options.log ?? silentLogger
  }

  /** Resolves when everything is listed, or at the deadline; never rejects for an API server that does not answer. */
  async start(sink: MetadataSink, signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.#stopped !== undefined) return
    const parts = new KubernetesParts(this.#options, sink, this.#log)
    this.#parts = parts
    signal.addEventListener('abort', () => void this[Symbol.asyncDispose](), { once: true })
    const begun = performance.now()
    const { deadlineMs = DEADLINE_MS } = this.#options
    const deadline = new AbortController()
    const late = sleep(deadlineMs, undefined, { signal: deadline.signal, ref: false }).catch(() => {})
    await Promise.race([parts.begin(), late])
    deadline.abort()
    const fields = { ms: Math.round(performance.now() - begun), ...this.details() }
    if (this.synced) this.#log.info(fields, 'metadata from Kubernetes is in force')
    else this.#log.warn({ ...fields, err: this.lastError }, 'starting without all metadata from Kubernetes')
  }

  /** Pods, namespaces, nodes and services are known in full. */
  get synced(): boolean {
    return this.#parts?.required.every(({ state }) => state.synced) ?? false
  }

  /** What keeps it from being up to date at present; empty when nothing does. */
  get lastError(): string {
    const found = this.#parts?.required.map(({ state }) => state.lastError).find((text) => text !== '')
    return found ?? (this.#parts === undefined || this.synced ? '' : 'not everything has been listed yet')
  }

  /** For `sluice status`. */
  details(): Record<string, number | boolean | string> {
    const parts = this.#parts
    if (parts === undefined) return { synced: false }
    const unread = parts.optional.filter(({ state }) => !state.synced).map(({ state }) => state.resource)
    return {
      synced: this.synced,
      pods: parts.pods.store.size,
      pods_without_address: parts.table.waiting,
      namespaces: parts.namespaces.store.size,
      nodes: parts.nodes.store.size,
      services: parts.services.store.size,
      refused: parts.all.reduce((sum, { state }) => sum + state.refused, 0),
      ...(unread.length === 0 ? {} : { not_read: unread.join(' ') }),
    }
  }

  /** How each resource is. */
  states(): readonly ReflectorState[] {
    return this.#parts?.all.map(({ state }) => state) ?? []
  }

  collect(sink: TelemetrySink): void {
    for (const state of this.states()) collectReflector(state, sink)
    const help = 'Times that token and CA were read again as the API server refused the last ones'
    sink.counter('sluice_kubernetes_credential_renewals_total', help, this.#options.client.renewals)
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stopped ??= this.#parts?.stop() ?? Promise.resolve()
    return this.#stopped
  }
}
