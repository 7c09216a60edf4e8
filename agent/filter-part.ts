import type { OnQuery } from '../api/live-queries.ts'
import type { Logger } from '../base/logger.ts'
import { KernelFilter } from '../collector/filtering/index.ts'
import type { CollectorState } from '../collector/state.ts'
import { DirectorySource } from '../control/directory-source.ts'
import { DynamicMetricsFile } from '../control/dynamic-metrics-file.ts'
import type { CostMeters } from '../control/explain.ts'
import { FilterControl } from '../control/filter-control.ts'
import type { ResourceSource } from '../control/resource.ts'
import { showFilters } from '../control/shown-filters.ts'
import type { JsonLogExporter } from '../exporters/json-log/index.ts'
import type { MetricSpec, PrometheusExporter } from '../exporters/prometheus/index.ts'
import { parseFlowFilters } from '../filters/hubble/json.ts'
import type { Judge } from '../filters/judge.ts'
import type { DynamicMetrics, HubbleMetric } from '../filters/resources/hubble-config.ts'
import type { FilterSettings } from '../filters/resources/rule-set.ts'
import type { FilterCounts } from '../filters/rules.ts'
import type { TelemetrySource } from '../model/contracts.ts'
import type { PartStatus } from './agent-info.ts'
import type { Config } from './config.ts'
import { durationMs } from './config-values.ts'
import { AgentFilters } from './filter-info.ts'
import type { KernelPart } from './kernel-part.ts'
import type { KubernetesPart } from './kubernetes-part.ts'

export interface FilterParts {
  readonly config: Config
  readonly log: Logger
  readonly state: CollectorState
  readonly judge: Judge
  /** Undefined: flows come from a file, and every rule is decided here. */
  readonly kernel: KernelPart | undefined
  readonly kubernetes: KubernetesPart | undefined
  readonly prometheus: PrometheusExporter | undefined
  readonly jsonLog: JsonLogExporter | undefined
}

/** Between two looks at what flows have not told yet. */
const SWEEP_SECONDS = 1

/** Filters: where they come from, what makes them one set, the kernel's tables, and what is answered about them. */
export class FilterPart implements AsyncDisposable {
  readonly control: FilterControl
  readonly info: AgentFilters
  readonly #kernelFilter: KernelFilter | undefined
  readonly #dynamicMetrics: DynamicMetricsFile | undefined
  readonly #shown: Disposable | undefined

