import type { ConsumerInterest } from '../../../filters/rules.ts'
import type { Endpoint } from '../../../model/endpoint.ts'
import type { FlowView } from '../../../model/flow-view.ts'
import { EventKind } from '../../../model/layouts.gen.ts'
import type { ContextLabeler } from '../context/labeler.ts'
import type { CounterFamily } from '../series/counter.ts'
import type { Family, LabelSpec, WordKind } from '../series/family.ts'
import type { HistogramFamily } from '../series/histogram.ts'
import type { ValueTable } from '../series/value-table.ts'

/** One enabled metric: counts flows into its families. Hot: called for every flow, allocates nothing. */
export interface MetricHandler {
  readonly families: readonly Family[]
  count(view: FlowView): void
}

/** A family as a handler describes it; the words and labels of the context options are added by the kit. */
export interface FamilyShape {
  readonly name: string
  readonly help: string
  /** Words of the key that the handler fills, from 0; the context's follow. */
  readonly words: readonly WordKind[]
  readonly labels: readonly LabelSpec[]
  /** Whether the context's labels are written before the handler's own. */
  readonly contextFirst: boolean
}

/** What a handler is made of. */
export interface HandlerKit {
  readonly options: ReadonlyMap<string, readonly string[]>
  readonly context: ContextLabeler
  /** Numbers of label values; call `intern` only for what the record holds as text. */
  readonly values: ValueTable
  /** A question about an endpoint, answered 0 or 1, asked once per endpoint version. @param key names the question */
  endpointFlag(key: string, ask: (endpoint: Endpoint) => boolean): (view: FlowView, ref: number) => number
  counter(shape: FamilyShape, exemplars?: boolean): CounterFamily
  histogram(shape: FamilyShape, exemplars?: boolean): HistogramFamily
}

/** A handler that can be switched on. */
export interface HandlerDefinition {
  readonly name: string
  /** One sentence for the reference: when it counts. */
  readonly counts: string
  /** What it can count whatever its options: a superset, so that the kernel may keep back the rest. */
  readonly interest: ConsumerInterest
  /** Options of its own beside the context options, and what each does. */
  readonly options?: Readonly<Record<string, string>>
  /** Labels source and destination from the other end: the handler reads responses and tells of requests. */
  readonly swapsEnds?: true
  /** Handlers that write the same families. */
  readonly conflictsWith?: readonly string[]
  create(kit: HandlerKit): MetricHandler
}

/** Bits of ConsumerInterest.kinds. */
export const KIND = {
  FLOW: 1 << EventKind.KIND_FLOW,
  TCP_FLAG: 1 << EventKind.KIND_TCP_FLAG,
  DROP: 1 << EventKind.KIND_DROP,
  DNS: 1 << EventKind.KIND_DNS,
  HTTP: 1 << EventKind.KIND_HTTP,
} as const

/** A label that is a word of the ValueTable. */
export function valueLabel(name: string, word: number): LabelSpec {
  return { name, word, text: String }
}

/** A label whose word is a decimal. */
export function numberLabel(name: string, word: number): LabelSpec {
  return { name, word, text: String }
}
