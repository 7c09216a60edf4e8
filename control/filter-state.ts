import type { ResourceRef, ResourceStatus } from './resource.ts'
import type { SourceState } from './source-set.ts'

/** A resource and what became of it. */
export interface ToldResource {
  readonly source: string
  readonly ref: ResourceRef
  /** Undefined until it was looked at. */
  readonly status: ResourceStatus | undefined
}

/** How a FilterControl is doing. */
export interface FilterControlState {
  /** Number of the set in force; 0 before the first. */
  readonly generation: number
  /** Milliseconds since 1970; 0 before the first. */
  readonly appliedAt: number
  /** How long it took to put the set into force, milliseconds. */
  readonly tookMs: number
  /** Changes are on their way. */
  readonly isPending: boolean
  /** Why the newest rules are not in force; '' when they are. */
  readonly lastError: string
  readonly sources: readonly SourceState[]
  readonly resources: readonly ToldResource[]
  readonly liveQueries: number
}
