import { Exemplars } from './exemplars.ts'
import { Family, type FamilyShared, type FamilySpec } from './family.ts'

/** A number per label set that only grows. */
export class CounterFamily extends Family {
  #exemplars: Exemplars | undefined

  /** @param exemplars whether increments may carry a trace id, which OpenMetrics shows */
  constructor(spec: FamilySpec, shared: FamilyShared, exemplars = false) {
    super('counter', 1, spec, shared)
    if (exemplars) this.#exemplars = new Exemplars()
  }

  /** Counts one of the label set in `key`. */
  increment(): void {
    const slot = this.slot()
    if (slot < 0) return
    this.values[slot] = this.values[slot]! + 1
  }

  /** Counts one that belongs to a trace. @param seconds when, since 1970 */
  incrementTraced(traceId: string, seconds: number): void {
    const slot = this.slot()
    if (slot < 0) return
    this.values[slot] = this.values[slot]! + 1
    this.#exemplars?.set(slot, traceId, 1, seconds)
  }

  protected override line(): { suffix: string; label: string } {
    return PLAIN_LINE
  }

  protected override get hasOwnOpenMetricsLines(): boolean {
    return this.#exemplars !== undefined
  }

  protected override takeSuffixes(emit: (line: number, suffix: string) => void): void {
    this.#exemplars?.take(emit)
  }

  protected override forget(slot: number): void {
    this.#exemplars?.delete(slot, 1)
  }
}

const PLAIN_LINE = { suffix: '', label: '' } as const
