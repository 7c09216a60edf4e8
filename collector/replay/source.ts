import { accessSync, constants } from 'node:fs'
import { errorText, SluiceError } from '../../base/errors.ts'
import { type Logger, LogLimiter, silentLogger } from '../../base/logger.ts'
import { FLOW_EVENT } from '../../model/layouts.gen.ts'
import type { RecordFacts, RecordSource } from '../stamp.ts'
import type { CollectorState } from '../state.ts'
import { type LineFailure, parseFlowLine, type ReplayedFlow } from './flow-line.ts'
import { ReplayInterner } from './interner.ts'
import { linesOf } from './lines.ts'
import { RecordWriter } from './record-writer.ts'
import { ReplayRing } from './ring.ts'

/** Mistakes that are kept with their line number; all are counted. */
const KEPT_MISTAKES = 20
/** Lines read at a stretch before others are let in. */
const LINES_PER_TURN = 256
/** Gap between two rounds of a looped file, so that no two flows share a time. */
const ROUND_GAP_NS = 1_000_000_000n

export interface ReplayOptions {
  /** Flows as JSON lines; gzip where the name ends in `.gz`. */
  readonly path: string
  /** 1 = as the flows came (default), 2 = twice as fast, Infinity = as fast as they are taken. */
  readonly speed?: number
  /** Begins again at the end, for ever. */
  readonly loop?: boolean
  /**
   * `original`: flows keep their times. `now`: the first flow is now, the others keep their distance to it; the default
   * unless `speed` is Infinity, so that a replay looks like traffic of this moment.
   */
  readonly times?: 'original' | 'now'
  readonly log?: Logger
  readonly nowMs?: () => number
}

/** A line that gave no flow. */
export interface LineMistake {
  readonly line: number
  readonly reason: LineFailure
}

/**
 * Replays a file of flows as records: everything behind the pipeline sees what it would see of live traffic, with the
 * names that the file has. Lines that are no flows are counted and named, and do not end the replay.
 *
 * What the record has no place for is not replayed: uuids are new, node names are this node's, policy verdicts become
 * traces.
 */
export class ReplaySource implements RecordSource, AsyncDisposable {
  readonly name = 'replay'
  readonly clock = 'wall'
  readonly reader: ReplayRing
  /** All of the ring: a file waits for exporters, as nothing is lost by waiting. */
  readonly holdBytes: number
  /** Lines read, over all rounds. */
  lines = 0
  /** Flows handed on. */
  flows = 0
  /** Lines by reason that gave no flow. */
  readonly failures = new Map<LineFailure, number>()
  /** The first mistakes. */
  readonly mistakes: LineMistake[] = []
  readonly #options: ReplayOptions
  readonly #state: CollectorState
  readonly #interner: ReplayInterner
  readonly #facts: (RecordFacts | undefined)[]
  readonly #writer: RecordWriter
  readonly #log: Logger
  readonly #limiter = new LogLimiter()
  readonly #nowMs: () => number
  readonly #abort = new AbortController()
  #done: Promise<void> | undefined
  /** Of the first flow of this round: its own time, the time it is given, and when it was due. */
  #origin: { readonly time: bigint; readonly given: bigint; readonly ms: number } | undefined
  #latest = 0n

