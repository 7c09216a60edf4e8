import { type HandlerDefinition, KIND, numberLabel } from './handler.ts'
import { isForwarded, L4, l4Protocol, protocolName } from './names.ts'

/** Forwarded flows that are no replies, by destination port; 0 for protocols without ports. */
export const portDistributionHandler: HandlerDefinition = {
  name: 'port-distribution',
  counts: 'forwarded or redirected flows that are no replies',
  interest: {
    kinds: KIND.FLOW | KIND.TCP_FLAG | KIND.DNS | KIND.HTTP,
    predicate: { op: 'protocol', names: ['tcp', 'udp', 'icmp', 'sctp', 'vrrp', 'igmp'] },
  },
  create(kit) {
    const family = kit.counter({
      name: 'hubble_port_distribution_total',
      help: 'Numbers of packets distributed by destination port',
      words: ['closed', 'open'],
      labels: [{ name: 'protocol', word: 0, text: protocolName }, numberLabel('port', 1)],
      contextFirst: false,
    })
    const { context } = kit
    const { key } = family
    return {
      families: [family],
      count(view) {
        const l4 = l4Protocol(view)
        if (l4 === L4.UNKNOWN || !isForwarded(view) || view.isReply === true) return
        key[0] = l4
        key[1] = l4 === L4.TCP || l4 === L4.UDP || l4 === L4.SCTP ? view.dstPort : 0
        context.fill(view, key, 2)
        family.increment()
      },
    }
  },
}
