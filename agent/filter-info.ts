import { timestamp } from '../api/agent-events.ts'
import type { FilterInfo } from '../api/filter-service.ts'
import {
  type ExplainFiltersRequest,
  type ExplainFiltersResponse,
  type ExplainResult,
  ExplainSource,
  type FilterResource,
  type ListFiltersResponse,
} from '../api/gen/sluice/v1/filters.ts'
import { joinProblems, neverMatched, type RuleProblems, ruleProblemsSliced } from '../control/analysis.ts'
import type { CostMeters } from '../control/explain.ts'
import { type ExplainAnswer, Explainer } from '../control/explainer.ts'
import type { FilterControl } from '../control/filter-control.ts'
import { RuleRates, SAMPLE_INTERVAL_MS } from '../control/rule-rates.ts'
import type { RuleNode } from '../filters/kernel/index.ts'
import type { FilterCounts, RuleSet } from '../filters/rules.ts'
import type { FlowStore } from '../model/contracts.ts'
import {
  consumerMessages,
  explainedConsumer,
  explainedRule,
  perMinute,
  resourceMessage,
  ruleMessages,
  whole,
} from './filter-messages.ts'
import { withNews } from './progress.ts'

export interface AgentFiltersParts {
  readonly control: FilterControl
  /** Of the rules in force, kernel and user space together; at most some seconds old. */
  readonly counts: () => FilterCounts
  /** The same as of now. */
  readonly readCounts: () => Promise<FilterCounts>
  readonly store: FlowStore
  readonly node: RuleNode
  readonly meters: CostMeters
  /** False: a replay. */
  readonly hasKernel: boolean
  /** ExplainerParts.catchUpSeconds */
  readonly catchUpSeconds: number
  /** Whether the kernel judges, and so counts, the events of every consumer. */
  readonly isJudging: () => boolean
}

/** A rule that matched nothing for so long is worth a word, milliseconds. */
const MIN_UNMATCHED_MS = 60_000

/** What sluice.v1.Filters answers, from the parts. Takes a sample of the counts once a minute until it is disposed of. */
export class AgentFilters implements FilterInfo, Disposable {
  readonly #parts: AgentFiltersParts
  readonly #rates = new RuleRates()
  readonly #explainer: Explainer
  readonly #timer: NodeJS.Timeout
  readonly #subscription: Disposable
  #known: { readonly rules: RuleSet; readonly problems: RuleProblems } | undefined

