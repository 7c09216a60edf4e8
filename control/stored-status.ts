import { createHash } from 'node:crypto'
import type { ResourceStatus, StatusCondition } from './resource.ts'

/** What is kept of a status that is stored with its resource: enough to tell whether another one differs from it. */
export interface StoredStatus {
  readonly state: string
  readonly timestamp: string
  readonly observedGeneration: number
  /** Status of each condition and when it became that, by type. */
  readonly conditions: ReadonlyMap<string, { readonly status: string; readonly lastTransitionTime: string }>
  readonly digest: string
}

/** As the definitions of the kinds bound them; the API server refuses a status with longer ones. */
const MAX_MESSAGE = 32_768
const MAX_WARNING = 2048
const MAX_WARNINGS = 21
/** Conditions of a stored status that are looked at. */
const MAX_CONDITIONS = 8

export const NO_STATUS: StoredStatus = {
  state: '',
  timestamp: '',
  observedGeneration: -1,
  conditions: new Map(),
  digest: digestOf(undefined),
}

/** @param value `status` of a resource: anything */
export function storedStatus(value: unknown): StoredStatus {
  if (typeof value !== 'object' || value === null) return NO_STATUS
  const { state, timestamp, observedGeneration, conditions } = value as Record<string, unknown>
  const found = new Map<string, { status: string; lastTransitionTime: string }>()
  for (const condition of Array.isArray(conditions) ? conditions.slice(0, MAX_CONDITIONS) : []) {
    const { type, status, lastTransitionTime } = (condition ?? {}) as Record<string, unknown>
    if (typeof type !== 'string') continue
    found.set(type, { status: text(status), lastTransitionTime: text(lastTransitionTime) })
  }
  return {
    state: text(state),
    timestamp: text(timestamp),
    observedGeneration: typeof observedGeneration === 'number' ? observedGeneration : -1,
    conditions: found,
    digest: digestOf(value),
  }
}

/**
 * The status to be stored in place of another: as it is told, but with the times of states and conditions that have
 * not changed, so that an agent that starts, or leads from now on, does not say that everything has just happened.
 */
export function statusOver(stored: StoredStatus, status: ResourceStatus): object {
  const isSame = stored.state === status.state && stored.observedGeneration === status.observedGeneration
  return {
    state: status.state,
    reason: status.reason,
    message: clipped(status.message, MAX_MESSAGE),
    warnings: status.warnings.slice(0, MAX_WARNINGS).map((warning) => clipped(warning, MAX_WARNING)),
    observedGeneration: status.observedGeneration,
    filters: status.filters,
    timestamp: isSame && stored.timestamp !== '' ? stored.timestamp : status.timestamp,
    conditions: status.conditions.map((condition) => conditionOver(stored, condition)),
  }
}

function conditionOver(stored: StoredStatus, condition: StatusCondition): object {
  const before = stored.conditions.get(condition.type)
  const isSame = before?.status === condition.status && before.lastTransitionTime !== ''
  return {
    type: condition.type,
    status: condition.status,
    reason: condition.reason,
    message: clipped(condition.message, MAX_MESSAGE),
    lastTransitionTime: isSame ? before.lastTransitionTime : condition.lastTransitionTime,
    observedGeneration: condition.observedGeneration,
  }
}

/** Equal for equal values, whatever the order of their keys. */
export function digestOf(value: unknown): string {
  const sorted = JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
  return createHash('sha256')
    .update(sorted ?? '')
    .digest('base64url')
}

function clipped(value: string, max: number): string {
  return value.length > max ? `${value.slice(0, max - 3)}...` : value
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
