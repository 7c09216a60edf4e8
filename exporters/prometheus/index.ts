export {
  checkMetrics,
  DEFAULT_ADDRESS,
  DEFAULT_METRICS,
  type PrometheusConfig,
  type PrometheusDependencies,
} from './config.ts'
export {
  CONTEXT_IDENTIFIERS,
  CONTEXT_LABELS,
  contextOptions,
  type MetricConfig,
  type MetricSpec,
  metricSpecs,
  parseMetrics,
} from './context/options.ts'
export { type CountSeriesOptions, countSeries, type SeriesCount } from './count-series.ts'
export { PrometheusExporter } from './exporter.ts'
export { HANDLERS } from './handlers/index.ts'
export type { MetricChanges } from './metric-set.ts'
export type { DropCount, NodeCounters, PodOfCounter, TrafficTotals } from './node/counters.ts'
export { NodeFamilies, type NodeFamiliesOptions } from './node/node-families.ts'
export type { RefreshingSource } from './scrape.ts'