  constructor(parts: AgentFiltersParts) {
    this.#parts = parts
    this.#explainer = new Explainer({ ...parts, rates: this.#rates })
    this.#timer = setInterval(() => this.#rates.sample(parts.counts(), Date.now()), SAMPLE_INTERVAL_MS).unref()
    this.#subscription = parts.control.onApplied(({ changed }) =>
      this.#rates.notice(parts.counts(), Date.now(), changed),
    )
  }

  async list(): Promise<ListFiltersResponse> {
    const { control, readCounts, store } = this.#parts
    const counted = await readCounts()
    const nowMs = Date.now()
    const state = control.status()
    const rules = control.rules()
    const rates = this.#rates.rates(counted, nowMs)
    const since = (id: string) => rates.rules.get(id)?.sinceMs
    const unmatched = neverMatched(rules, counted, { since, now: nowMs, minAgeMs: MIN_UNMATCHED_MS })
    const problems = joinProblems(await this.#problemsOf(rules), unmatched)
    return {
      node_name: store.context.nodeName,
      time: timestamp(nowMs),
      generation: BigInt(state.generation),
      applied: state.appliedAt === 0 ? undefined : timestamp(state.appliedAt),
      apply_ms: state.tookMs,
      apply_error: state.lastError,
      resources: state.resources
        .map(({ source, ref, status }) => resourceMessage(source, ref, status))
        .sort((a, b) => (a.kind + a.name < b.kind + b.name ? -1 : 1)),
      consumers: consumerMessages(rules, counted, rates, this.#parts.isJudging()),
      rules: ruleMessages(rules, control.decisions(), counted, rates, problems),
      filtered_in_kernel: whole(counted.filteredInKernel),
      filtered_in_kernel_per_minute: rates.filteredInKernel,
      unattributed: whole(counted.unattributed),
      rate_minutes: rates.minutes,
      troubles: state.sources.flatMap(({ troubles }) => troubles),
    }
  }

  /** The same rules have the same problems, and who watches asks every other second. */
  async #problemsOf(rules: RuleSet): Promise<RuleProblems> {
    if (this.#known?.rules !== rules) this.#known = { rules, problems: await ruleProblemsSliced(rules) }
    return this.#known.problems
  }

  async *explain(request: ExplainFiltersRequest, signal: AbortSignal): AsyncIterable<ExplainFiltersResponse> {
    const question = {
      files: request.files,
      alone: request.alone,
      source: request.source === ExplainSource.EXPLAIN_SOURCE_LIVE ? ('live' as const) : ('history' as const),
      seconds: request.seconds,
      maxFlows: request.max_flows,
    }
    for await (const { progress, result } of withNews((onNews) => this.#explainer.explain(question, signal, onNews))) {
      yield progress === undefined
        ? { progress: undefined, result: this.#result(request, result) }
        : { progress, result: undefined }
    }
  }

  #result(request: ExplainFiltersRequest, answer: ExplainAnswer): ExplainResult {
    const { store, counts, hasKernel } = this.#parts
    const { report, decisions, problems } = answer
    const counted = counts()
    const byId = new Map(counted.rules.map((rule) => [rule.id, rule]))
    const rates = this.#rates.rates(counted, Date.now())
    const isCounted = !answer.isComplete
    // Events of such a metric are counted with those that its own rules leave out.
    const builtIn = new Set(
      this.#parts.control.unfiltered().consumers.flatMap(({ name, rules }) => (rules.length > 0 ? [name] : [])),
    )
    const events = (count: number) => ({ events: whole(count), per_minute: perMinute(count, report) })
    const unfilteredEvents = (count: number) => ({
      events: whole(count),
      // The flows measured may be of a time before these filters: then they are themselves all there was.
      per_minute: isCounted
        ? Math.max(perMinute(count, report), perMinute(report.leaving.now, report) + answer.leftInKernelPerMinute)
        : perMinute(count, report),
    })
    return {
      node_name: store.context.nodeName,
      time: timestamp(Date.now()),
      proposed: request.files.length > 0,
      basis: {
        source: request.source,
        flows: whole(report.flows),
        first: report.flows === 0 ? undefined : timestamp(Math.floor(report.firstSecs * 1000)),
        last: report.flows === 0 ? undefined : timestamp(Math.floor(report.lastSecs * 1000)),
        seconds: report.seconds,
        complete: answer.isComplete,
        left_in_kernel_per_minute: answer.leftInKernelPerMinute,
        notes: [...answer.notes],
      },
      consumers: report.consumers.map((consumer) =>
        explainedConsumer(
          consumer,
          report,
          isCounted && !builtIn.has(consumer.name) ? rates.consumers.get(consumer.name) : undefined,
        ),
      ),
      rules: report.rules.map((explained) => {
        const { id } = explained.rule
        const known = { count: byId.get(id), rates: rates.rules.get(id)?.rates, isCounted }
        return explainedRule(explained, report, decisions.get(id), problems.get(id) ?? [], known)
      }),
      resources: answer.resources.map(proposedResource),
      // Flows of a file leave no kernel.
      with: hasKernel ? events(report.leaving.with) : undefined,
      without: hasKernel ? unfilteredEvents(report.leaving.without) : undefined,
      now: hasKernel ? events(report.leaving.now) : undefined,
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#subscription[Symbol.dispose]()
  }
}

function proposedResource({ ref, outcome }: ExplainAnswer['resources'][number]): FilterResource {
  return {
    ...resourceMessage('files', ref, undefined),
    state: outcome.reason === 'Configured' ? 'CONFIGURED' : 'FAILED',
    reason: outcome.reason,
    message: outcome.message,
    warnings: [...outcome.warnings],
    filters: outcome.filters,
  }
}
