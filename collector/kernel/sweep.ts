import { errorText } from '../../base/errors.ts'
import { type Logger, LogLimiter } from '../../base/logger.ts'
import { SWEEP_ARGS } from '../../model/layouts.gen.ts'
import type { BpfProgram } from '../../native/index.ts'

const INTERVAL_MS = 1000
/** Up to this part of the table the configured time-outs are in force; they shrink from there to a sixteenth. */
const RELAXED = 0.5
const FULL = 0.95
const SHORTEST = 1 / 16
/** Shorter would take flows out between two packets of a slow conversation. */
const MIN_IDLE_MS = 1000

/** What the last sweep found; counts of flows, packets, bytes. */
export interface SweepResult {
  /** Flows left in the table. */
  readonly entries: number
  /** Packets and bytes in the table that no record has carried out yet. */
  readonly openPackets: number
  readonly openBytes: number
  readonly removed: number
  /** Records made. */
  readonly reported: number
  /** Factor on the time-outs, 1 while there is room. */
  readonly pressure: number
}

export interface SweeperOptions {
  readonly maxFlows: number
  readonly tcpIdleMs: number
  readonly otherIdleMs: number
  readonly closedIdleMs: number
  readonly logger: Logger
}

const NONE: SweepResult = { entries: 0, openPackets: 0, openBytes: 0, removed: 0, reported: 0, pressure: 1 }

/** Runs the program flow_sweep every second, on another thread: it walks the whole table. */
export class Sweeper implements AsyncDisposable {
  readonly #program: BpfProgram
  readonly #options: SweeperOptions
  readonly #args = new BigUint64Array(SWEEP_ARGS.SIZE / 8)
  readonly #argBytes = new Uint8Array(this.#args.buffer)
  readonly #limiter = new LogLimiter()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<SweepResult> | undefined
  #last = NONE
  #sweeps = 0
  #failures = 0
  /** How often slots changed their devices, and how often that was when the flows were last told. */
  #slotChanges = 0
  #slotsKnown = 0

  /** @param program flow_sweep; disposed by this */
  constructor(program: BpfProgram, options: SweeperOptions) {
    this.#program = program
    this.#options = options
  }

  get last(): SweepResult {
    return this.#last
  }

  get sweeps(): number {
    return this.#sweeps
  }

  get failures(): number {
    return this.#failures
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.sweep().catch((error: unknown) => {
        this.#limiter.run('sweep', (held) =>
          this.#options.logger.error({ error: errorText(error), held }, 'cannot sweep the flow table'),
        )
      })
    }, INTERVAL_MS).unref()
  }

  /** From the next sweep on flows count into the slots that their devices have then. */
  refreshSlots(): void {
    this.#slotChanges++
  }

  /** One sweep now; joins the one that is running. @throws Error of the kernel, counted */
  sweep(): Promise<SweepResult> {
    this.#running ??= this.#sweep().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  /** Waits for a sweep that is running. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    await this.#running?.catch(() => undefined)
    this.#program[Symbol.dispose]()
  }

  async #sweep(): Promise<SweepResult> {
    const { tcpIdleMs, otherIdleMs, closedIdleMs, maxFlows } = this.#options
    const pressure = pressureOf(this.#last.entries / maxFlows)
    this.#args.fill(0n)
    this.#args[SWEEP_ARGS.tcpIdleNs / 8] = idleNs(tcpIdleMs, pressure)
    this.#args[SWEEP_ARGS.otherIdleNs / 8] = idleNs(otherIdleMs, pressure)
    this.#args[SWEEP_ARGS.closedIdleNs / 8] = idleNs(closedIdleMs, pressure)
    // Better late than lost, as long as new flows find room.
    this.#args[SWEEP_ARGS.keepUnreported / 8] = pressure > SHORTEST ? 1n : 0n
    const slotChanges = this.#slotChanges
    this.#args[SWEEP_ARGS.refreshSlots / 8] = slotChanges === this.#slotsKnown ? 0n : 1n
    this.#sweeps++
    let answer: number
    try {
      answer = await this.#program.run(this.#argBytes)
    } catch (error) {
      this.#failures++
      throw error
    }
    if (answer !== 0) {
      this.#failures++
      throw new Error(`Cannot sweep the flow table: the program returned ${answer | 0}`)
    }
    this.#slotsKnown = slotChanges
    this.#last = {
      entries: Number(this.#args[SWEEP_ARGS.entries / 8]),
      openPackets: Number(this.#args[SWEEP_ARGS.openPackets / 8]),
      openBytes: Number(this.#args[SWEEP_ARGS.openBytes / 8]),
      removed: Number(this.#args[SWEEP_ARGS.removed / 8]),
      reported: Number(this.#args[SWEEP_ARGS.reported / 8]),
      pressure,
    }
    return this.#last
  }
}

/** Factor on the time-outs when this part of the table is used. */
export function pressureOf(fill: number): number {
  if (fill <= RELAXED) return 1
  if (fill >= FULL) return SHORTEST
  return 1 - ((fill - RELAXED) / (FULL - RELAXED)) * (1 - SHORTEST)
}

function idleNs(configuredMs: number, pressure: number): bigint {
  const ms = Math.max(Math.min(configuredMs, MIN_IDLE_MS), configuredMs * pressure)
  return BigInt(Math.round(ms * 1e6))
}
