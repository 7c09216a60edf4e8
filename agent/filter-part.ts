import type { OnQuery } from '../api/live-queries.ts'
import type { Logger } from '../base/logger.ts'
import { KernelFilter } from '../collector/filtering/index.ts'
import type { CollectorState } from '../collector/state.ts'
import { DirectorySource } from '../control/directory-source.ts'
import type { CostMeters } from '../control/explain.ts'
import { FilterControl } from '../control/filter-control.ts'
import type { ResourceSource } from '../control/resource.ts'
import type { AppliedNews } from '../control/rule-applier.ts'
import { parseFlowFilters } from '../filters/hubble/json.ts'
import type { Judge } from '../filters/judge.ts'
import type { FilterSettings } from '../filters/resources/rule-set.ts'
import type { ConsumerOffer, FilterCounts } from '../filters/rules.ts'
import type { TelemetrySource } from '../model/contracts.ts'
import type { PartStatus } from './agent-info.ts'
import type { Config } from './config.ts'
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
  /** Metric handlers that are on. */
  readonly metrics: readonly ConsumerOffer[]
  readonly meters: CostMeters
}

/** Filters: where they come from, what makes them one set, the kernel's tables, and what is answered about them. */
export class FilterPart implements AsyncDisposable {
  readonly control: FilterControl
  readonly info: AgentFilters
  readonly #kernelFilter: KernelFilter | undefined

  constructor(parts: FilterParts) {
    const { config, state, judge, kernel, kubernetes } = parts
    const log = parts.log.child({ part: 'filters' })
    this.#kernelFilter =
      kernel && new KernelFilter({ maps: kernel.datapath, ring: kernel.datapath.ring, state, judge, log })
    const counts = (): FilterCounts => this.#kernelFilter?.counts() ?? judge.counts()
    this.control = new FilterControl({
      settings: filterSettings(config, kubernetes !== undefined),
      sources: resourceSources(config, kubernetes, log),
      targets: [this.#kernelFilter ?? judge],
      metrics: parts.metrics,
      counts,
      logger: log,
    })
    this.info = new AgentFilters({
      control: this.control,
      counts,
      readCounts: async () => (await this.#kernelFilter?.readCounts()) ?? judge.counts(),
      store: state.history,
      node: state,
      meters: parts.meters,
      hasKernel: kernel !== undefined,
    })
  }

  /** Called after each set of rules that came into force. */
  onApplied(listener: (news: AppliedNews) => void): Disposable {
    return this.control.onApplied(listener)
  }

  /** What a client follows leaves the kernel for it. */
  readonly onQuery: OnQuery = (name, include, exclude) => this.control.addQuery(name, include, exclude)

  /** Puts the first set into force. @throws SluiceError of a source that can never work; what the kernel refuses */
  async start(signal: AbortSignal): Promise<void> {
    await this.control.start(signal)
  }

  telemetry(): TelemetrySource[] {
    return [this.control, this.#kernelFilter].filter((one) => one !== undefined)
  }

  status(): PartStatus {
    const { generation, lastError, sources, resources, liveQueries } = this.control.status()
    const failed = resources.filter(({ status }) => status?.state === 'FAILED')
    const problems = [
      ...(lastError === '' ? [] : [`rules cannot be put into force, those before stay: ${lastError}`]),
      ...sources.flatMap(({ troubles }) => troubles),
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
