import type { MaskTree } from './field-mask.ts'

/** Of a field: not wanted, wanted, or wanted in part (then its tree is in `parts`). */
export const NONE = 0
export const ALL = 1
export const PART = 2

/** Numbers of flow.Flow's fields that Sluice fills. */
export const FLOW_FIELD = {
  time: 1,
  verdict: 2,
  dropReason: 3,
  ethernet: 4,
  ip: 5,
  l4: 6,
  source: 8,
  destination: 9,
  type: 10,
  nodeName: 11,
  sourceNames: 13,
  destinationNames: 14,
  l7: 15,
  reply: 16,
  eventType: 19,
  sourceService: 20,
  destinationService: 21,
  direction: 22,
  point: 24,
  dropReasonDesc: 25,
  isReply: 26,
  networkInterface: 28,
  traceContext: 30,
  uuid: 34,
  traceReason: 36,
  nodeLabels: 37,
  emitter: 41,
  extDropReason: 43,
  summary: 100000,
} as const

export type FlowFieldName = keyof typeof FLOW_FIELD

/** NONE, ALL or PART for each field that Sluice fills. */
export type FlowFieldSet = Readonly<Record<FlowFieldName, number>> & {
  readonly parts: ReadonlyMap<number, MaskTree>
  /** Message fields that no flow of ours has and of which a part is wanted: sent, and empty. */
  readonly absent: readonly number[]
}

/** @param mask undefined: every field */
export function flowFields(mask: MaskTree | undefined): FlowFieldSet {
  const parts = new Map<number, MaskTree>()
  const absent: number[] = []
  const known = new Set<number>(Object.values(FLOW_FIELD))
  for (const [number, node] of mask ?? []) {
    if (node.parts === undefined) continue
    parts.set(number, node.parts)
    if (!known.has(number)) absent.push(number)
  }
  const wanted = (number: number): number => {
    if (mask === undefined) return ALL
    const node = mask.get(number)
    return node === undefined ? NONE : node.parts === undefined ? ALL : PART
  }
  const entries = Object.entries(FLOW_FIELD).map(([name, number]) => [name, wanted(number)])
  // Every name of FLOW_FIELD is in `entries`, which Object.fromEntries cannot express.
  return { ...(Object.fromEntries(entries) as Record<FlowFieldName, number>), parts, absent }
}
