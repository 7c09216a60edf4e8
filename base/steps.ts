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

/** All steps, with turns of the event loop between them. @param slice of the work that these steps are a part of */
export async function finishSliced<T>(steps: Steps<T>, slice: TimeSlice = new TimeSlice()): Promise<T> {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    if (slice.isOver) await slice.yield()
  }
}
