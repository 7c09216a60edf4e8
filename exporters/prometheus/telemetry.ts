import type { TelemetrySink } from '../../model/contracts.ts'
import type { MetricSet } from './metric-set.ts'
import type { SeriesReview } from './series-review.ts'

/** What the families hold. */
export function collectSeries(metrics: MetricSet, sink: TelemetrySink): void {
  for (const family of metrics.families) {
    const labels = { family: family.name }
    sink.gauge('sluice_metrics_series', 'Time series held', family.series, labels)
    const hidden = 'Label sets that are held and kept out of scrapes because no filter in force wants them'
    sink.gauge('sluice_metrics_series_hidden', hidden, family.hidden, labels)
    const help = 'Flows counted in a series of overflow because there was no room for their own'
    sink.counter('sluice_metrics_overflow_total', help, family.overflowed, labels)
  }
  sink.gauge('sluice_metrics_series_limit', 'Time series that there is room for', metrics.budget.limit)
  sink.gauge('sluice_metrics_label_values', 'Label values held', metrics.values.size)
  sink.counter('sluice_metrics_label_values_refused_total', 'Label values without room', metrics.values.refused)
}

/** What changes of filters cost. */
export function collectReview(review: SeriesReview | undefined, sink: TelemetrySink): void {
  const flows = 'Flows of the history looked at after changes of filters, for the series that are still wanted'
  sink.counter('sluice_metrics_reviewed_flows_total', flows, review?.flows ?? 0)
  const overdue = 'Metrics whose series were hidden before all of the history was looked at'
  sink.counter('sluice_metrics_reviews_overdue_total', overdue, review?.overdue ?? 0)
}
