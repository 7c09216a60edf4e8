import type { Endpoint } from './endpoint.ts'
import type { FlowContext, FlowView } from './flow-view.ts'
import type { StageLedger } from './ledger.ts'

/** Records that were lost before they became flows; Hubble's LostEvent. */
export interface LostRecords {
  /** flow.proto LostEventSource: 1 PERF_EVENT_RING_BUFFER (our kernel ring), 2 OBSERVER_EVENTS_QUEUE, 3 HUBBLE_RING_BUFFER. */
  readonly source: number
  readonly count: number
  /** CPU, or undefined when not known. */
  readonly cpu: number | undefined
  /** Wall clock, milliseconds since 1970. */
  readonly firstMs: number
  readonly lastMs: number
}

/**
 * The history: a ring of flows, numbered from 0 without gaps in order of arrival. The oldest are overwritten; a
 * reader that falls behind sees `first` pass its position and counts the difference as lost for itself.
 * Sequence numbers are integers below 2^53.
 */
export interface FlowStore {
  readonly context: FlowContext
  /** Flows that fit. */
  readonly capacity: number
  /** Sequence of the oldest flow held. */
  readonly first: number
  /** One past the newest. `end - first` flows are held; `end` flows were seen since start. */
  readonly end: number
  /** A cursor of the caller's own. */
  createView(): FlowView
  /** Moves a cursor to a flow. @param sequence first ≤ sequence < end, else the view shows another flow */
  seek(view: FlowView, sequence: number): void
  /**
   * First flow at or after a time. Flows are nearly, not strictly, in order of time (CPUs race by microseconds), so
   * this is exact up to that disorder, which the store bounds and allows for: nothing at or after the time is skipped.
   */
  lowerBound(secs: number, nanos: number): number
  /** Called after each block of flows was added: once per drain, not per flow. */
  onAppend(listener: () => void): Disposable
  /** Called when records were lost before the history. */
  onLost(listener: (lost: LostRecords) => void): Disposable
}

/**
 * Takes flows out of the node or counts them. Called with blocks of flows, never one by one; reads them with a view
 * of its own from the store; returns at once and never throws. A slow or broken exporter delays or loses its own
 * flows only, and counts each one it loses.
 */
export interface Exporter extends AsyncDisposable {
  /** `json-log`, `prometheus`, ...: unique, used in metrics, the ledger and the log. */
  readonly name: string
  /** Rejects with a SluiceError when it can never work as configured; transient trouble is retried inside. */
  start(signal: AbortSignal): Promise<void>
  /** Flows [first, end) of the store. Ends when the block is copied out: the caller may overwrite the slots after. */
  accept(store: FlowStore, first: number, end: number): void
  /** Ends when all that was accepted is delivered or counted as lost, at the latest after deadlineMs. */
  flush(deadlineMs: number): Promise<void>
  /**
   * All flows below this sequence are delivered, or lost and counted. The kernel's ring is released up to here and no
   * further, so that a killed agent finds the rest again. Exporters that keep nothing return `end`.
   */
  readonly settled: number
  readonly ledger: StageLedger
  /** What keeps it from delivering at present, in a few words: `disk_full`. Undefined when nothing does. */
  readonly trouble?: string | undefined
  /** What keeps it from its work on purpose: `off: no ContainerNetworkLog asks for it`. Undefined when nothing does. */
  readonly state?: string | undefined
}

/** What a component tells of itself at a scrape; names are complete (`sluice_log_lines_total`), labels from closed sets. */
export interface TelemetrySink {
  counter(name: string, help: string, value: number, labels?: Readonly<Record<string, string>>): void
  gauge(name: string, help: string, value: number, labels?: Readonly<Record<string, string>>): void
}

export interface TelemetrySource {
  collect(sink: TelemetrySink): void
}

/** A pod, node or service came, changed or went. */
export interface EndpointEvent {
  readonly kind: 'created' | 'updated' | 'deleted'
  readonly endpoint: Endpoint
}

/**
 * Where names come from: a static file in the lab, the Kubernetes API in a cluster. Pushes versions of endpoints
 * into the collector's tables; knows nothing of records.
 */
export interface MetadataSource extends AsyncDisposable {
  readonly name: string
  /** Ends when the first complete state is known or cannot be had; goes on following changes until disposed. */
  start(sink: MetadataSink, signal: AbortSignal): Promise<void>
}

/** Facts about one pod, as a metadata source knows them. */
export interface PodFacts {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  /** Addresses in text form, IPv4 and IPv6. */
  readonly ips: readonly string[]
  /** Pod labels, `key` to `value`, without Hubble's source prefix. */
  readonly labels: Readonly<Record<string, string>>
  readonly namespaceLabels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  readonly workload: { readonly name: string; readonly kind: string } | undefined
  readonly nodeName: string
  readonly hostNetwork: boolean
}

export interface NodeFacts {
  readonly name: string
  readonly ips: readonly string[]
  readonly labels: Readonly<Record<string, string>>
}

/** An address and port behind a service. */
export interface BackendFacts {
  readonly ip: string
  readonly port: number
  readonly protocol: 'TCP' | 'UDP' | 'SCTP'
}

export interface ServiceFacts {
  readonly namespace: string
  readonly name: string
  readonly ips: readonly string[]
  readonly ports: readonly { readonly port: number; readonly protocol: 'TCP' | 'UDP' | 'SCTP' }[]
  /** Behind it and no pod's own: of services without selector, and of pods with their node's network. */
  readonly backends?: readonly BackendFacts[] | undefined
}

export interface CidrFacts {
  readonly cidr: string
  readonly labels: readonly string[]
}

export interface MetadataSink {
  upsertPod(pod: PodFacts): void
  deletePod(namespace: string, name: string): void
  upsertNode(node: NodeFacts): void
  deleteNode(name: string): void
  upsertService(service: ServiceFacts): void
  deleteService(namespace: string, name: string): void
  /** Replaces all named ranges outside the cluster. */
  setCidrs(cidrs: readonly CidrFacts[]): void
}
