import { TimeSlice } from '../../base/time-slice.ts'
import type { FlowPredicate } from '../../filters/predicate.ts'
import type { FlowStore } from '../../model/contracts.ts'
import type { FieldMask } from '../../model/field-mask.ts'
import { LineBuffer } from './bytes.ts'
import { MAX_LINE_BYTES } from './config.ts'
import { FlowEncoder } from './encode.ts'
import type { Emitter } from './flow-fragments.ts'

/** Flows between two looks at the clock. */
const FLOWS_PER_LOOK = 16

export interface CountLinesOptions {
  readonly emitter?: Emitter | undefined
  /** Ends the work early, with its reason. */
  readonly signal?: AbortSignal | undefined
}

export interface LineCount {
  readonly lines: number
  /** Of the lines, newlines included. */
  readonly bytes: number
}

/**
 * What flows of the history would take in the log: they are encoded, and thrown away. Holds the event loop for slices of
 * 3 ms; flows that the history overwrites meanwhile are left out, as are those that are too long for a line.
 *
 * @param first, end sequences of flows, [first, end) @param wants which of them are written
 * @param mask fields that are written, undefined for all
 * @throws the reason of options.signal
 */
export async function lineBytes(
  store: FlowStore,
  first: number,
  end: number,
  wants: FlowPredicate,
  mask: FieldMask | undefined,
  options: CountLinesOptions = {},
): Promise<LineCount> {
  const { signal, emitter } = options
  const encoder = new FlowEncoder({ fieldMask: mask, emitter })
  // A line may reach a few bytes beyond its end while it is written.
  const out = new LineBuffer(2 * MAX_LINE_BYTES)
  const slice = new TimeSlice()
  const view = store.createView()
  let lines = 0
  let bytes = 0
  for (let at = Math.max(first, store.first); at < end; at = Math.max(at, store.first)) {
    const stop = Math.min(end, at + FLOWS_PER_LOOK)
    for (; at < stop; at++) {
      store.seek(view, at)
      if (!wants(view)) continue
      const length = encoder.encode(view, out, 0)
      if (length < 0) continue
      lines++
      bytes += length
    }
    if (!slice.isOver) continue
    await slice.yield()
    signal?.throwIfAborted()
  }
  return { lines, bytes }
}
