import { FILTER_CLASS, RULE_MASK } from '../../model/layouts.gen.ts'

/** Sets the bit of a rule in a struct rule_mask at `at`: little-endian words are bytes in order. */
export function setRule(bytes: Uint8Array, at: number, rule: number): void {
  bytes[at + (rule >>> 3)]! |= 1 << (rule & 7)
}

/** Bytes of one mask, and of a pair of them: struct filter_class. */
export const MASK_BYTES = RULE_MASK.SIZE
export const PAIR_BYTES = FILTER_CLASS.SIZE
