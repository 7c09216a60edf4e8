import { Exemplars } from './exemplars.ts'
import { Family, type FamilyShared, type FamilySpec } from './family.ts'
import { boundText, type Format } from './text.ts'

/** Prometheus' default bounds, seconds; the last is +Inf. */
export const SECONDS_BOUNDS: readonly number[] = [
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
  Number.POSITIVE_INFINITY,
]

/** Buckets (cumulative, as they are exposed), sum and count per label set. */
export class HistogramFamily extends Family {
  readonly #bounds: readonly number[]
  readonly #exemplars: Exemplars | undefined

  /** @param exemplars whether observations may carry a trace id @param bounds ascending, the last +Inf */
  constructor(spec: FamilySpec, shared: FamilyShared, exemplars = false, bounds = SECONDS_BOUNDS) {
    super('histogram', bounds.length + 2, spec, shared)
    this.#bounds = bounds
    this.#exemplars = exemplars ? new Exemplars() : undefined
  }

  /** Counts a value under the label set in `key`. @param traceId empty for none @param seconds when, since 1970 */
  observe(value: number, traceId: string, seconds: number): void {
    const slot = this.slot()
    if (slot < 0) return
    const first = slot * this.fields
    const bounds = this.#bounds
    let bucket = 0
    while (value > bounds[bucket]!) bucket++
    for (let i = bucket; i < bounds.length; i++) this.values[first + i] = this.values[first + i]! + 1
    const sum = first + bounds.length
    this.values[sum] = this.values[sum]! + value
    this.values[sum + 1] = this.values[sum + 1]! + 1
    if (traceId !== '') this.#exemplars?.set(first + bucket, traceId, value, seconds)
  }

  protected override line(field: number, format: Format): { suffix: string; label: string } {
    const bound = this.#bounds[field]
    if (bound !== undefined) return { suffix: '_bucket', label: `le="${boundText(bound, format)}"` }
    return { suffix: field === this.#bounds.length ? '_sum' : '_count', label: '' }
  }

  protected override get hasOwnOpenMetricsLines(): boolean {
    return true
  }

  protected override takeSuffixes(emit: (line: number, suffix: string) => void): void {
    this.#exemplars?.take(emit)
  }

  protected override forget(slot: number): void {
    this.#exemplars?.delete(slot * this.fields, this.fields)
  }
}
