import { escapeLabel } from './text.ts'

/** OpenMetrics allows 128 characters for an exemplar's labels and values; a trace id has 32. */
const TRACE_ID_MAX = 64

/**
 * The latest traced observation of each line. Bounded by the number of lines; text is made at the scrape.
 */
export class Exemplars {
  readonly #byLine = new Map<number, { traceId: string; value: number; seconds: number; isNew: boolean }>()

  set(line: number, traceId: string, value: number, seconds: number): void {
    const known = this.#byLine.get(line)
    if (known === undefined) {
      this.#byLine.set(line, { traceId, value, seconds, isNew: true })
      return
    }
    known.traceId = traceId
    known.value = value
    known.seconds = seconds
    known.isNew = true
  }

  delete(first: number, count: number): void {
    for (let line = first; line < first + count; line++) this.#byLine.delete(line)
  }

  take(emit: (line: number, suffix: string) => void): void {
    for (const [line, exemplar] of this.#byLine) {
      if (!exemplar.isNew) continue
      exemplar.isNew = false
      const traceId = escapeLabel(exemplar.traceId.slice(0, TRACE_ID_MAX))
      emit(line, ` # {traceID="${traceId}"} ${exemplar.value} ${exemplar.seconds.toFixed(3)}`)
    }
  }
}
