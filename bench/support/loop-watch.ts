const TICK_MS = 1

/**
 * How long the event loop is held, told by a timer of one millisecond: the longest time between two of its ticks, by the
 * wall clock and by this process's CPU time. On a machine that others use too, the wall clock also counts the time that
 * the scheduler gave to them; CPU time counts what was done here alone.
 */
export class LoopWatch implements Disposable {
  worstWallMs = 0
  worstCpuMs = 0
  readonly #timer: NodeJS.Timeout
  #wall = performance.now()
  #cpu = process.cpuUsage()

  constructor() {
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
  }

  #tick(): void {
    const now = performance.now()
    const { user, system } = process.cpuUsage(this.#cpu)
    this.#cpu = process.cpuUsage()
    this.worstWallMs = Math.max(this.worstWallMs, now - this.#wall - TICK_MS)
    this.worstCpuMs = Math.max(this.worstCpuMs, (user + system) / 1000)
    this.#wall = now
  }

  [Symbol.dispose](): void {
    this.#tick()
    clearInterval(this.#timer)
  }
}
