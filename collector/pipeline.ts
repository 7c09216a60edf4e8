import { errorText } from '../base/errors.ts'
import { type Logger, LogLimiter, silentLogger } from '../base/logger.ts'
import type { Exporter, TelemetrySink, TelemetrySource } from '../model/contracts.ts'
import { type LedgerLine, StageLedger } from '../model/ledger.ts'
import type { RecordClock } from './clock.ts'
import { checkRecord } from './decode.ts'
import { FlowRate } from './flow-rate.ts'
import type { FlowHistory } from './history.ts'
import { L7Decoder } from './l7/decoder.ts'
import type { RedactOptions } from './l7/redact.ts'
import { ReleaseQueue } from './release-queue.ts'
import { type RecordSource, Stamper } from './stamp.ts'
import type { CollectorState } from './state.ts'
import { collectTelemetry } from './telemetry.ts'

/** How often the ring is looked into: a wake-up per record would cost the sender microseconds. */
export const DRAIN_INTERVAL_MS = 10
/** What one turn may take of the event loop before others are let in. */
export const TURN_BUDGET_MS = 5
/** Flows handed on at once: some hundred microseconds of work, so that a turn ends near its budget. */
export const BLOCK_FLOWS = 1024

/** The kernel's half of the ledger; collector/kernel/ reads it from the maps. */
export interface KernelSide {
  /** Records that found the ring full, ever. */
  ringLost(): number
  /** Stages before this one, `kernel` last. */
  ledger(): readonly LedgerLine[]
}

export interface CollectorOptions {
  readonly state: CollectorState
  readonly clock: RecordClock
  readonly sources: readonly RecordSource[]
  readonly exporters: readonly Exporter[]
  readonly kernel?: KernelSide
  readonly redact?: RedactOptions
  readonly log?: Logger
  readonly intervalMs?: number
  readonly budgetMs?: number
  /** Milliseconds that only go forward, and the wall clock's. */
  readonly monotonicMs?: () => number
  readonly wallMs?: () => number
}

/**
 * Moves records from the sources into the history and on to the exporters.
 *
 *   1. Every 10 ms take records, check their form, stamp them, admit them to the history: a block.
 *   2. Hand the block to each exporter.
 *   3. Release the sources as far as all exporters have settled, so that what a killed agent had not delivered is still
 *      in the ring. An exporter that settles nothing holds at most half of a ring: beyond that the ring goes on, the
 *      exporter reads from the history as long as that reaches, and `releasedUnsettled` counts the flows whose only
 *      copy is in memory.
 *   4. Once a second read the clocks, count what the kernel lost, forget what no flow names.
 *
 * No turn holds the event loop for more than its budget and one block.
 */
export class Collector implements TelemetrySource, AsyncDisposable {
  readonly state: CollectorState
  readonly clock: RecordClock
  readonly l7: L7Decoder
  readonly decodeLedger = new StageLedger('decode')
  readonly historyLedger = new StageLedger('history')
  /** Flows whose records were given back to a source before every exporter had settled them. */
  releasedUnsettled = 0
  /** Longest turn since start, milliseconds. */
  longestTurnMs = 0
  readonly #history: FlowHistory
  readonly #sources: readonly RecordSource[]
  readonly #exporters: readonly Exporter[]
  readonly #kernel: KernelSide | undefined
  readonly #stamper: Stamper
  readonly #queue: ReleaseQueue
  readonly #rate = new FlowRate()
  readonly #log: Logger
  readonly #limiter = new LogLimiter()
  readonly #intervalMs: number
  readonly #budgetMs: number
  readonly #monotonicMs: () => number
  readonly #wallMs: () => number
  readonly #startedMs: number
  readonly #positionOf: (source: number) => number
  #nextTickMs: number
  #lastTurnMs: number
  #lastTickWallMs: number
  #ringLost = 0
  /** Flows below were released, settled or not. */
  #releasedEnd = 0
  #turn = 0
  #mustMaintain = false
  #stop: (() => void) | undefined

