import { TimeSlice } from '../../base/time-slice.ts'
import { type MetricSpec, parseMetrics } from '../../exporters/prometheus/context/options.ts'
import { MetricSet, type MetricSetOptions } from '../../exporters/prometheus/metric-set.ts'
import { FamilyRenderer, PartPool, ScrapeText } from '../../exporters/prometheus/render.ts'
import type { Format } from '../../exporters/prometheus/series/text.ts'
import { type FlowSpec, TestFlowStore } from './flow-store.ts'

/** A metric set that counts everything pushed to its store; for tests. */
export class CountedFlows {
  readonly store: TestFlowStore
  readonly metrics: MetricSet
  readonly #view
  readonly #renderer = new FamilyRenderer()
  #counted = 0

  constructor(
    metrics: string | readonly MetricSpec[],
    options: Partial<MetricSetOptions> & { store?: TestFlowStore } = {},
  ) {
    this.store = options.store ?? new TestFlowStore()
    const specs = typeof metrics === 'string' ? parseMetrics(metrics) : metrics
    this.metrics = new MetricSet(specs, options)
    this.#view = this.store.createView()
  }

  push(...specs: FlowSpec[]): this {
    this.store.push(...specs)
    for (; this.#counted < this.store.end; this.#counted++) {
      this.store.seek(this.#view, this.#counted)
      this.metrics.count(this.#view)
    }
    return this
  }

  async text(format: Format = 'text'): Promise<string> {
    const out = new ScrapeText(new PartPool())
    await this.#renderer.render(this.metrics.families, format, out, new TimeSlice())
    return out.toString()
  }

  /** Samples, `name{labels}` to value. */
  async series(format: Format = 'text'): Promise<Record<string, number>> {
    return samples(await this.text(format))
  }
}

/** Samples of an exposition, `name{labels}` to value; exemplars are left out. */
export function samples(text: string): Record<string, number> {
  const out: Record<string, number> = {}
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const end = line.lastIndexOf('}')
    const exemplar = line.indexOf(' # {')
    const sample = exemplar < 0 ? line : line.slice(0, exemplar)
    const space = sample.lastIndexOf(' ')
    if (space < 0 || (exemplar < 0 && space < end)) throw new Error(`Not a sample: ${line}`)
    const key = sample.slice(0, space)
    if (key in out) throw new Error(`Series is there twice: ${key}`)
    out[key] = Number(sample.slice(space + 1))
  }
  return out
}
