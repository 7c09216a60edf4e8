/** How long the reading of answers may hold the event loop in one turn, all requests of a client together. */
const BUDGET_MS = 3

/**
 * Shares turns of the event loop between everything that reads from the API server: after the budget of a turn is
 * used up, readers wait, and one of them goes on in each turn that follows. Several lists at once so hold the loop no
 * longer than one does.
 */
export class Pacer {
  readonly #budgetMs: number
  readonly #waiting: (() => void)[] = []
  #turnEnds = 0
  #isTurn = false

  constructor(budgetMs: number = BUDGET_MS) {
    this.#budgetMs = budgetMs
  }

  /** Whether this turn's budget is used up, so that the caller has to await `next()` before it goes on. */
  get isOver(): boolean {
    const now = performance.now()
    if (!this.#isTurn) {
      this.#isTurn = true
      this.#turnEnds = now + this.#budgetMs
      setImmediate(() => this.#endTurn())
      return false
    }
    return now >= this.#turnEnds
  }

  /** Resolves in a later turn. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      if (!this.#isTurn) {
        this.#isTurn = true
        setImmediate(() => this.#endTurn())
      }
    })
  }

  #endTurn(): void {
    this.#isTurn = false
    const resume = this.#waiting.shift()
    if (resume === undefined) return
    this.#isTurn = true
    this.#turnEnds = performance.now() + this.#budgetMs
    setImmediate(() => this.#endTurn())
    resume()
  }
}
