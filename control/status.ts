import type { CompiledResource } from '../filters/resources/compile.ts'
import type { ResourceStatus, StatusCondition, StatusReason } from './resource.ts'
import type { Checked } from './resource-book.ts'

/** What is to be told of a resource, before times. */
export interface Outcome {
  readonly reason: StatusReason
  readonly message: string
  readonly warnings: readonly string[]
  readonly filters: number
  readonly isAccepted: boolean
  /** metadata.generation that this is about. */
  readonly generation: number
}

/** Longest message, characters: a status is part of an object that is watched by many. */
const MAX_MESSAGE = 16_384

/**
 * @param detail of what keeps it from being in force, for reasons that are not the document's own
 * @param inForce what of the resource is in force
 */
export function outcomeOf(
  reason: StatusReason,
  checked: Checked | undefined,
  detail = '',
  inForce?: CompiledResource,
): Outcome {
  const mistakes = checked?.mistakes ?? []
  const isAccepted = mistakes.length === 0
  const filters = inForce === undefined ? 0 : filterCount(inForce)
  const lines = [...mistakes]
  if (detail !== '') lines.unshift(detail)
  if (reason === 'Configured' && inForce !== undefined) lines.push(inForceText(inForce))
  else if (inForce !== undefined) lines.push('What it said before stays in force.')
  const message = lines.join('\n')
  return {
    reason,
    message: message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 1)}…` : message,
    warnings: checked?.warnings ?? [],
    filters,
    isAccepted,
    generation: checked?.generation ?? 0,
  }
}

function filterCount(resource: CompiledResource): number {
  return resource.groups.reduce((sum, { include, exclude }) => sum + include.length + exclude.length, 0)
}

/** `3 filters in force: flow 2, drop 1` */
function inForceText(resource: CompiledResource): string {
  const count = filterCount(resource)
  const parts = resource.groups.map(
    ({ consumer, include, exclude }) => `${consumer.replace(/^metric\//, '')} ${include.length + exclude.length}`,
  )
  return `${count} ${count === 1 ? 'filter' : 'filters'} in force: ${parts.join(', ')}`
}

/**
 * The status of an outcome, with the times of the one before where nothing changed.
 *
 * @param now milliseconds since 1970
 */
export function statusOf(outcome: Outcome, before: ResourceStatus | undefined, now: number): ResourceStatus {
  const { generation } = outcome
  const isConfigured = outcome.reason === 'Configured'
  const state = isConfigured ? 'CONFIGURED' : 'FAILED'
  const time = `${new Date(now).toISOString().slice(0, 19)}Z`
  const isUnchanged = before?.state === state && before.observedGeneration === generation
  const condition = (type: StatusCondition['type'], holds: boolean): StatusCondition => {
    const status = holds ? 'True' : 'False'
    const old = before?.conditions.find((one) => one.type === type)
    return {
      type,
      status,
      reason: outcome.reason,
      message: outcome.message,
      lastTransitionTime: old?.status === status ? old.lastTransitionTime : time,
      observedGeneration: generation,
    }
  }
  return {
    state,
    reason: outcome.reason,
    message: outcome.message,
    warnings: outcome.warnings,
    observedGeneration: generation,
    filters: outcome.filters,
    timestamp: isUnchanged ? before.timestamp : time,
    conditions: [condition('Accepted', outcome.isAccepted), condition('Applied', isConfigured)],
  }
}

/** Does anything but times differ? */
export function sameStatus(a: ResourceStatus, b: ResourceStatus): boolean {
  return (
    a.state === b.state &&
    a.reason === b.reason &&
    a.message === b.message &&
    a.observedGeneration === b.observedGeneration &&
    a.filters === b.filters &&
    a.warnings.join('\n') === b.warnings.join('\n')
  )
}
