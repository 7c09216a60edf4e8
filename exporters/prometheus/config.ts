import type { TlsFiles } from '../../base/certificate-files.ts'
import type { Logger } from '../../base/logger.ts'
import type { FlowJudge } from '../../filters/rules.ts'
import type { TelemetrySource } from '../../model/contracts.ts'
import type { StageLedger } from '../../model/ledger.ts'
import { type MetricConfig, parseMetrics } from './context/options.ts'
import { definitionsOf } from './handlers/definitions.ts'
import type { RefreshingSource } from './scrape.ts'

/** Port of Hubble's metrics server: scrape configurations made for Hubble find it. */
export const DEFAULT_ADDRESS = ':9965'

/**
 * The families and labels of ACNS and Retina: a pod's outgoing flows name it as source, its incoming ones as
 * destination. Hubble's own dashboards fill with it too.
 */
export const DEFAULT_METRICS: readonly string[] = [
  'flow:sourceEgressContext=pod;destinationIngressContext=pod',
  'tcp:sourceEgressContext=pod;destinationIngressContext=pod',
  'dns:query;sourceEgressContext=pod;destinationIngressContext=pod',
  'drop:sourceEgressContext=pod;destinationIngressContext=pod',
  'icmp:sourceEgressContext=pod;destinationIngressContext=pod',
  'httpV2:sourceContext=workload;destinationContext=workload',
]

/** The exporter's section of the configuration. */
export interface PrometheusConfig {
  /** `:port`, `address:port` or `[ipv6]:port`. */
  readonly address?: string | undefined
  /** Hubble's static string, or the structured form of its dynamic metrics. */
  readonly metrics?: string | readonly MetricConfig[] | undefined
  readonly tls?: TlsFiles | undefined
  /** Answer in OpenMetrics, with exemplars, where the scraper asks for it. Default true. */
  readonly openMetrics?: boolean | undefined
  readonly maxSeries?: number | undefined
  readonly maxSeriesPerFamily?: number | undefined
  /** Answers under way at a time. */
  readonly maxScrapes?: number | undefined
  readonly timeoutMs?: number | undefined
  /** How long a pod's series stay after the pod, milliseconds. */
  readonly staleDelayMs?: number | undefined
}

/** What wiring hands in. */
export interface PrometheusDependencies {
  readonly logger: Logger
  /** Components that tell of themselves at each scrape; may grow while the agent runs. */
  readonly telemetry?: Iterable<TelemetrySource>
  /** Ledgers of the other stages; the exporter adds its own. */
  readonly ledgers?: Iterable<StageLedger>
  /** Sources that read before they tell: NodeFamilies. */
  readonly refreshing?: Iterable<RefreshingSource>
  /** Which flows each metric counts; without it every flow. */
  readonly judge?: FlowJudge | undefined
  readonly now?: () => number
}

/** Checks what `metrics` of PrometheusConfig may be. @throws SluiceError SLUICE_CONFIG_INVALID as definitionsOf() */
export function checkMetrics(text: string): void {
  definitionsOf(parseMetrics(text))
}
