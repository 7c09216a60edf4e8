/** The part of pino's logger that Sluice uses; agent/ makes the real one. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  child(fields: object): Logger
}

export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
}

/** At most one message per interval for each key; the next one says how many were held back. */
export class LogLimiter {
  readonly #intervalMs: number
  readonly #now: () => number
  readonly #keys = new Map<string, { last: number; held: number }>()

  constructor(intervalMs = 10_000, now: () => number = Date.now) {
    this.#intervalMs = intervalMs
    this.#now = now
  }

  /** @param key from a closed set @param emit called with the number of messages held back since the last one */
  run(key: string, emit: (held: number) => void): void {
    const now = this.#now()
    const state = this.#keys.get(key)
    if (state && now - state.last < this.#intervalMs) {
      state.held++
      return
    }
    this.#keys.set(key, { last: now, held: 0 })
    emit(state?.held ?? 0)
  }
}
