import { dropReasonName } from '../../../model/drop-reasons.ts'
import { type HandlerDefinition, KIND } from './handler.ts'
import { flowProtocol, protocolName } from './names.ts'

/** Dropped flows by reason (Hubble's number << 8) and protocol. */
export const dropHandler: HandlerDefinition = {
  name: 'drop',
  counts: 'flows with verdict DROPPED',
  interest: { kinds: KIND.DROP },
  create(kit) {
    const family = kit.counter({
      name: 'hubble_drop_total',
      help: 'Number of drops',
      words: ['closed'],
      labels: [
        { name: 'reason', word: 0, text: (word) => dropReasonName(word >>> 8) },
        { name: 'protocol', word: 0, text: (word) => protocolName(word & 0xff) },
      ],
      contextFirst: true,
    })
    const { context } = kit
    const key = family.key
    return {
      families: [family],
      count(view) {
        if (!view.isDrop) return
        key[0] = (view.dropReason << 8) | flowProtocol(view)
        context.fill(view, key, 1)
        family.increment()
      },
    }
  },
}
