import type { FlowView } from '../../model/flow-view.ts'

/** Records of two CPUs, and a clock that is read once a second, are apart by less. */
const MARGIN_SECS = 2

/**
 * The time after a change of a metric's filters in which flows come that the filters of before let through. The kernel
 * judges a record when it makes it: there are such flows for as long as the ring has any. They are counted, as they
 * were promised to be, but must not show a series that nobody wants any more.
 */
export class LateFlows {
  readonly #endSecs: number

  /** @param changedMs wall clock of the change */
  constructor(changedMs: number) {
    this.#endSecs = Math.floor(changedMs / 1000) + MARGIN_SECS
  }

  /** True from the first record on that was surely made after the change. */
  isOver(view: FlowView): boolean {
    return view.timeSecs > this.#endSecs
  }
}
