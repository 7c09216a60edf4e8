import { EventKind, FILTER_RULES, FilterUse } from '../../model/layouts.gen.ts'
import type { FilterConsumer } from '../rules.ts'
import type { PortTable, PrefixTable } from './field-tables.ts'
import type { KernelRule } from './kernel-rule.ts'
import { MASK_BYTES, setRule } from './mask.ts'
import type { PlannedConsumer } from './plan.ts'
import type { SmallDimension } from './term.ts'

export interface RulesToEncode {
  readonly consumers: readonly FilterConsumer[]
  readonly planned: readonly PlannedConsumer[]
  readonly rules: readonly KernelRule[]
  readonly ports: PortTable
  readonly prefixes: PrefixTable
}

/** Masks of one dimension, and the value that the first of them is for. */
interface SmallMasks {
  readonly dimension: SmallDimension
  readonly at: number
  readonly first: number
  readonly step: number
  readonly count: number
}

const SMALL_MASKS: readonly SmallMasks[] = [
  { dimension: 'kind', at: FILTER_RULES.kind, first: 0, step: 1, count: EventKind.EVENT_KINDS },
  { dimension: 'protocol', at: FILTER_RULES.protocol, first: 0, step: 1, count: 256 },
  { dimension: 'direction', at: FILTER_RULES.direction, first: 0, step: 1, count: 4 },
  { dimension: 'ip-version', at: FILTER_RULES.ipVersion, first: 4, step: 2, count: 2 },
]

/** struct filter_rules of a set. */
export function encodeRules(set: RulesToEncode): Uint8Array {
  const bytes = new Uint8Array(FILTER_RULES.SIZE)
  const view = new DataView(bytes.buffer)
  set.consumers.forEach((consumer, index) => {
    if (consumer.isOn) encodeConsumer(view, consumer, set.planned[index]!)
  })
  for (const { bit, consumer, effect } of set.rules) {
    const masks = effect === 'include' ? FILTER_RULES.include : FILTER_RULES.exclude
    setRule(bytes, masks + consumer * MASK_BYTES, bit)
  }
  for (const masks of SMALL_MASKS) encodeSmall(bytes, masks, set.rules)
  encodePorts(bytes, set)
  bytes.set(set.prefixes.none, FILTER_RULES.noPrefix)
  let uses = 0
  if (set.ports.ports.length > 0) uses |= FilterUse.PORTS
  if (set.prefixes.prefixes.length > 0) uses |= FilterUse.PREFIXES
  view.setUint32(FILTER_RULES.uses, uses, true)
  return bytes
}

function encodeConsumer(view: DataView, consumer: FilterConsumer, planned: PlannedConsumer): void {
  const { bit, kinds, rules } = consumer
  setBit(view, FILTER_RULES.consumers, bit)
  // Rules that the kernel does not have are user space's to ask: here such a consumer takes everything.
  const inKernel = planned.rules.length === 0 || !planned.rules.every(({ decision }) => decision.where === 'user')
  if (!inKernel || rules.every(({ effect }) => effect === 'exclude')) setBit(view, FILTER_RULES.everything, bit)
  for (let kind = 0; kind < EventKind.EVENT_KINDS; kind++) {
    if ((kinds >>> kind) & 1) setBit(view, FILTER_RULES.byKind + 4 * kind, bit)
  }
}

/** Masks of all values of a dimension: most rules have no test of it, and are in all of them. */
function encodeSmall(bytes: Uint8Array, masks: SmallMasks, rules: readonly KernelRule[]): void {
  const { dimension, at, first, step, count } = masks
  const everywhere = new Uint8Array(MASK_BYTES)
  for (const rule of rules) if (!rule.tests(dimension)) setRule(everywhere, 0, rule.bit)
  const testing = rules.filter((rule) => rule.tests(dimension))
  for (let i = 0; i < count; i++) {
    const mask = at + i * MASK_BYTES
    bytes.set(everywhere, mask)
    for (const rule of testing) if (rule.accepts(dimension, first + step * i)) setRule(bytes, mask, rule.bit)
  }
}

/** Without ports no test of a port is true, as with a port that no rule names: both ends' masks at once. */
function encodePorts(bytes: Uint8Array, { ports }: RulesToEncode): void {
  bytes.set(ports.other, FILTER_RULES.otherPort)
  for (let i = 0; i < MASK_BYTES; i++) bytes[FILTER_RULES.noPorts + i] = ports.other[i]! & ports.other[MASK_BYTES + i]!
}

function setBit(view: DataView, at: number, bit: number): void {
  view.setUint32(at, (view.getUint32(at, true) | (1 << bit)) >>> 0, true)
}
