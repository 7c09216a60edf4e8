import { setTimeout as sleep } from 'node:timers/promises'
import { SluiceError } from '../base/errors.ts'
import { compileKernelPlan, type RuleNode } from '../filters/kernel/index.ts'
import { KNOWN_KINDS } from '../filters/kinds.ts'
import type { FlowPredicate } from '../filters/predicate.ts'
import { readResourceFileApart } from '../filters/resources/file.ts'
import type { FilterCounts, RuleDecision, RuleSet } from '../filters/rules.ts'
import type { FlowStore } from '../model/contracts.ts'
import { joinProblems, type RuleProblems, ruleProblemsSliced } from './analysis.ts'
import {
  type CompareSets,
  type CostMeters,
  type ExplainReport,
  explain,
  MAX_MEASURED_RULES,
  ruleCount,
} from './explain.ts'
import type { FilterControl, Preview } from './filter-control.ts'
import { kernelTests } from './kernel-view.ts'
import { MatchTable } from './match-table.ts'
import type { ResourceDocument } from './resource.ts'
import type { RuleRates } from './rule-rates.ts'

/** A file of filter resources. */
export interface FilterFile {
  /** For messages. */
  readonly name: string
  readonly content: string
}

export interface ExplainQuestion {
  /** As if they were applied; none: what is in force. */
  readonly files: readonly FilterFile[]
  /** The files are all there is: resources in force count as removed. */
  readonly alone: boolean
  readonly source: 'history' | 'live'
  /** History: the newest so many seconds, 0 all. Live: how long to look. */
  readonly seconds: number
  /** The newest so many flows. */
  readonly maxFlows: number
}

export interface ExplainAnswer {
  readonly report: ExplainReport
  /** False: what was left in the kernel is not among the flows. */
  readonly isComplete: boolean
  /** Events that the rules in force left in the kernel lately, a minute. */
  readonly leftInKernelPerMinute: number
  /** What else is to be known of the figures, a sentence each. */
  readonly notes: readonly string[]
  /** Where the rules asked about would be decided, by rule id. */
  readonly decisions: ReadonlyMap<string, RuleDecision>
  /** What is doubtful about the rules asked about, by rule id. */
  readonly problems: RuleProblems
  /** What would become of each document. */
  readonly resources: Preview['resources']
}

/** @param step what is done now @param done share of the whole, 0 to 1 */
export type ExplainProgress = (step: string, done: number) => void

export interface ExplainerParts {
  readonly control: Pick<
    FilterControl,
    'rules' | 'decisions' | 'preview' | 'unfiltered' | 'addQuery' | 'onApplied' | 'status'
  >
  readonly store: FlowStore
  readonly node: RuleNode
  readonly meters: CostMeters
  /** As of now. */
  readonly readCounts: () => Promise<FilterCounts>
  readonly rates: RuleRates
  /** False: a replay, whose flows nobody left out before. */
  readonly hasKernel: boolean
  /**
   * For so long after filters are lifted more events come than are made: flows that were left out tell what they have
   * counted meanwhile, an aggregation interval after they last could.
   */
  readonly catchUpSeconds: number
  /** Wall clock, milliseconds. */
  readonly now?: () => number
}

/** How long live queries may take to come into force. */
const QUERY_DEADLINE_MS = 5000
const PROGRESS_MS = 500
/** Of an aggregation interval of minutes nobody waits for the end. */
const MAX_CATCH_UP_SECONDS = 15
/** Of the progress of a live look, what waiting takes. */
const WAITING_SHARE = 0.5
/** Fewer flows, or less time, say little. */
const FEW_FLOWS = 100
const SHORT_SECONDS = 10

/** Answers what filters do, and what others would do, on flows of this node. Changes nothing. */
export class Explainer {
  readonly #parts: ExplainerParts
  readonly #now: () => number

  constructor(parts: ExplainerParts) {
    this.#parts = parts
    this.#now = parts.now ?? Date.now
  }

