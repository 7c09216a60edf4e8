import { fillUuid } from '../../model/flow-view.ts'
import type { FlowPredicate } from '../predicate.ts'

const CANONICAL = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Compares words, not text. A uuid that is not in canonical form is the text of no flow. */
export function uuidTest(values: readonly string[]): FlowPredicate {
  const wanted = values.filter((value) => CANONICAL.test(value)).map(words)
  const own = new Uint32Array(4)
  return (view) => {
    fillUuid(view.context.uuidSeed, view.recordNsHigh, view.recordNsLow, own)
    for (const one of wanted) {
      if (one[0] === own[0] && one[1] === own[1] && one[2] === own[2] && one[3] === own[3]) return true
    }
    return false
  }
}

function words(uuid: string): Uint32Array {
  const hex = uuid.replaceAll('-', '')
  return Uint32Array.from([0, 8, 16, 24], (at) => Number.parseInt(hex.slice(at, at + 8), 16))
}
