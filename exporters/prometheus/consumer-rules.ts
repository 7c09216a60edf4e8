import type { FilterConsumer } from '../../filters/rules.ts'

/** True when the rules say no more than what the consumer's owner offered: what was counted so far stays wanted. */
export function isUnfiltered({ isOn, rules }: FilterConsumer): boolean {
  return isOn && rules.every((rule) => rule.origin.kind === 'built in')
}

/** The same text for the same rules: an id is the same as long as its rule is. */
export function rulesKey({ isOn, kinds, rules }: FilterConsumer): string {
  return [isOn, kinds, ...rules.map(({ id, effect }) => `${effect} ${id}`).sort()].join('\n')
}
