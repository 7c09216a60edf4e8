import { TimeSlice } from '../../base/time-slice.ts'
import type { FlowPredicate } from '../../filters/predicate.ts'
import type { FlowStore } from '../../model/contracts.ts'
import type { MetricSpec } from './context/options.ts'
import { MetricSet, type MetricSetOptions } from './metric-set.ts'

/** Flows, and series, between two looks at the clock. */
const FLOWS_PER_LOOK = 32
const SERIES_PER_LOOK = 64

export interface CountSeriesOptions extends Pick<MetricSetOptions, 'maxSeries' | 'maxSeriesPerFamily'> {
  /** Ends the work early, with its reason. */
  readonly signal?: AbortSignal | undefined
}

export interface SeriesCount {
  /** Time series as Prometheus counts them; no more than maxSeries and what is left over for `overflow`. */
  readonly series: number
  /** Bytes of their lines, and of the families' headers, in a scrape in the classic format. */
  readonly bytes: number
  /** Flows that found no room for a series of their own: with any of these, there would be more series. */
  readonly overflowed: number
}

/**
 * What metrics would take of a scrape if they counted flows of the history: they do, beside those in force, into series
 * that are thrown away. Holds the event loop for slices of 3 ms; flows that the history overwrites meanwhile are left out.
 *
 * @param first, end sequences of flows, [first, end) @param wants which of them are counted
 * @throws SluiceError SLUICE_CONFIG_INVALID as definitionsOf(); the reason of options.signal
 */
export async function countSeries(
  store: FlowStore,
  first: number,
  end: number,
  specs: readonly MetricSpec[],
  wants: FlowPredicate,
  options: CountSeriesOptions = {},
): Promise<SeriesCount> {
  const { signal, ...bounds } = options
  const metrics = new MetricSet(specs, bounds)
  const slice = new TimeSlice()
  const view = store.createView()
  for (let at = Math.max(first, store.first); at < end; at = Math.max(at, store.first)) {
    const stop = Math.min(end, at + FLOWS_PER_LOOK)
    for (; at < stop; at++) {
      store.seek(view, at)
      if (wants(view)) metrics.count(view)
    }
    if (!slice.isOver) continue
    metrics.maintain(performance.now())
    await slice.yield()
    signal?.throwIfAborted()
  }
  return await measure(metrics, slice, signal)
}

async function measure(metrics: MetricSet, slice: TimeSlice, signal: AbortSignal | undefined): Promise<SeriesCount> {
  let series = 0
  let bytes = 0
  let overflowed = 0
  for (const family of metrics.families) {
    if (family.shown === 0) continue
    series += family.series
    overflowed += family.overflowed
    bytes += Buffer.byteLength(family.header('text'))
    for (let at = 0; at < family.slots; at += SERIES_PER_LOOK) {
      bytes += family.textBytes(at, SERIES_PER_LOOK)
      if (!slice.isOver) continue
      await slice.yield()
      signal?.throwIfAborted()
    }
  }
  return { series, bytes, overflowed }
}