  /**
   * @param signal gives up
   * @throws SluiceError SLUICE_FILTER_INVALID naming each mistake of the files
   * @throws the signal's reason
   */
  async explain(question: ExplainQuestion, signal: AbortSignal, onProgress: ExplainProgress): Promise<ExplainAnswer> {
    const { control, store, node, meters } = this.#parts
    const proposed = question.files.length === 0 ? undefined : await this.#proposed(question)
    const live = question.source === 'live' ? await this.#lookLive(question.seconds, signal, onProgress) : undefined
    const inForce = withoutQueries(control.rules())
    const asked = proposed?.rules ?? inForce
    const sets: CompareSets = { with: asked, without: control.unfiltered(), now: inForce }
    const decisions = proposed === undefined ? control.decisions() : compileKernelPlan(asked, node).decisions
    const relaxed = this.#relaxed(sets, decisions)
    const window = live ?? this.#historyWindow(question.seconds)
    const fitting = MatchTable.fitting(window.first, window.end, ruleCount(sets, relaxed))
    const first = Math.max(window.first, store.first, window.end - question.maxFlows, fitting)
    const isWhole = first === window.first
    const input = { store, first, end: window.end, sets, relaxed, meters }
    const shareBefore = live === undefined ? 0 : WAITING_SHARE
    const report = await explain(
      live === undefined || !isWhole ? input : { ...input, seconds: live.seconds },
      signal,
      (step, done) => onProgress(step, shareBefore + (1 - shareBefore) * done),
    )
    signal.throwIfAborted()
    return {
      ...(await this.#judged(question, report, isWhole)),
      report,
      decisions,
      problems: joinProblems(await ruleProblemsSliced(asked), unmatched(report)),
      resources: proposed?.resources ?? [],
    }
  }

  async #proposed({ files, alone }: ExplainQuestion): Promise<Preview> {
    const documents: ResourceDocument[] = []
    const mistakes: string[] = []
    for (const { name, content } of files) {
      const { documents: found, problems } = await readResourceFileApart(content, name)
      mistakes.push(...problems)
      if (found.length === 0 && problems.length === 0) mistakes.push(`${name}: there is no filter resource in it`)
      for (const document of found) {
        documents.push({ ...document, ref: { kind: document.kind, name: document.name }, uid: '', generation: 0 })
      }
    }
    if (mistakes.length > 0) throw refused(mistakes)
    const preview = await this.#parts.control.preview(documents, alone)
    const invalid = preview.resources.filter(({ outcome }) => !outcome.isAccepted)
    if (invalid.length > 0) throw refused(invalid.map(({ outcome }) => outcome.message))
    return preview
  }

  /** Tests in place of the rules that the kernel does not decide alone, of every set. */
  #relaxed(sets: CompareSets, decisions: ReadonlyMap<string, RuleDecision>): Map<string, FlowPredicate> {
    const { control, node, hasKernel } = this.#parts
    if (!hasKernel) return new Map()
    return new Map([
      ...kernelTests(sets.without, compileKernelPlan(sets.without, node).decisions, node),
      ...(sets.now === sets.with ? [] : kernelTests(sets.now, control.decisions(), node)),
      ...kernelTests(sets.with, decisions, node),
    ])
  }

  #historyWindow(seconds: number): { readonly first: number; readonly end: number } {
    const { store } = this.#parts
    const { first, end } = store
    if (seconds === 0) return { first, end }
    const since = this.#now() / 1000 - seconds
    if (since <= 0) return { first, end }
    const secs = Math.floor(since)
    return { first: Math.max(first, store.lowerBound(secs, Math.floor((since - secs) * 1e9))), end }
  }

  /** Lets every event out of the kernel for a while. */
  async #lookLive(seconds: number, signal: AbortSignal, onProgress: ExplainProgress) {
    const { control, store } = this.#parts
    const wasFiltering = !takesEverything(control.rules())
    using _query = control.addQuery('sluice filters explain', [], [])
    await this.#everythingLeaves(signal)
    if (wasFiltering) {
      onProgress('waiting for what was left in the kernel', 0)
      await sleep(1000 * Math.min(this.#parts.catchUpSeconds, MAX_CATCH_UP_SECONDS), undefined, { signal })
    }
    const first = store.end
    const began = performance.now()
    for (;;) {
      const passed = (performance.now() - began) / 1000
      if (passed >= seconds) return { first, end: store.end, seconds: passed }
      onProgress('waiting for flows', (WAITING_SHARE * passed) / seconds)
      await sleep(Math.min(PROGRESS_MS, (seconds - passed) * 1000), undefined, { signal })
    }
  }

  async #everythingLeaves(signal: AbortSignal): Promise<void> {
    const { control } = this.#parts
    const deadline = performance.now() + QUERY_DEADLINE_MS
    while (!takesEverything(control.rules())) {
      if (performance.now() > deadline) {
        const { lastError } = control.status()
        throw new SluiceError(
          'SLUICE_RPC',
          `Cannot measure live traffic: the kernel goes on filtering${lastError === '' ? '' : `: ${lastError}`}`,
          { remedy: 'Try again, or measure on history' },
        )
      }
      await sleep(20, undefined, { signal })
    }
  }

  /** How good the figures are. */
  async #judged(question: ExplainQuestion, report: ExplainReport, isWhole: boolean) {
    const { control, readCounts, rates, hasKernel, store } = this.#parts
    const now = await readCounts()
    const left = rates.rates(now, this.#now()).filteredInKernel
    const isLive = question.source === 'live'
    const isFiltering = hasKernel && !takesEverything(control.rules())
    const isComplete = isLive || !hasKernel || (!isFiltering && now.filteredInKernel === 0)
    const notes: string[] = []
    if (!isComplete) notes.push(incompleteNote(isFiltering, left))
    if (!isWhole)
      notes.push(
        `Only the newest ${withCommas(report.flows)} flows were measured; more with --max-flows, up to what is held (${withCommas(store.capacity)}).`,
      )
    if (report.overwritten > 0) {
      notes.push(
        `${withCommas(report.overwritten)} flows were overwritten before they could be measured: the history is short for this rate.`,
      )
    }
    if (report.flows < FEW_FLOWS || report.seconds < SHORT_SECONDS) {
      notes.push(`${report.flows} flows in ${report.seconds.toFixed(1)} s say little about a day.`)
    }
    if (report.rules.some(({ without }) => without === undefined)) {
      notes.push(`Series and bytes without a rule were measured for the first ${MAX_MEASURED_RULES} rules only.`)
    }
    return { isComplete, leftInKernelPerMinute: left, notes }
  }
}

