import { Counter, collectDefaultMetrics, Histogram, type Registry } from 'prom-client'
import type { MetricsRegistry } from './registry-text.ts'
import { SECONDS_BOUNDS } from './series/histogram.ts'

/** Registers what the process and the server of metrics tell of themselves. @returns requests, and how long they took */
export function registerOwn(registry: MetricsRegistry): readonly [Counter<'code'>, Histogram<'code'>] {
  const registers = [registry as Registry]
  collectDefaultMetrics({ register: registry as Registry })
  return [
    new Counter({
      name: 'hubble_metrics_http_handler_requests_total',
      help: 'A counter for requests to the metrics handler',
      labelNames: ['code'],
      registers,
    }),
    new Histogram({
      name: 'hubble_metrics_http_handler_request_duration_seconds',
      help: 'A histogram of latencies of the metrics handler',
      labelNames: ['code'],
      buckets: SECONDS_BOUNDS.filter(Number.isFinite),
      registers,
    }),
  ]
}
