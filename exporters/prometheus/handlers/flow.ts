import { ALL_KINDS } from '../../../filters/rules.ts'
import { EventType } from '../../../model/layouts.gen.ts'
import type { HandlerDefinition } from './handler.ts'
import { flowProtocol, POINT_NAMES, protocolName, verdictName } from './names.ts'

const DROP = 1
const POLICY_VERDICT = 5
const L7 = 129

/**
 * Every flow, by protocol, event type and verdict. The own word:
 *
 *   protocol 8 bits | observation point or L7 kind 8 | verdict 8 | event type 8
 */
export const flowHandler: HandlerDefinition = {
  name: 'flow',
  counts: 'every flow',
  interest: { kinds: ALL_KINDS },
  create(kit) {
    const family = kit.counter({
      name: 'hubble_flows_processed_total',
      help: 'Total number of flows processed',
      words: ['closed'],
      labels: [
        { name: 'protocol', word: 0, text: (word) => protocolName(word & 0xff) },
        { name: 'type', word: 0, text: (word) => typeName(word >>> 24) },
        { name: 'subtype', word: 0, text: (word) => subtypeName(word >>> 24, (word >>> 8) & 0xff) },
        { name: 'verdict', word: 0, text: (word) => verdictName((word >>> 16) & 0xff) },
      ],
      contextFirst: false,
    })
    const { context } = kit
    const key = family.key
    return {
      families: [family],
      count(view) {
        const type = view.eventType
        const detail = type === L7 ? view.type : type === DROP || type === POLICY_VERDICT ? 0 : view.observationPoint
        key[0] = flowProtocol(view) | (detail << 8) | (view.verdict << 16) | (type << 24)
        context.fill(view, key, 1)
        family.increment()
      },
    }
  },
}

function typeName(type: number): string {
  switch (type) {
    case DROP:
      return 'Drop'
    case 4:
      return 'Trace'
    case POLICY_VERDICT:
      return 'PolicyVerdict'
    case L7:
      return 'L7'
    default:
      return 'Unknown'
  }
}

function subtypeName(type: number, detail: number): string {
  switch (type) {
    case DROP:
    case POLICY_VERDICT:
      return ''
    case 4:
      return POINT_NAMES[detail] ?? 'unknown'
    case L7:
      return detail === EventType.DNS ? 'DNS' : detail === EventType.HTTP ? 'HTTP' : ''
    default:
      return String(type)
  }
}