  constructor(parts: FilterParts) {
    const { config, state, judge, kernel, kubernetes, prometheus, jsonLog } = parts
    const log = parts.log.child({ part: 'filters' })
    this.#kernelFilter =
      kernel && new KernelFilter({ maps: kernel.datapath, ring: kernel.datapath.ring, state, judge, log })
    const counts = (): FilterCounts => this.#kernelFilter?.counts() ?? judge.counts()
    this.control = new FilterControl({
      settings: filterSettings(config, kubernetes !== undefined),
      sources: resourceSources(config, kubernetes, log),
      targets: [this.#kernelFilter ?? judge],
      metrics: prometheus?.consumers() ?? [],
      counts,
      logger: log,
    })
    this.control.onApplied(({ rules }) => {
      prometheus?.filtersChanged(rules)
      jsonLog?.filtersChanged(rules)
    })
    const path = config.metrics.dynamicConfig
    if (path !== undefined && prometheus) {
      this.#dynamicMetrics = new DynamicMetricsFile({
        path,
        logger: log,
        onMetrics: (dynamic) => this.#takeMetrics(dynamic, config, prometheus),
      })
    }
    if (kubernetes?.configMaps) {
      this.#shown = showFilters({
        control: this.control,
        maps: kubernetes.configMaps,
        metrics: () => prometheus?.metrics.metrics.map(({ spec }) => hubbleMetric(spec)) ?? [],
        logPath: config.log.path,
      })
    }
    this.info = new AgentFilters({
      control: this.control,
      counts,
      readCounts: async () => (await this.#kernelFilter?.readCounts()) ?? judge.counts(),
      store: state.history,
      node: state,
      meters: costMeters(prometheus, jsonLog),
      hasKernel: kernel !== undefined,
      catchUpSeconds: durationMs(config.kernel.aggregationInterval)! / 1000 + SWEEP_SECONDS,
      isJudging: () => this.#kernelFilter?.isJudging ?? false,
    })
  }

  /** What a client follows leaves the kernel for it. */
  readonly onQuery: OnQuery = (name, include, exclude) => this.control.addQuery(name, include, exclude)

  /** Puts the first set into force. @throws SluiceError of a source that can never work; what the kernel refuses */
  async start(signal: AbortSignal): Promise<void> {
    await this.#dynamicMetrics?.start()
    await this.control.start(signal)
  }

  /** Handlers, their options and their filters; without a file those of the configuration. */
  #takeMetrics(dynamic: DynamicMetrics | undefined, config: Config, prometheus: PrometheusExporter): void {
    prometheus.reconfigure(dynamic === undefined ? config.metrics.handlers.join(' ') : dynamic.metrics)
    this.control.setDynamicMetrics(dynamic?.filters ?? new Map())
    this.control.setMetrics(prometheus.consumers())
  }

  telemetry(): TelemetrySource[] {
    return [this.control, this.#kernelFilter, this.#dynamicMetrics].filter((one) => one !== undefined)
  }

  status(): PartStatus {
    const { generation, lastError, sources, resources, liveQueries } = this.control.status()
    const failed = resources.filter(({ status }) => status?.state === 'FAILED')
    const problems = [
      ...(lastError === '' ? [] : [`rules cannot be put into force, those before stay: ${lastError}`]),
      ...sources.flatMap(({ troubles }) => troubles),
      ...(this.#dynamicMetrics?.lastError ? [this.#dynamicMetrics.lastError] : []),
      ...failed.map(({ ref, status }) => `${ref.kind} "${ref.name}" is not in force: ${status?.message ?? ''}`),
    ]
    const rules = this.control.rules().consumers.reduce((sum, { rules }) => sum + rules.length, 0)
    return {
      name: 'filters',
      state: problems.length > 0 ? 'degraded' : 'ok',
      message: problems.join('; '),
      details: { generation, resources: resources.length, rules, live_queries: liveQueries },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.info[Symbol.dispose]()
    this.#shown?.[Symbol.dispose]()
    await this.#dynamicMetrics?.[Symbol.asyncDispose]()
    await this.control[Symbol.asyncDispose]()
    await this.#kernelFilter?.[Symbol.asyncDispose]()
  }
}

/** Whether filter resources say what the log holds, something else does, or there is none. */
export function logMode(config: Config, hasKubernetes: boolean): FilterSettings['log']['mode'] {
  const { enabled } = config.log
  if (enabled === 'auto') return hasKubernetes || config.filters.directory !== undefined ? 'resources' : 'static'
  return enabled ? 'static' : 'off'
}

/** As Hubble's dynamic metrics file has it. */
function hubbleMetric({ name, options }: MetricSpec): HubbleMetric {
  return { name, contextOptions: [...options].map(([key, values]) => ({ name: key, values })) }
}

function costMeters(prometheus: PrometheusExporter | undefined, jsonLog: JsonLogExporter | undefined): CostMeters {
  return {
    series: async (consumer, range, wants, signal) =>
      (await prometheus?.countSeries(consumer, range, wants, signal)) ?? { series: 0, bytes: 0 },
    lines: async (range, wants, signal) => (await jsonLog?.countLines(range, wants, signal)) ?? { lines: 0, bytes: 0 },
  }
}

function filterSettings(config: Config, hasKubernetes: boolean): FilterSettings {
  const { filters, history, log } = config
  return {
    log: {
      mode: logMode(config, hasKubernetes),
      allow: log.allowList.flatMap(parseFlowFilters),
      deny: log.denyList.flatMap(parseFlowFilters),
    },
    history: history.keep,
    merge: filters.merge,
    unlisted: filters.unlisted,
  }
}

function resourceSources(config: Config, kubernetes: KubernetesPart | undefined, logger: Logger): ResourceSource[] {
  const { directory: path } = config.filters
  const sources: ResourceSource[] = []
  if (path !== undefined) sources.push(new DirectorySource({ path, logger }))
  if (kubernetes) sources.push(kubernetes.resources)
  return sources
}
