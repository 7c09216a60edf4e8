/**
 * What filter resources are to this folder, wherever they come from: a directory, the Kubernetes API.
 */

/** Names a resource within its source. The kinds are cluster-scoped: no namespace. */
export interface ResourceRef {
  /** `ContainerNetworkMetric`, `ContainerNetworkLog`, `RetinaNetworkFlowLog` */
  readonly kind: string
  /** metadata.name */
  readonly name: string
}

/** One version of a resource as its source has it: parsed, not checked. */
export interface ResourceDocument {
  readonly ref: ResourceRef
  /** metadata.uid; '' where the source has none. Another uid under the same name is another resource. */
  readonly uid: string
  /** metadata.generation; 0 where the source has none. */
  readonly generation: number
  /** The whole document as JSON values: apiVersion, kind, metadata, spec. Anything, not to be trusted, never changed. */
  readonly value: unknown
  /** File that it was read from, '' for none; stands before the line in messages. */
  readonly file: string
  /** Line of a value in the file, from 1; undefined when it is not known. */
  lineOf?(path: readonly PropertyKey[]): number | undefined
}

/** Takes what a source finds. Calls are cheap: what they cause is done later, and a flood of them is coalesced. */
export interface ResourceSink {
  /** A resource is there for the first time, or in another version. The same version again changes nothing. */
  upsert(document: ResourceDocument): void
  /** A resource is gone; one that was never there changes nothing. */
  remove(ref: ResourceRef): void
  /** The first complete state has been told. */
  synced(): void
  /**
   * What keeps a part of the source from being used at present, `/etc/filters/a.yaml:3: ...`; undefined when nothing
   * does any more. Resources told before stay in force.
   *
   * @param part from what the source is made of: a file, a kind
   */
  trouble(part: string, text: string | undefined): void
}

/** Where filter resources come from. */
export interface ResourceSource extends AsyncDisposable {
  /** `directory`, `kubernetes`: unique among the sources in use. */
  readonly name: string
  /**
   * Ends when the first state was told or cannot be had for now; goes on following changes until it is disposed of or
   * the signal aborts.
   *
   * @throws SluiceError when it can never work as configured
   */
  start(sink: ResourceSink, signal: AbortSignal): Promise<void>
  /**
   * Tells what became of a resource; called when the status changed, for resources that are there. Returns at once and
   * never throws: a source that writes it somewhere does so later, the newest alone.
   */
  setStatus(ref: ResourceRef, status: ResourceStatus): void
}

export type ResourceState = 'CONFIGURED' | 'FAILED'

/** Why a state is what it is: values of `reason`. */
export type StatusReason =
  /** In force. */
  | 'Configured'
  /** The document is wrong; what it said before, if anything, stays in force. */
  | 'Invalid'
  /** Well formed, but another resource stands in its place. */
  | 'Ignored'
  /** More resources or rules than there is room for. */
  | 'LimitExceeded'
  /** The rules could not be put into force; those before stay, and it is tried again. */
  | 'ApplyFailed'

/** The status of a resource, in the manner of ACNS, with conditions in Kubernetes' manner. */
export interface ResourceStatus {
  readonly state: ResourceState
  readonly reason: StatusReason
  /** One or more lines for people. */
  readonly message: string
  /** What is accepted and hardly meant; at most 20. */
  readonly warnings: readonly string[]
  /** metadata.generation that all this is about; 0 where there is none. */
  readonly observedGeneration: number
  /** Filters in force that come from this resource. */
  readonly filters: number
  /** When the state became what it is, RFC 3339 in whole seconds. */
  readonly timestamp: string
  readonly conditions: readonly StatusCondition[]
}

export interface StatusCondition {
  /** `Accepted`: the document is well formed. `Applied`: its rules are in force. */
  readonly type: 'Accepted' | 'Applied'
  readonly status: 'True' | 'False'
  readonly reason: StatusReason
  readonly message: string
  /** When `status` last changed, RFC 3339 in whole seconds. */
  readonly lastTransitionTime: string
  readonly observedGeneration: number
}
