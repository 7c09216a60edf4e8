import { errorText, SluiceError } from '../../base/errors.ts'
import { type Logger, LogLimiter, silentLogger } from '../../base/logger.ts'
import { Pause } from '../../base/pause.ts'
import type { FlowPredicate } from '../../filters/predicate.ts'
import { CONSUMER_BITS, type FlowJudge, type RuleSet } from '../../filters/rules.ts'
import type { Exporter, FlowStore, TelemetrySink, TelemetrySource } from '../../model/contracts.ts'
import { StageLedger } from '../../model/ledger.ts'
import { BackupKeeper } from './backup-keeper.ts'
import { Chunk, type ChunkSource } from './chunk.ts'
import type { ResolvedJsonLogOptions } from './config.ts'
import { type LineCount, lineBytes } from './count-lines.ts'
import { FlowEncoder } from './encode.ts'
import type { Emitter } from './flow-fragments.ts'
import { Flushes } from './flushes.ts'
import { type FileEvent, isHopeless, LogFile, LogWriteError, toWriteError } from './log-file.ts'
import { LostLines } from './lost-lines.ts'
import { sleep } from './sleep.ts'
import { JsonLogTelemetry } from './telemetry.ts'

export interface JsonLogDependencies {
  readonly logger?: Logger
  /** Which flows the log takes; without it every flow. */
  readonly judge?: FlowJudge | undefined
  /** Whether there is a log from the start; filtersChanged() says so later. Default true. */
  readonly isOn?: boolean
  /** flow.proto Emitter of each line. */
  readonly emitter?: Emitter
}

/**
 * Writes flows to a file as JSON lines.
 *
 * The history is the queue. accept() only notes how far it goes; a pump encodes the next chunk while the file takes
 * the one before, in turn in two buffers, as fast as the disk allows. What a slow or broken disk does not take in
 * time is overwritten in the history, and counted here as lost with the reason.
 *
 *   flows    first ......... confirmed ..... next ............ end
 *            forgotten       in the file     in a buffer       waiting in the history
 *
 * While no filter asks for a log it is off: what had been accepted before is still written, the file is closed, and what
 * comes is left out at once.
 */
export class JsonLogExporter implements Exporter, TelemetrySource {
  readonly name = 'json-log'
  readonly ledger = new StageLedger('json-log')
  readonly #options: ResolvedJsonLogOptions
  readonly #judge: FlowJudge | undefined
  readonly #emitter: Emitter | undefined
  readonly #encoder: FlowEncoder
  readonly #file: LogFile
  readonly #keeper: BackupKeeper
  readonly #lost = new LostLines()
  readonly #telemetry: JsonLogTelemetry
  readonly #wake = new Pause()
  readonly #stop = new AbortController()
  #source: ChunkSource | undefined
  #confirmed = 0
  #next = 0
  #end = 0
  /** Chunks encoded and not yet in the file. */
  #inFlight = 0
  #isOn: boolean
  /** While it is off: flows from here on are left out. */
  #offFrom = 0
  #mustOpen = false
  #pump: Promise<void> | undefined
  #lostLine: Disposable | undefined
  readonly #flushes = new Flushes()

