import { errorText } from '../../base/errors.ts'
import { type Logger, LogLimiter, silentLogger } from '../../base/logger.ts'
import { finishSliced } from '../../base/steps.ts'
import { TimeSlice } from '../../base/time-slice.ts'
import type { Judge } from '../../filters/judge.ts'
import { type KernelPlan, PAIR_BYTES, planSteps } from '../../filters/kernel/index.ts'
import type { AppliedRules, FilterCounts, RuleSet, RuleTarget } from '../../filters/rules.ts'
import type { TelemetrySink, TelemetrySource } from '../../model/contracts.ts'
import { FilterLimit, FilterMatchId } from '../../model/layouts.gen.ts'
import { FilterMaps } from '../kernel/filter-maps.ts'
import type { FilterSet, MapSource } from '../kernel/filter-tables.ts'
import type { CollectorState } from '../state.ts'
import { ClassTable } from './class-table.ts'
import { Drained, type RingPositions } from './drained.ts'
import { KernelCounts } from './kernel-counts.ts'
import { Lock } from './lock.ts'
import { Subjects } from './subjects.ts'
import { forgetFormer } from './takeover.ts'
import { collectTelemetry } from './telemetry.ts'

/** Changes of endpoints are gathered for so long before they are written. */
const FLUSH_MS = 50
/** Between two writes: each has every flow judged again. */
const FLUSH_AGAIN_MS = 100
/** After the kernel refused a write. */
const RETRY_MS = 1000
const TICK_MS = 1000
/** How long a new set waits for records of the one before the last; a drain takes 10 ms. */
const DRAIN_TIMEOUT_MS = 2000
/** Ports and prefixes of one write: some milliseconds. */
const WRITE_ENTRIES = 4096
/** Full tables are emptied by applying the rules once more, not more often than this. */
const RENEW_MS = 60_000

export interface KernelFilterOptions {
  /** What has the kernel's maps: a KernelDatapath. */
  readonly maps: MapSource
  /** Its ring. */
  readonly ring: RingPositions
  readonly state: CollectorState
  /** The judge of the exporters: gets each set in the instant that the kernel does. */
  readonly judge: Judge
  readonly log?: Logger
}

interface Force {
  readonly set: FilterSet
  readonly rules: RuleSet
  readonly plan: KernelPlan
  readonly classes: ClassTable
  /** CollectorState.nodeLabels that the plan was made with. */
  readonly nodeLabels: readonly string[]
}

/**
 * Puts rules into the kernel's tables and keeps them right while pods, labels and addresses change.
 *
 *   apply():  compile → write rules, ports, prefixes → give every endpoint its class → write classes and addresses
 *             → judge and kernel, in one turn → wait until no program works with the old set → count it for the last time
 *
 * Until the first apply() a former agent's rules stay in force, in maps that it pinned.
 */
export class KernelFilter implements RuleTarget, TelemetrySource, AsyncDisposable {
  readonly #maps: FilterMaps
  readonly #state: CollectorState
  readonly #judge: Judge
  readonly #log: Logger
  readonly #limiter = new LogLimiter()
  readonly #subjects: Subjects
  readonly #drained: Drained
  readonly #counts: KernelCounts
  readonly #lock = new Lock()
  readonly #tick: NodeJS.Timeout
  #force: Force | undefined
  #generation = 0
  #flush: NodeJS.Timeout | undefined
  #flushedAt = Number.NEGATIVE_INFINITY
  #renewedAt = Number.NEGATIVE_INFINITY
  #disposed = false
  #reevaluations = 0
  #failures = 0
  #lastApplyMs = 0
  #longestSliceMs = 0

  constructor(options: KernelFilterOptions) {
    this.#maps = new FilterMaps(options.maps)
    this.#state = options.state
    this.#judge = options.judge
    this.#log = options.log ?? silentLogger
    this.#subjects = new Subjects(this.#maps, options.state.endpoints, () => this.#flushSoon())
    this.#drained = new Drained(options.ring, options.judge)
    this.#counts = new KernelCounts(this.#maps, options.judge)
    this.#tick = setInterval(() => void this.#look(), TICK_MS).unref()
  }

  /**
   * @throws Error of the kernel when it refuses a write: the former set then stays in force
   */
  async apply(rules: RuleSet): Promise<AppliedRules> {
    const began = performance.now()
    return this.#lock.run(() => this.#apply(rules, began))
  }