  constructor(options: CollectorOptions) {
    this.state = options.state
    this.clock = options.clock
    this.l7 = new L7Decoder(options.redact)
    this.#history = options.state.history
    this.#sources = options.sources
    this.#exporters = options.exporters
    this.#kernel = options.kernel
    this.#log = options.log ?? silentLogger
    this.#intervalMs = options.intervalMs ?? DRAIN_INTERVAL_MS
    this.#budgetMs = options.budgetMs ?? TURN_BUDGET_MS
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now())
    this.#wallMs = options.wallMs ?? Date.now
    this.#stamper = new Stamper({
      history: this.#history,
      clock: this.clock,
      endpoints: this.state.endpoints,
      services: this.state.services,
      names: this.state.learnedNames,
      namespaces: this.state.namespaces,
      l7: this.l7,
      dropReasonAt: (reason, location) => this.state.dropReasonAt(reason, location),
    })
    this.#queue = new ReleaseQueue(this.#sources.map(({ reader }) => reader.position))
    this.#positionOf = (source) => this.#sources[source]!.reader.position
    this.#startedMs = this.#monotonicMs()
    this.#lastTurnMs = this.#startedMs
    this.#nextTickMs = this.#startedMs + 1000
    this.#lastTickWallMs = this.#wallMs()
    // What was lost before this agent started is an older agent's to tell.
    this.#ringLost = this.#kernel?.ringLost() ?? 0
    this.state.namespaces.tick(this.#startedMs / 1000)
  }

  /** Begins to drain; stop() ends it. */
  start(): void {
    if (this.#stop !== undefined) return
    let timer: NodeJS.Timeout | undefined
    let immediate: NodeJS.Immediate | undefined
    const turn = () => {
      const hasMore = this.drain()
      if (this.#stop === undefined) return
      if (hasMore) immediate = setImmediate(turn)
      else timer = setTimeout(turn, this.#intervalMs)
    }
    this.#stop = () => {
      clearTimeout(timer)
      clearImmediate(immediate)
      this.#stop = undefined
    }
    timer = setTimeout(turn, this.#intervalMs)
  }

  /** One turn. @returns true when the budget ended before the records did */
  drain(): boolean {
    const started = this.#monotonicMs()
    this.#lastTurnMs = started
    if (started >= this.#nextTickMs) this.#tick(started)
    else if (this.#mustMaintain) this.#mustMaintain = this.state.maintainEndpoints()
    const before = this.#history.end
    let now = started
    let taken: number
    do {
      taken = this.#block()
      now = this.#monotonicMs()
    } while (taken > 0 && now - started < this.#budgetMs)
    this.#release()
    if (this.#history.end !== before) this.#history.publish()
    const spent = this.#monotonicMs() - started
    if (spent > this.longestTurnMs) this.longestTurnMs = spent
    return taken > 0
  }

  /**
   * Drains what is there, waits for the exporters, releases what they settled.
   *
   * @param deadlineMs after which it gives up; what was not delivered stays in the kernel's ring
   */
  async stop(deadlineMs = 5000): Promise<void> {
    this.#stop?.()
    const end = this.#monotonicMs() + deadlineMs
    while (this.drain() && this.#monotonicMs() < end) await new Promise((resolve) => setImmediate(resolve))
    const left = Math.max(0, end - this.#monotonicMs())
    await Promise.allSettled(this.#exporters.map((exporter) => exporter.flush(left)))
    this.#release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Flows a second over the last minute. */
  get flowsPerSecond(): number {
    return this.#rate.perSecond(this.#history.end)
  }

  get uptimeMs(): number {
    return this.#monotonicMs() - this.#startedMs
  }

  /** Since drain() ran last; a healthy agent's is some ten milliseconds. */
  get sinceLastTurnMs(): number {
    return this.#monotonicMs() - this.#lastTurnMs
  }

  /** Bytes of a source that were read and not given back yet. */
  heldBytes(source: number): number {
    return this.#sources[source]!.reader.position - this.#queue.released(source)
  }

  /** Every stage, in the direction of the flows. */
  ledger(): LedgerLine[] {
    const own = [this.decodeLedger.toJSON(), this.historyLedger.toJSON()]
    return [...(this.#kernel?.ledger() ?? []), ...own, ...this.#exporters.map(({ ledger }) => ledger.toJSON())]
  }

  collect(sink: TelemetrySink): void {
    collectTelemetry(this, sink)
  }

  /** Takes at most BLOCK_FLOWS records, the sources in turn, and hands them on. @returns records taken */
  #block(): number {
    const history = this.#history
    const first = history.end
    const limit = Math.min(BLOCK_FLOWS, history.capacity >> 1)
    const messages = history.l7.written + (history.l7.capacity >> 1)
    let taken = 0
    const count = this.#sources.length
    for (let i = 0; i < count && taken < limit; i++) {
      taken += this.#take(this.#sources[(this.#turn + i) % count]!, limit - taken, messages)
    }
    if (taken === 0) {
      // Discarded records take room as well, and no flow stands for them.
      if (this.#skipped()) this.#queue.push(first, this.#positionOf)
      return 0
    }
    this.#turn = (this.#turn + 1) % count
    const end = history.end
    this.historyLedger.accepted += end - first
    if (end > first) this.#deliver(first, end)
    this.historyLedger.delivered += end - first
    this.#queue.push(end, this.#positionOf)
    return taken
  }

  /** Whether a source moved over something that was no record. */
  #skipped(): boolean {
    for (let i = 0; i < this.#sources.length; i++) if (this.#positionOf(i) > this.#queue.noted(i)) return true
    return false
  }

  #take(source: RecordSource, limit: number, messages: number): number {
    const { reader } = source
    const { decodeLedger: ledger } = this
    const { l7 } = this.#history
    let taken = 0
    while (taken < limit && l7.written < messages) {
      const offset = reader.next()
      if (offset < 0) break
      taken++
      ledger.accepted++
      const failure = checkRecord(reader, offset)
      if (failure !== undefined) {
        ledger.lose(failure, 1)
        this.#sayFailure(source.name, failure)
      } else this.#admit(source, offset)
    }
    return taken
  }

  /** Bytes of a packet end up here: whatever they are, one record is the most they may cost. */
  #admit(source: RecordSource, offset: number): void {
    const before = this.#history.end
    try {
      if (this.#stamper.admit(source, offset)) this.decodeLedger.delivered++
      else this.decodeLedger.filtered++
    } catch (error) {
      if (this.#history.end > before) this.decodeLedger.delivered++
      else this.decodeLedger.lose('internal_error', 1)
      this.#limiter.run('admit', (held) =>
        this.#log.error({ source: source.name, err: errorText(error), held }, 'Cannot stamp a record'),
      )
    }
  }

  #sayFailure(source: string, failure: string): void {
    this.#limiter.run(failure, (held) =>
      this.#log.warn({ source, failure, held }, 'Cannot read a record: left out and counted'),
    )
  }

  #deliver(first: number, end: number): void {
    for (const exporter of this.#exporters) {
      try {
        exporter.accept(this.#history, first, end)
      } catch (error) {
        this.#limiter.run(`accept ${exporter.name}`, (held) =>
          this.#log.error({ exporter: exporter.name, err: errorText(error), held }, 'Exporter failed to take a block'),
        )
      }
    }
  }

  #release(): void {
    const queue = this.#queue
    let settled = this.#history.end
    for (const exporter of this.#exporters) settled = Math.min(settled, exporter.settled)
    let moved = false
    while (queue.oldestEnd <= settled) {
      queue.shift()
      moved = true
    }
    while (queue.size > 1 && this.#holdsTooMuch()) {
      const from = Math.max(settled, this.#releasedEnd)
      this.releasedUnsettled += Math.max(0, queue.oldestEnd - from)
      this.#releasedEnd = queue.oldestEnd
      queue.shift()
      moved = true
    }
    if (!moved) return
    for (let i = 0; i < this.#sources.length; i++) this.#sources[i]!.reader.release(queue.released(i))
  }

  #holdsTooMuch(): boolean {
    for (let i = 0; i < this.#sources.length; i++) {
      const { reader, holdBytes } = this.#sources[i]!
      if (this.heldBytes(i) > (holdBytes ?? reader.u8.length >> 2)) return true
    }
    return false
  }

  #tick(now: number): void {
    this.#nextTickMs = Math.max(this.#nextTickMs + 1000, now + 500)
    const changeNs = this.clock.refresh()
    if (Math.abs(changeNs) > 1e9) {
      this.#log.info({ seconds: changeNs / 1e9 }, 'Wall clock was stepped: flows from now on have the new time')
    }
    this.#rate.tick(this.#history.end)
    this.state.namespaces.tick(now / 1000)
    this.#mustMaintain = this.state.maintain()
    this.#tellLost()
  }

  #tellLost(): void {
    const wallMs = this.#wallMs()
    const total = this.#kernel?.ringLost() ?? 0
    const count = total - this.#ringLost
    if (count > 0) {
      const firstMs = Math.min(this.#lastTickWallMs, wallMs)
      this.#history.lose({ source: 1, count, cpu: undefined, firstMs, lastMs: wallMs })
      this.#limiter.run('ring', (held) =>
        this.#log.warn({ count, held }, 'Kernel ring was full: records lost, packets stay with their flows'),
      )
    }
    this.#ringLost = total
    this.#lastTickWallMs = wallMs
  }
}