  /** @param state whose tables take the file's names; its kernel names become the file's */
  constructor(options: ReplayOptions, state: CollectorState) {
    this.#options = options
    this.#state = state
    this.#log = options.log ?? silentLogger
    this.#nowMs = options.nowMs ?? Date.now
    this.#interner = new ReplayInterner(state)
    this.reader = new ReplayRing()
    this.#facts = new Array<RecordFacts | undefined>(this.reader.records).fill(undefined)
    this.holdBytes = this.reader.u8.length
    this.#writer = new RecordWriter(this.reader.u8, this.#interner)
    state.useKernelNames(this.#interner)
  }

  /**
   * Begins to replay.
   *
   * @returns ends when all flows were taken and settled, or with SLUICE_REPLAY_INVALID: the file cannot be read, or has
   *   no flow at all
   */
  start(): Promise<void> {
    this.#done ??= this.#run()
    return this.#done
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    this.reader.release(this.reader.position)
    await this.#done?.catch(() => {})
  }

  facts(offset: number): RecordFacts | undefined {
    return this.#facts[offset / FLOW_EVENT.SIZE]
  }

  async #run(): Promise<void> {
    const { path, loop } = this.#options
    try {
      accessSync(path, constants.R_OK)
    } catch (error) {
      throw new SluiceError('SLUICE_REPLAY_INVALID', `Cannot replay "${path}": ${errorText(error)}`, { cause: error })
    }
    do {
      this.#origin = undefined
      await this.#round(path)
      if (this.flows === 0 && !this.#abort.signal.aborted) throw this.#noFlow(path)
    } while (loop === true && !this.#abort.signal.aborted)
    while (!this.reader.isEmpty && !this.#abort.signal.aborted) await this.reader.released()
  }

  #noFlow(path: string): SluiceError {
    const first = this.mistakes[0]
    const why = first === undefined ? 'it is empty' : `line ${first.line} is ${first.reason}`
    return new SluiceError('SLUICE_REPLAY_INVALID', `Cannot replay "${path}": no flow in ${this.lines} lines, ${why}`)
  }

  async #round(path: string): Promise<void> {
    let sinceYield = 0
    try {
      for await (const { number, text } of linesOf(path)) {
        if (this.#abort.signal.aborted) return
        this.lines++
        if (++sinceYield >= LINES_PER_TURN) {
          sinceYield = 0
          await new Promise((resolve) => setImmediate(resolve))
        }
        if (text === undefined) this.#mistake(number, 'too_long')
        else if (text.trim() !== '') await this.#line(number, text)
      }
    } catch (error) {
      if (SluiceError.is(error)) throw error
      throw new SluiceError('SLUICE_REPLAY_INVALID', `Cannot replay "${path}": ${errorText(error)}`, { cause: error })
    }
  }

  async #line(number: number, text: string): Promise<void> {
    const parsed = parseFlowLine(text)
    if ('failure' in parsed) return this.#mistake(number, parsed.failure)
    if (parsed.kind === 'skipped') return
    if (parsed.kind === 'lost') {
      const ms = this.#nowMs()
      this.#state.history.lose({ ...parsed, cpu: undefined, firstMs: ms, lastMs: ms })
      return
    }
    const time = await this.#due(parsed.time)
    while (this.reader.free === 0 && !this.#abort.signal.aborted) await this.reader.released()
    if (this.#abort.signal.aborted) return
    if (this.#write(parsed, time)) this.flows++
    else this.#mistake(number, 'bad_address')
  }

  /** Waits until a flow is due. @returns the time that it is given */
  async #due(time: bigint): Promise<bigint> {
    const speed = this.#options.speed ?? 1
    const isPaced = Number.isFinite(speed) && speed > 0
    const times = this.#options.times ?? (isPaced ? 'now' : 'original')
    if (this.#origin === undefined) {
      const ms = this.#nowMs()
      let given = times === 'now' ? BigInt(Math.trunc(ms)) * 1_000_000n : time
      // A round begins after all times of the one before.
      if (this.#latest > 0n && given <= this.#latest) given = this.#latest + ROUND_GAP_NS
      this.#origin = { time, given, ms }
    }
    const since = time - this.#origin.time
    const paced = isPaced ? BigInt(Math.trunc(Number(since) / speed)) : since
    const given = this.#origin.given + (times === 'now' ? paced : since)
    if (given > this.#latest) this.#latest = given
    if (isPaced) {
      const wait = this.#origin.ms + Number(paced) / 1e6 - this.#nowMs()
      if (wait >= 1) await this.#sleep(wait)
    }
    return given < 0n ? 0n : given
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer)
        this.#abort.signal.removeEventListener('abort', finish)
        resolve()
      }
      // A timer's limit is 24.8 days; the next flow waits for the rest.
      const timer = setTimeout(finish, Math.min(ms, 0x7fff_ffff))
      this.#abort.signal.addEventListener('abort', finish)
    })
  }

  #mistake(line: number, reason: LineFailure): void {
    this.failures.set(reason, (this.failures.get(reason) ?? 0) + 1)
    if (this.mistakes.length < KEPT_MISTAKES) this.mistakes.push({ line, reason })
    const { path } = this.#options
    this.#limiter.run(reason, (held) => this.#log.warn({ path, line, reason, held }, 'Line of a replay gives no flow'))
  }

  /** @returns false when an address is none */
  #write(flow: ReplayedFlow, time: bigint): boolean {
    const interner = this.#interner
    const { reader } = this
    if (!this.#writer.write(reader.slot * FLOW_EVENT.SIZE, flow, time)) return false
    interner.interface(flow.ifindex, flow.interfaceName)
    this.#facts[reader.slot] = {
      srcEndpoint: interner.endpoint(flow.source),
      dstEndpoint: interner.endpoint(flow.destination),
      srcNames: interner.names(flow.sourceNames),
      dstNames: interner.names(flow.destinationNames),
      srcService: interner.service(flow.sourceService),
      dstService: interner.service(flow.destinationService),
      l7: flow.l7,
    }
    reader.commit()
    return true
  }
}
