import type { Endpoint } from '../model/endpoint.ts'
import type { FlowContext, FlowView } from '../model/flow-view.ts'
import type { FlowPredicate, Side } from './predicate.ts'

/** Slots of a cache, a power of two. 4,096 endpoints × 5 bytes = 20 kB for each test of an endpoint. */
const ENDPOINT_SLOTS = 4096
/** 1,024 values × 9 bytes for each test of names or services. */
const VALUE_SLOTS = 1024

/**
 * A test of an endpoint, asked once for each version of it: the answer is kept by reference number. Direct-mapped,
 * so that it is bounded and a collision costs one evaluation; emptied when flows of another context come.
 */
export function endpointTest(side: Side, test: (endpoint: Endpoint) => boolean): FlowPredicate {
  const refs = new Uint32Array(ENDPOINT_SLOTS)
  const answers = new Uint8Array(ENDPOINT_SLOTS)
  let known: FlowContext | undefined
  const look = (context: FlowContext, ref: number): boolean => {
    if (context !== known) {
      // No endpoint has this number.
      refs.fill(0xffff_ffff)
      known = context
    }
    const slot = ref & (ENDPOINT_SLOTS - 1)
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
  refOf: (view: FlowView) => number,
  resolve: (context: FlowContext, ref: number) => T | undefined,
  test: (value: T) => boolean,
): FlowPredicate {
  const values = new Array<T | undefined>(VALUE_SLOTS).fill(undefined)
  const answers = new Uint8Array(VALUE_SLOTS)
  return (view) => {
    const ref = refOf(view)
    if (ref === 0) return false
    const value = resolve(view.context, ref)
    if (value === undefined) return false
    const slot = ref & (VALUE_SLOTS - 1)
    if (values[slot] === value) return answers[slot] === 1
    const answer = test(value)
    values[slot] = value
    answers[slot] = answer ? 1 : 0
    return answer
  }
}

/** A test of what is the same for all flows of a context: the node's name and labels. */
export function contextTest(test: (context: FlowContext) => boolean): FlowPredicate {
  let known: FlowContext | undefined
  let answer = false
  return (view) => {
    if (view.context !== known) {
      known = view.context
      answer = test(known)
    }
    return answer
  }
}
