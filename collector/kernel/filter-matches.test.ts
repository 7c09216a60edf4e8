import { expect, it } from 'vitest'
import { ConsumerFlag, EventKind, FILTER_MATCH, FILTER_RULES } from '../../model/layouts.gen.ts'
import { undecidedMatch } from './filter-matches.ts'

it('undecidedMatch() is for the consumers in force that a kind concerns, marked with the set and as undecided', () => {
  const rules = new Uint8Array(FILTER_RULES.SIZE)
  const view = new DataView(rules.buffer)
  view.setUint32(FILTER_RULES.consumers, 0b0111, true)
  view.setUint32(FILTER_RULES.byKind + 4 * EventKind.KIND_FLOW, 0b1101, true)
  view.setUint32(FILTER_RULES.byKind + 4 * EventKind.KIND_DNS, 0b0010, true)
  for (const set of [0, 1] as const) {
    const match = undecidedMatch(set, rules)
    const consumers = new Uint32Array(match.buffer, FILTER_MATCH.consumers, EventKind.EVENT_KINDS)
    const flags = 2 ** ConsumerFlag.UNDECIDED + set * 2 ** ConsumerFlag.SET
    expect([...consumers]).toEqual([0b0101, 0, 0, 0b0010, 0, 0, 0, 0].map((bits) => bits + flags))
    expect(match.subarray(0, FILTER_MATCH.consumers).every((byte) => byte === 0)).toBe(true)
  }
})
