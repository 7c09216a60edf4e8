import { type HandlerDefinition, KIND } from './handler.ts'
import { familyName, isForwarded, L4, l4Protocol } from './names.ts'

const FIN = 1
const SYN = 2
const RST = 4
const ACK = 16

const FLAG_NAMES = ['FIN', 'SYN', 'SYN-ACK', 'RST'] as const

/**
 * Flags of forwarded TCP packets; a packet with FIN and RST counts for both. L7 records are left out: the record of
 * the packet that carried the message has its flags already.
 */
export const tcpHandler: HandlerDefinition = {
  name: 'tcp',
  counts: 'forwarded or redirected TCP packets with FIN, SYN or RST, once per flag',
  interest: { kinds: KIND.TCP_FLAG },
  create(kit) {
    const family = kit.counter({
      name: 'hubble_tcp_flags_total',
      help: 'TCP flag occurrences',
      words: ['closed'],
      labels: [
        { name: 'flag', word: 0, text: (word) => FLAG_NAMES[word >>> 8] ?? '' },
        { name: 'family', word: 0, text: (word) => familyName(word & 0xff) },
      ],
      contextFirst: false,
    })
    const { context } = kit
    const key = family.key
    const add = (flag: number, version: number) => {
      key[0] = (flag << 8) | version
      family.increment()
    }
    return {
      families: [family],
      count(view) {
        if (l4Protocol(view) !== L4.TCP || view.isL7 || !isForwarded(view)) return
        const flags = view.tcpFlags
        if ((flags & (FIN | SYN | RST)) === 0) return
        const version = view.ipVersion
        if (version === 0) return
        context.fill(view, key, 1)
        if (flags & FIN) add(0, version)
        if (flags & SYN) add(flags & ACK ? 2 : 1, version)
        if (flags & RST) add(3, version)
      },
    }
  },
}
