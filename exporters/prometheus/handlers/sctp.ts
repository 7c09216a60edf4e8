import { type HandlerDefinition, KIND } from './handler.ts'
import { familyName, isForwarded, L4, l4Protocol } from './names.ts'

/** Chunk types of the wire that Hubble names; the others are not counted. */
const CHUNK_NAMES: Readonly<Record<number, string>> = {
  1: 'INIT',
  2: 'INIT_ACK',
  6: 'ABORT',
  7: 'SHUTDOWN',
  8: 'SHUTDOWN_ACK',
  14: 'SHUTDOWN_COMPLETE',
}

/** First chunks of forwarded SCTP packets. */
export const sctpHandler: HandlerDefinition = {
  name: 'sctp',
  counts: 'forwarded or redirected SCTP packets, by the type of their first chunk',
  interest: { kinds: KIND.FLOW, predicate: { op: 'protocol', names: ['sctp'] } },
  create(kit) {
    const family = kit.counter({
      name: 'hubble_sctp_chunk_types_total',
      help: 'SCTP chunk type occurrences',
      words: ['closed'],
      labels: [
        { name: 'chunk_type', word: 0, text: (word) => CHUNK_NAMES[word >>> 8] ?? '' },
        { name: 'family', word: 0, text: (word) => familyName(word & 0xff) },
      ],
      contextFirst: false,
    })
    const { context } = kit
    const { key } = family
    return {
      families: [family],
      count(view) {
        if (l4Protocol(view) !== L4.SCTP || view.isL7 || !isForwarded(view)) return
        const chunk = view.sctpChunk
        if (CHUNK_NAMES[chunk] === undefined) return
        key[0] = (chunk << 8) | view.ipVersion
        context.fill(view, key, 1)
        family.increment()
      },
    }
  },
}
