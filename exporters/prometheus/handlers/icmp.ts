import { icmpTypeName } from '../../../model/protocol-names.ts'
import { type HandlerDefinition, KIND } from './handler.ts'
import { familyName, L4, l4Protocol } from './names.ts'

/**
 * ICMP messages of any verdict. Says IPv6 for ICMPv6, where upstream writes IPv4 for both: the dashboards ask for IPv6.
 * The own word: type and code 16 bits | IP version 8. ICMP types are a byte of the packet, so the word is open.
 */
export const icmpHandler: HandlerDefinition = {
  name: 'icmp',
  counts: 'ICMP and ICMPv6 messages of any verdict',
  interest: { kinds: KIND.FLOW | KIND.DROP, predicate: { op: 'protocol', names: ['icmp'] } },
  create(kit) {
    const family = kit.counter({
      name: 'hubble_icmp_total',
      help: 'Number of ICMP messages',
      words: ['closed', 'open'],
      labels: [
        { name: 'family', word: 0, text: familyName },
        { name: 'type', word: 1, text: (word) => icmpTypeName(word >>> 16, (word >>> 8) & 0xff, word & 0xff) },
      ],
      contextFirst: false,
    })
    const { context } = kit
    const { key } = family
    return {
      families: [family],
      count(view) {
        const l4 = l4Protocol(view)
        if (l4 !== L4.ICMPV4 && l4 !== L4.ICMPV6) return
        const version = l4 === L4.ICMPV6 ? 6 : 4
        key[0] = version
        key[1] = (version << 16) | (view.icmpType << 8) | view.icmpCode
        context.fill(view, key, 2)
        family.increment()
      },
    }
  },
}
