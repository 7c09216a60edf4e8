import { errorText } from '../../base/errors.ts'
import type { Logger, LogLimiter } from '../../base/logger.ts'
import type { TelemetrySink } from '../../model/contracts.ts'
import type { FileEvent, LogWriteError, WriteFailure } from './log-file.ts'

/** State that the exporter knows and that is only read at a scrape. */
export interface LogState {
  readonly fileBytes: number
  readonly isOn: boolean
  readonly isOpen: boolean
  readonly backups: number
  readonly compressed: number
  readonly waitingFlows: number
  readonly releasedFlows: number
  readonly cacheMisses: number
  readonly cacheBytes: number
}

const FAILURES: readonly WriteFailure[] = ['disk_full', 'read_only', 'permission', 'io_error']
const MEDDLING = ['deleted', 'renamed', 'truncated'] as const

/**
 * What the log says of itself: each moment is one method, which counts it and tells the operator, at most once in ten
 * seconds for each kind.
 */
export class JsonLogTelemetry {
  readonly #path: string
  readonly #logger: Logger
  readonly #limiter: LogLimiter
  readonly #failures = new Map<WriteFailure, number>(FAILURES.map((reason) => [reason, 0]))
  readonly #meddling = new Map<string, number>(MEDDLING.map((kind) => [kind, 0]))
  readonly #keeperFailures = { prune: 0, compress: 0 }
  #lines = 0
  #bytes = 0
  #rotations = 0
  #repairs = 0
  #repairedBytes = 0
  #tooLong = 0
  /** Why the last attempt to write failed; undefined since one succeeded. */
  failure: WriteFailure | undefined
  #failedAttempts = 0
  /** Flows lost since the present trouble began. */
  #lostInTrouble = 0

  constructor(path: string, logger: Logger, limiter: LogLimiter) {
    this.#path = path
    this.#logger = logger
    this.#limiter = limiter
  }

  wrote(lines: number, bytes: number): void {
    this.#lines += lines
    this.#bytes += bytes
    if (this.failure === undefined) return
    const fields = { path: this.#path, failedAttempts: this.#failedAttempts, lostFlows: this.#lostInTrouble }
    this.#logger.info(fields, 'Log is written again')
    this.failure = undefined
    this.#failedAttempts = 0
    this.#lostInTrouble = 0
  }

  writeFailed(error: LogWriteError, retryMs: number): void {
    this.failure = error.reason
    this.#failedAttempts++
    this.#failures.set(error.reason, this.#failures.get(error.reason)! + 1)
    this.#limiter.run(`write ${error.reason}`, (held) => {
      const fields = { path: this.#path, reason: error.reason, retryMs, heldBack: held }
      this.#logger.error(fields, `${error.message}; flows wait in the history and are written when it works again`)
    })
  }

  openFailed(error: LogWriteError): void {
    this.failure = error.reason
    const fields = { path: this.#path, reason: error.reason }
    this.#logger.error(fields, `Cannot open log: ${errorText(error.cause)}; trying again with every write`)
  }

  /** The log came to be wanted, or is not wanted any more: a new beginning. */
  switched(isOn: boolean): void {
    this.failure = undefined
    this.#failedAttempts = 0
    this.#lostInTrouble = 0
    this.#logger.info(
      { path: this.#path },
      isOn ? 'Log is written: filters ask for it' : 'Log is off: no filter asks for it',
    )
  }

  overran(flows: number): void {
    this.#lostInTrouble += flows
    this.#limiter.run('overrun', (held) => {
      const fields = { path: this.#path, flows, heldBack: held }
      this.#logger.error(fields, 'Log lost flows: the disk took them more slowly than they came')
    })
  }

  tooLong(flows: number): void {
    this.#tooLong += flows
    this.#limiter.run('too-long', (held) => {
      this.#logger.warn({ flows, heldBack: held }, 'Log left out flows whose line would be longer than 64 KiB')
    })
  }

  keeperFailed(task: 'prune' | 'compress', error: unknown): void {
    this.#keeperFailures[task]++
    this.#limiter.run(task, (held) => {
      const fields = { path: this.#path, task, heldBack: held }
      this.#logger.warn(fields, `Cannot look after rotated logs: ${errorText(error)}`)
    })
  }

  file(event: FileEvent): void {
    switch (event.kind) {
      case 'opened':
        this.#logger.debug({ path: this.#path, bytes: event.size }, 'Log opened')
        return
      case 'rotated':
        this.#rotations++
        this.#logger.debug({ path: this.#path, to: event.name }, 'Log rotated')
        return
      case 'repaired':
        this.#repairs++
        this.#repairedBytes += event.cutBytes
        this.#logger.warn({ path: this.#path, cutBytes: event.cutBytes }, 'Log ended in half a line, which was cut off')
        return
      default:
        this.#meddling.set(event.kind, this.#meddling.get(event.kind)! + 1)
        this.#limiter.run(event.kind, (held) => {
          this.#logger.warn(
            { path: this.#path, heldBack: held },
            `Log was ${event.kind} by somebody else: opened again`,
          )
        })
    }
  }

  collect(sink: TelemetrySink, state: LogState): void {
    sink.counter('sluice_log_lines_total', 'Lines written to the log.', this.#lines)
    sink.counter('sluice_log_bytes_total', 'Bytes written to the log.', this.#bytes)
    sink.counter('sluice_log_rotations_total', 'Times the log was rotated.', this.#rotations)
    for (const [reason, count] of this.#failures) {
      sink.counter('sluice_log_write_errors_total', 'Writes to the log that failed; each is tried again.', count, {
        reason,
      })
    }
    for (const [kind, count] of this.#meddling) {
      const help = 'Times somebody else deleted, renamed or truncated the live log.'
      sink.counter('sluice_log_file_changes_total', help, count, { kind })
    }
    for (const [task, count] of Object.entries(this.#keeperFailures)) {
      const help = 'Failures to remove or compress rotated logs; each is tried again at the next rotation.'
      sink.counter('sluice_log_backup_errors_total', help, count, { task })
    }
    sink.counter('sluice_log_repairs_total', 'Times half a line was cut off the end of the log.', this.#repairs)
    sink.counter('sluice_log_repaired_bytes_total', 'Bytes cut off by repairs.', this.#repairedBytes)
    sink.counter(
      'sluice_log_lines_too_long_total',
      'Flows left out because of the length of their line.',
      this.#tooLong,
    )
    sink.counter('sluice_log_compressed_total', 'Rotated logs compressed.', state.compressed)
    sink.counter('sluice_log_cache_misses_total', 'Pieces of lines that had to be encoded.', state.cacheMisses)
    sink.gauge('sluice_log_cache_bytes', 'Bytes of encoded pieces of lines kept.', state.cacheBytes)
    sink.gauge('sluice_log_file_bytes', 'Size of the live log, 0 while it is not open.', state.fileBytes)
    sink.gauge('sluice_log_backups', 'Rotated logs kept.', state.backups)
    sink.gauge('sluice_log_waiting_flows', 'Flows waiting to be written.', state.waitingFlows)
    const help = 'Flows waiting to be written that the kernel ring no longer holds.'
    sink.gauge('sluice_log_released_flows', help, state.releasedFlows)
    sink.gauge('sluice_log_enabled', '1 while filters ask for a log.', state.isOn ? 1 : 0)
    sink.gauge('sluice_log_up', '1 while the log is open and its last write succeeded.', this.#isUp(state) ? 1 : 0)
  }

  #isUp(state: LogState): boolean {
    return state.isOpen && this.failure === undefined
  }
}