  async #apply(rules: RuleSet, began: number): Promise<AppliedRules> {
    // The first set waits for nobody: the drain may not run yet, and the judge believes no bits before it has.
    if (this.#force !== undefined) await this.#drained.wait(DRAIN_TIMEOUT_MS)
    const slice = new TimeSlice()
    const { nodeName, nodeLabels } = this.#state
    const plan = await finishSliced(planSteps(rules, { nodeName, nodeLabels }), slice)
    const before = this.#maps.generation()
    const set: FilterSet = before.generation & 1 ? 0 : 1
    await slice.yield()
    const classes = this.#makeClasses(plan)
    try {
      await this.#writePlan(set, plan, slice)
      this.#subjects.open(set, classes)
      await this.#subjects.build(set, slice)
      if (this.#force === undefined) await slice.yieldTo(this.#forgetFormer(set))
      await slice.yieldTo(this.#judge.prepare(rules, set, plan.exactBits))
      await this.#flushNow(slice)
      await slice.yieldTo(this.#bringIntoForce({ set, rules, plan, classes, nodeLabels }))
    } catch (error) {
      if (this.#force?.set !== set) this.#subjects.close(set)
      throw error
    }
    slice.end()
    this.#longestSliceMs = Math.max(this.#longestSliceMs, slice.longestMs)
    this.#lastApplyMs = performance.now() - began
    // Nobody looked after what changed while the first set came into force.
    if (this.#subjects.pending > 0) this.#flushSoon()
    return { generation: ++this.#generation, decisions: plan.decisions, tookMs: this.#lastApplyMs }
  }

  /** The judge first, in the same turn: what the kernel judges from now on finds its set there. */
  async #bringIntoForce(next: Force): Promise<void> {
    const former = this.#force
    const { generation } = this.#maps.generation()
    const undo = this.#judge.commit()
    try {
      await this.#maps.flip((generation + 1) >>> 0, !next.plan.filtersNothing)
    } catch (error) {
      if (this.#maps.generation().generation === generation) undo()
      throw error
    }
    this.#force = next
    this.#counts.begin(next.set, next.rules, next.plan)
    this.#drained.mark()
    if (former !== undefined) this.#subjects.close(former.set)
    await this.#counts.closeFormer()
  }

  async #writePlan(set: FilterSet, plan: KernelPlan, slice: TimeSlice): Promise<void> {
    const { ports, prefixes } = plan
    await slice.yieldTo(this.#maps.clearTables(set))
    await slice.yieldTo(this.#maps.resetMatches(set))
    this.#maps.writeRules(set, plan.bytes)
    for (let first = 0; first < ports.ports.length; first += WRITE_ENTRIES) {
      const masks = ports.masks.subarray(first * PAIR_BYTES)
      const some = ports.ports.slice(first, first + WRITE_ENTRIES)
      needAll('ports', this.#maps.writePorts(set, some, masks), some.length)
      if (slice.isOver) await slice.yield()
    }
    for (let first = 0; first < prefixes.prefixes.length; first += WRITE_ENTRIES) {
      const masks = prefixes.masks.subarray(first * PAIR_BYTES)
      const some = prefixes.prefixes.slice(first, first + WRITE_ENTRIES)
      needAll('prefixes', this.#maps.writePrefixes(set, some, masks), some.length)
      if (slice.isOver) await slice.yield()
    }
  }

  async #forgetFormer(set: FilterSet): Promise<void> {
    const dropped = await forgetFormer(this.#maps, this.#subjects, set)
    if (dropped > 0) this.#log.info({ addresses: dropped }, 'removed addresses of a former agent')
  }

  #makeClasses(plan: KernelPlan): ClassTable {
    const { endpoints } = this.#state
    const { world, host } = endpoints.versions.reserved
    return new ClassTable(plan.endpoints, endpoints.get(world), endpoints.get(host))
  }

  /** False: no rule is in force that leaves anything out, and the kernel neither judges nor counts. */
  get isJudging(): boolean {
    return this.#maps.generation().enabled
  }

  /** Counts, at most some seconds old. */
  counts(): FilterCounts {
    return this.#counts.counts()
  }

  /** Counts as of now. */
  async readCounts(): Promise<FilterCounts> {
    await this.#lock.run(() => this.#counts.refresh())
    return this.#counts.counts()
  }

  /** Ends when all changes that are known of have reached the kernel. */
  async settled(): Promise<void> {
    await this.#lock.run(() => this.#flushNow(new TimeSlice()))
  }

  collect(sink: TelemetrySink): void {
    const { generation, enabled } = this.#maps.generation()
    collectTelemetry(sink, {
      enabled,
      applied: this.#generation,
      applyMs: this.#lastApplyMs,
      longestSliceMs: this.#longestSliceMs,
      reevaluations: this.#reevaluations,
      failures: this.#failures,
      pending: this.#subjects.pending,
      addresses: this.#subjects.addresses,
      addressesRefused: this.#subjects.refused,
      classes: this.#force?.classes.size ?? 0,
      undecidedEndpoints: this.#force?.classes.undecided ?? 0,
      matches: this.#maps.matchesUsed(generation & 1 ? 1 : 0),
      maxMatches: MAX_MATCHES,
    })
  }

  /** The kernel goes on with the rules that it has. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true
    clearInterval(this.#tick)
    clearTimeout(this.#flush)
    this.#subjects[Symbol.dispose]()
    await this.#lock.idle()
    // A set that came into force just now has begun to wait.
    this.#drained[Symbol.dispose]()
  }

  #flushSoon(): void {
    if (this.#flush !== undefined || this.#force === undefined || this.#disposed) return
    const wait = Math.max(FLUSH_MS, this.#flushedAt + FLUSH_AGAIN_MS - performance.now())
    this.#flushIn(wait)
  }

  #flushIn(ms: number): void {
    this.#flush = setTimeout(() => {
      void this.#lock
        .run(() => this.#flushNow(new TimeSlice()))
        .then(
          () => {
            this.#flush = undefined
            if (this.#subjects.pending > 0) this.#flushSoon()
          },
          (error: unknown) => this.#flushFailed(error),
        )
    }, ms).unref()
  }

  #flushFailed(error: unknown): void {
    this.#failures++
    this.#limiter.run('flush', (held) =>
      this.#log.error({ err: errorText(error), held }, 'Cannot write whose addresses are whose: tried again'),
    )
    if (!this.#disposed) this.#flushIn(RETRY_MS)
  }

  /** Writes what changed; flows whose ends it concerns are judged again with their next event. */
  async #flushNow(slice: TimeSlice): Promise<void> {
    const { generation, enabled } = this.#maps.generation()
    const changed = await this.#subjects.flush(generation & 1 ? 1 : 0, slice)
    this.#flushedAt = performance.now()
    if (!changed || !enabled) return
    this.#maps.reevaluate()
    this.#reevaluations++
  }

  /** Once a second. */
  async #look(): Promise<void> {
    if (this.#force === undefined || this.#disposed) return
    try {
      await this.#lock.run(() => this.#renew())
    } catch (error) {
      this.#failures++
      this.#limiter.run('look', (held) =>
        this.#log.error({ err: errorText(error), held }, 'Cannot keep the filters in the kernel up to date'),
      )
    }
  }

  /** Asked inside of the lock: the rules in force are others after each apply() that this waited for. */
  async #renew(): Promise<void> {
    const force = this.#force!
    if (!this.#isOutdated(force)) return this.#counts.refresh()
    this.#renewedAt = performance.now()
    await this.#apply(force.rules, performance.now())
  }

  /**
   * The node's labels changed what rules mean, or so many endpoints came and went that the table of matches is full, or
   * classes are held for writes that were refused.
   */
  #isOutdated({ set, plan, nodeLabels }: Force): boolean {
    if (plan.readsNodeLabels && this.#state.nodeLabels !== nodeLabels) return true
    if (performance.now() - this.#renewedAt <= RENEW_MS) return false
    return this.#maps.matchesUsed(set) >= MAX_MATCHES || this.#subjects.holdsClasses
  }
}

const MAX_MATCHES = FilterLimit.MATCHES - FilterMatchId.FIRST

/** The plan fits by its making; another one's entries may still be there. */
function needAll(what: string, written: number, wanted: number): void {
  if (written < wanted) throw new Error(`Cannot write ${wanted} ${what} of filters: the kernel took ${written}`)
}
