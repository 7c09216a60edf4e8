/** Long work in steps of some hundred microseconds: who drives it lets others in between two of them. */
export type Steps<T> = Generator<void, T, void>

/** Does all steps at once. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/** Entries of a table that make a step. */
export const STEP_ENTRIES = 128
