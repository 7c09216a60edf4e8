import { TimeSlice } from './time-slice.ts'

/** Long work in steps of some hundred microseconds at most: who drives it lets others in between two of them. */
export type Steps<T> = Generator<void, T, void>

/** All steps in one go, for tools that have nothing else to do. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/** All steps, with turns of the event loop between them. */
export async function finishSliced<T>(steps: Steps<T>): Promise<T> {
  const slice = new TimeSlice()
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    if (slice.isOver) await slice.yield()
  }
}