/** Rules that match none of the flows measured, where these are many enough to say something. */
function unmatched({ rules, flows }: ExplainReport): RuleProblems {
  if (flows < FEW_FLOWS) return new Map()
  const idle = rules.filter(({ rule, matched }) => matched === 0 && rule.origin.kind !== 'built in')
  const text = `matches none of the ${withCommas(flows)} flows measured`
  return new Map(idle.map(({ rule }) => [rule.id, [{ kind: 'never-matched' as const, text, otherRule: '' }]]))
}

function incompleteNote(isFiltering: boolean, leftPerMinute: number): string {
  const end =
    'rates without filters are from the counters, what other filters would count and all series are lower bounds. Measure with --from live to see all.'
  if (!isFiltering) return `Earlier filters left events in the kernel, which are not among these flows: ${end}`
  const rate = leftPerMinute >= 1 ? `${withCommas(leftPerMinute)} events a minute` : 'events'
  return `The filters in force leave ${rate} in the kernel, which are not among these flows: ${end}`
}

/** For people: `12,345`. */
function withCommas(count: number): string {
  return Math.round(count).toLocaleString('en-US')
}

/** Whether every event leaves the kernel, as somebody wants it. */
export function takesEverything({ consumers }: RuleSet): boolean {
  const kinds = consumers
    .filter(({ isOn, rules }) => isOn && rules.length === 0)
    .reduce((bits, consumer) => bits | consumer.kinds, 0)
  return (kinds & KNOWN_KINDS) === KNOWN_KINDS
}

/** Whoever looks at the moment is no part of what is compared. */
function withoutQueries({ consumers }: RuleSet): RuleSet {
  return { consumers: consumers.filter(({ name }) => !name.startsWith('query/')) }
}

/** Mistakes that are told one by one. */
const MAX_MISTAKES = 50

function refused(mistakes: readonly string[]): SluiceError {
  const all = mistakes.flatMap((text) => text.split('\n'))
  const count = all.length === 1 ? '1 mistake' : `${all.length} mistakes`
  const lines = all.slice(0, MAX_MISTAKES).map((line) => `  ${line}`)
  if (all.length > MAX_MISTAKES) lines.push(`  … and ${all.length - MAX_MISTAKES} more`)
  return new SluiceError('SLUICE_FILTER_INVALID', `Cannot use the filters: ${count}\n${lines.join('\n')}`)
}
