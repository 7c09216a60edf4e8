import { residentBytes } from './process-facts.ts'

/** What was seen of an agent meanwhile. */
export interface HealthSeen {
  readonly answers: number
  /** Answers other than 200, and questions that had none. */
  readonly bad: number
  /** The longest time that an answer took, milliseconds. */
  readonly worstMs: number
  /** The most memory that it had, bytes. */
  readonly peakBytes: number
}

const EVERY_MS = 50
/** Who has not answered after so long does not answer. */
const TIMEOUT_MS = 5000

/** Asks an agent's /healthz 20 times a second, one question at a time, until it is told to end. */
export class HealthWatch {
  readonly #agent: { readonly health: string; readonly pid: number }
  readonly #running: Promise<void>
  #isOver = false
  #answers = 0
  #bad = 0
  #worstMs = 0
  #peakBytes = 0

  constructor(agent: { readonly health: string; readonly pid: number }) {
    this.#agent = agent
    this.#running = this.#run()
  }

  async end(): Promise<HealthSeen> {
    this.#isOver = true
    await this.#running
    return { answers: this.#answers, bad: this.#bad, worstMs: this.#worstMs, peakBytes: this.#peakBytes }
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const begun = performance.now()
      try {
        const response = await fetch(`http://${this.#agent.health}/healthz`, {
          signal: AbortSignal.timeout(TIMEOUT_MS),
        })
        await response.text()
        this.#answers++
        if (!response.ok) this.#bad++
        this.#peakBytes = Math.max(this.#peakBytes, residentBytes(this.#agent.pid))
      } catch {
        this.#bad++
      }
      this.#worstMs = Math.max(this.#worstMs, performance.now() - begun)
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS))
    }
  }
}