  constructor(options: ResolvedJsonLogOptions, dependencies: JsonLogDependencies = {}) {
    const logger = (dependencies.logger ?? silentLogger).child({ exporter: 'json-log' })
    this.#options = options
    this.#judge = dependencies.judge
    this.#isOn = dependencies.isOn ?? true
    this.#emitter = dependencies.emitter
    this.#encoder = new FlowEncoder({ fieldMask: options.fieldMask, emitter: dependencies.emitter })
    this.#telemetry = new JsonLogTelemetry(options.path, logger, new LogLimiter())
    this.#file = new LogFile({ ...options, onEvent: (event) => this.#onFileEvent(event) })
    this.#keeper = new BackupKeeper(this.#file.backups, {
      maxBackups: options.maxBackups,
      compress: options.compress,
      onError: (task, error) => this.#telemetry.keeperFailed(task, error),
    })
  }

  /**
   * Opens the file, repairs its end and begins to write. A directory that cannot be written to now is tried again for
   * as long as the exporter lives.
   *
   * @throws SluiceError SLUICE_EXPORTER_START when the path can never be a file
   */
  async start(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#isOn) {
      const error = await this.#open()
      if (error !== undefined && isHopeless(error)) {
        const text = `Cannot open log "${this.#options.path}": ${errorText(error)}, want the path of a file`
        throw new SluiceError('SLUICE_EXPORTER_START', text, { cause: error })
      }
      if (error !== undefined) this.#telemetry.openFailed(toWriteError(error, this.#options.path))
    }
    this.#pump = this.#run()
  }

  /** Call when rules came into force, after the judge has them: they say whether there is a log at all. */
  filtersChanged(rules: RuleSet): void {
    const isOn = rules.consumers.find(({ bit }) => bit === CONSUMER_BITS.LOG)?.isOn ?? false
    if (isOn === this.#isOn) return
    this.#isOn = isOn
    // Back so soon that it has not stopped yet, it never was off: the judge knows what is to be written.
    if (isOn) this.#mustOpen = this.#pump !== undefined
    else this.#offFrom = this.#end
    this.#telemetry.switched(isOn)
    this.#wake.end()
  }

  accept(store: FlowStore, first: number, end: number): void {
    if (this.#source?.store !== store) this.#bind(store, first)
    this.ledger.accepted += end - this.#end
    this.#end = end
    if (this.#isOff()) {
      this.#leaveOut()
      return
    }
    this.#skipOverwritten(store)
    this.ledger.waiting = this.#waiting()
    this.#wake.end()
  }

  /**
   * Flows below are in the file, or lost and counted. When the disk is more than maxHeldFlows behind, the kernel's ring
   * is released for the other consumers' sake: those flows still wait in the history and are still written, only a
   * kill of the agent in that state would lose them.
   */
  get settled(): number {
    return Math.max(this.#confirmed, this.#end - this.#options.maxHeldFlows)
  }

  get trouble(): string | undefined {
    return this.#isOn ? this.#telemetry.failure : undefined
  }

  get state(): string | undefined {
    return this.#isOn ? undefined : 'off: no ContainerNetworkLog asks for it'
  }

  /** What flows of the history would take in this log: as lineBytes(). */
  async countLines(
    { store, first, end }: { readonly store: FlowStore; readonly first: number; readonly end: number },
    wants: FlowPredicate,
    signal?: AbortSignal,
  ): Promise<LineCount> {
    return await lineBytes(store, first, end, wants, this.#options.fieldMask, { emitter: this.#emitter, signal })
  }

  async flush(deadlineMs: number): Promise<void> {
    const target = this.#end
    if (this.#confirmed >= target && this.#lost.isEmpty) return
    this.#wake.end()
    await this.#flushes.wait(target, deadlineMs)
  }

  /** Stops after the chunk being written. What waits stays counted as waiting: the ring still has it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#wake.end()
    this.#lostLine?.[Symbol.dispose]()
    await this.#pump
    await this.#keeper.close()
    await this.#file.close()
    this.#flushes.settle(Number.POSITIVE_INFINITY)
  }

  collect(sink: TelemetrySink): void {
    this.#telemetry.collect(sink, {
      fileBytes: this.#file.size,
      isOn: this.#isOn,
      isOpen: this.#file.isOpen,
      backups: this.#keeper.count,
      compressed: this.#keeper.compressed,
      waitingFlows: this.ledger.waiting,
      releasedFlows: this.settled - this.#confirmed,
      cacheMisses: this.#encoder.misses,
      cacheBytes: this.#encoder.cachedBytes,
    })
  }

  /** Resolves when rotated files are as they should be; for tests. */
  async backupsSettled(): Promise<void> {
    await this.#keeper.idle()
  }

  #bind(store: FlowStore, first: number): void {
    if (this.#source !== undefined) throw new Error('json-log was given flows of two histories')
    const view = store.createView()
    this.#source = { store, view, encoder: this.#encoder, judge: this.#judge, lost: this.#lost }
    this.#confirmed = first
    this.#next = first
    this.#end = first
    this.#offFrom = first
    this.#lostLine = store.onLost((lost) => {
      if (!this.#isOn) return
      this.#lost.add(lost)
      this.#wake.end()
    })
  }

  /** One past the last flow to be looked at. */
  #limit(): number {
    return this.#isOn ? this.#end : this.#offFrom
  }

  /** True when the log is off and what was accepted before has been dealt with. */
  #isOff(): boolean {
    return !this.#isOn && this.#inFlight === 0 && this.#next >= this.#offFrom
  }

  #leaveOut(): void {
    this.ledger.filtered += this.#end - this.#next
    this.#next = this.#end
    this.#confirmed = this.#end
    this.ledger.waiting = this.#waiting()
  }

  #waiting(): number {
    return this.ledger.accepted - this.ledger.delivered - this.ledger.filtered - this.ledger.lost
  }

  /** Counts flows that the history no longer has: nobody but the disk was too slow for them. */
  #skipOverwritten(store: FlowStore): void {
    const first = Math.min(store.first, this.#limit())
    const overwritten = first - this.#next
    if (overwritten <= 0) return
    this.ledger.lose(this.#telemetry.failure ?? 'history_overrun', overwritten)
    this.#telemetry.overran(overwritten)
    this.#lost.addOverrun(overwritten, Date.now())
    this.#next = first
  }

  /** Encodes and writes in turn until stopped. */
  async #run(): Promise<void> {
    const chunks = [new Chunk(this.#options.chunkBytes), new Chunk(this.#options.chunkBytes)] as const
    let written: Promise<void> = Promise.resolve()
    let turn = 0
    while (!this.#stop.signal.aborted) {
      const source = this.#source
      if (this.#mustOpen) {
        this.#mustOpen = false
        await written
        const error = await this.#open()
        if (error !== undefined) this.#telemetry.openFailed(toWriteError(error, this.#options.path))
        continue
      }
      if (source === undefined || (this.#next >= this.#limit() && this.#lost.isEmpty)) {
        if (this.#isOff() && this.#file.isOpen) await this.#file.close()
        else await this.#wake.wait()
        continue
      }
      this.#skipOverwritten(source.store)
      // At most the other one is on its way: the one before it was awaited when that one was sent.
      const chunk = chunks[turn]!
      turn ^= 1
      chunk.fill(source, this.#next, this.#limit())
      this.#next = chunk.end
      this.#inFlight++
      await written
      // A chunk of nothing but left-out flows is settled without a write; the pause lets others run in between.
      written = chunk.length === 0 ? nextTurn().then(() => this.#settle(chunk)) : this.#deliver(chunk)
    }
    await written
  }

  /** Writes a chunk, again and again until the file has it or the exporter is stopped. */
  async #deliver(chunk: Chunk): Promise<void> {
    let waitMs = this.#options.retryMinMs
    for (;;) {
      try {
        await this.#file.write(chunk.bytes)
        break
      } catch (error) {
        if (!(error instanceof LogWriteError)) throw error
        this.#telemetry.writeFailed(error, waitMs)
        // Nobody wants the log any more: it does not wait for the disk.
        if (!this.#isOn) return this.#settle(chunk, error.reason)
        if (!(await sleep(waitMs, this.#stop.signal))) return
        waitMs = Math.min(waitMs * 2, this.#options.retryMaxMs)
      }
    }
    this.#telemetry.wrote(chunk.lines, chunk.length)
    this.#settle(chunk)
  }

  /** @param failure why its flows are lost; undefined when they are in the file */
  #settle(chunk: Chunk, failure?: string): void {
    if (failure === undefined) this.ledger.delivered += chunk.flows
    else this.ledger.lose(failure, chunk.flows)
    this.ledger.filtered += chunk.filtered
    if (chunk.tooLong > 0) {
      this.ledger.lose('line_too_long', chunk.tooLong)
      this.#telemetry.tooLong(chunk.tooLong)
    }
    this.ledger.waiting = this.#waiting()
    this.#inFlight--
    this.#confirmed = this.#inFlight === 0 ? this.#next : chunk.end
    if (this.#isOff()) {
      this.#leaveOut()
      this.#wake.end()
    }
    if (this.#inFlight === 0 && this.#lost.isEmpty) this.#flushes.settle(this.#confirmed)
  }

  /** Opens the file where it is not open. @returns what went wrong; the next write tries again */
  async #open(): Promise<Error | undefined> {
    if (this.#file.isOpen) return undefined
    try {
      await this.#file.open()
      this.#keeper.ask()
      return undefined
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  #onFileEvent(event: FileEvent): void {
    this.#telemetry.file(event)
    if (event.kind === 'rotated') this.#keeper.ask()
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
