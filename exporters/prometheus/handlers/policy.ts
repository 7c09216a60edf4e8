import { IDENTITY } from '../../../model/endpoint.ts'
import { EventType } from '../../../model/layouts.gen.ts'
import { type HandlerDefinition, KIND } from './handler.ts'
import { verdictName } from './names.ts'

const POLICY_VERDICT = 5
const DIRECTIONS = ['traffic_direction_unknown', 'ingress', 'egress'] as const

/**
 * Policy verdicts: L3/L4 verdict events unless they come from the host, and every L7 event. The own word:
 *
 *   direction 8 bits | match 8 (0 none, else EventType of the L7 record) | verdict 8
 */
export const policyHandler: HandlerDefinition = {
  name: 'policy',
  counts: 'policy verdict events, but those from the host, and every L7 event',
  interest: { kinds: KIND.DNS | KIND.HTTP },
  create(kit) {
    const family = kit.counter({
      name: 'hubble_policy_verdicts_total',
      help: 'Total number of Cilium network policy verdicts',
      words: ['closed'],
      labels: [
        { name: 'direction', word: 0, text: (word) => DIRECTIONS[word & 0xff] ?? DIRECTIONS[0] },
        { name: 'match', word: 0, text: (word) => matchName((word >>> 8) & 0xff) },
        { name: 'action', word: 0, text: (word) => verdictName(word >>> 16).toLowerCase() },
      ],
      contextFirst: false,
    })
    const { context } = kit
    const { key } = family
    return {
      families: [family],
      count(view) {
        const isL7 = view.isL7
        if (!isL7 && (view.eventType !== POLICY_VERDICT || view.source.identity === IDENTITY.HOST)) return
        key[0] = view.trafficDirection | ((isL7 ? view.type : 0) << 8) | (view.verdict << 16)
        context.fill(view, key, 1)
        family.increment()
      },
    }
  },
}

function matchName(match: number): string {
  if (match === 0) return 'none'
  return match === EventType.DNS ? 'l7/dns' : match === EventType.HTTP ? 'l7/http' : 'l7/'
}
