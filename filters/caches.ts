import type { Endpoint } from '../model/endpoint.ts'
import type { FlowContext, FlowView } from '../model/flow-view.ts'
import type { FlowPredicate, Side } from './predicate.ts'

/** Slots of the caches of one predicate together: 65,536 × at most 9 bytes = 590 kB for each reader with a filter. */
const ALL_SLOTS = 65_536
/** Slots of one cache at most and at least; powers of two, as the low bits of a number choose the slot. */
const MAX_SLOTS = 4096
const MIN_SLOTS = 16

/**
 * Slots for each cache of a predicate. A filter with hundreds of tests gets small caches, not hundreds of large ones.
 *
 * @param all slots of all of them together
 */
export function cacheSlots(caches: number, all: number = ALL_SLOTS): number {
  const share = all / Math.max(1, caches)
  return Math.min(MAX_SLOTS, Math.max(MIN_SLOTS, 2 ** Math.floor(Math.log2(share))))
}

const NO_REFS = new Uint32Array(0)
const NO_ANSWERS = new Uint8Array(0)

/**
 * A test of an endpoint, asked once for each version of it: the answer is kept by reference number. Direct-mapped,
 * so that it is bounded and a collision costs one evaluation; emptied when flows of another context come.
 *
 * @param slots of the cache, from cacheSlots()
 */
export function endpointTest(side: Side, slots: number, test: (endpoint: Endpoint) => boolean): FlowPredicate {
  // Made when a flow comes: most rules are the kernel's to decide, and never asked here.
  let refs = NO_REFS
  let answers = NO_ANSWERS
  let known: FlowContext | undefined
  const look = (context: FlowContext, ref: number): boolean => {
    if (context !== known) {
      if (refs.length === 0) {
        refs = new Uint32Array(slots)
        answers = new Uint8Array(slots)
      }
      // No endpoint has this number.
      refs.fill(0xffff_ffff)
      known = context
    }
    const slot = ref & (slots - 1)
    if (refs[slot] === ref) return answers[slot] === 1
    const answer = test(context.endpoint(ref))
    refs[slot] = ref
    answers[slot] = answer ? 1 : 0
    return answer
  }
  return side === 'source'
    ? (view) => look(view.context, view.sourceRef)
    : (view) => look(view.context, view.destinationRef)
}

/**
 * The same for values whose numbers may be given to another value later (services, lists of names): kept by number,
 * believed only while the number still stands for the same object. Values are immutable.
 */
export function valueTest<T extends object>(
  slots: number,
  refOf: (view: FlowView) => number,
  resolve: (context: FlowContext, ref: number) => T | undefined,
  test: (value: T) => boolean,
): FlowPredicate {
  let values: (T | undefined)[] = []
  let answers = NO_ANSWERS
  return (view) => {
    const ref = refOf(view)
    if (ref === 0) return false
    const value = resolve(view.context, ref)
    if (value === undefined) return false
    if (values.length === 0) {
      values = new Array<T | undefined>(slots).fill(undefined)
      answers = new Uint8Array(slots)
    }
    const slot = ref & (slots - 1)
    if (values[slot] === value) return answers[slot] === 1
    const answer = test(value)
    values[slot] = value
    answers[slot] = answer ? 1 : 0
    return answer
  }
}

/** A test of what is the same for all flows of a context: the node's name, and its labels until they change. */
export function contextTest(test: (context: FlowContext) => boolean): FlowPredicate {
  let known: FlowContext | undefined
  let labels: readonly string[] | undefined
  let answer = false
  return (view) => {
    const { context } = view
    if (context !== known || context.nodeLabels !== labels) {
      known = context
      labels = context.nodeLabels
      answer = test(context)
    }
    return answer
  }
}
