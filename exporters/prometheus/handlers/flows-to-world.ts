import { compileSelector } from '../../../filters/label-selector.ts'
import { ALL_KINDS } from '../../../filters/rules.ts'
import { Verdict } from '../../../model/layouts.gen.ts'
import { isWorld, WORLD_LABELS } from '../context/endpoint-values.ts'
import type { WordKind } from '../series/family.ts'
import type { HandlerDefinition } from './handler.ts'
import { flowProtocol, L4, l4Protocol, protocolName, verdictName } from './names.ts'

const POLICY_DENIED = 133
const SYN = 2
/** Word of the port label of protocols that have none; ports end at 65535. */
const NO_PORT = 0x1_0000

/** Flows that leave the cluster. Replies are left out, except dropped ones. */
export const flowsToWorldHandler: HandlerDefinition = {
  name: 'flows-to-world',
  counts: 'flows to reserved:world that are no replies; drops by policy',
  interest: {
    kinds: ALL_KINDS,
    predicate: { op: 'label', side: 'destination', selectors: WORLD_LABELS.map(compileSelector) },
  },
  options: {
    'any-drop': 'counts drops for every reason',
    port: 'adds the label port',
    'syn-only': 'counts TCP packets with SYN that are no replies, nothing else',
  },
  create(kit) {
    const withPort = kit.options.has('port')
    const anyDrop = kit.options.has('any-drop')
    const synOnly = kit.options.has('syn-only')
    const words: WordKind[] = withPort ? ['closed', 'open'] : ['closed']
    const family = kit.counter({
      name: 'hubble_flows_to_world_total',
      help: 'Total number of flows to reserved:world',
      words,
      labels: [
        { name: 'protocol', word: 0, text: (word) => protocolName(word & 0xff) },
        { name: 'verdict', word: 0, text: (word) => verdictName(word >>> 8) },
        ...(withPort
          ? [{ name: 'port', word: 1, text: (word: number) => (word === NO_PORT ? '' : String(word)) }]
          : []),
      ],
      contextFirst: false,
    })
    const { context } = kit
    const world = kit.endpointFlag('world', isWorld)
    const { key } = family
    return {
      families: [family],
      count(view) {
        const l4 = l4Protocol(view)
        if (l4 === L4.UNKNOWN || world(view, view.destinationRef) === 0) return
        const isReply = view.isReply === true
        if (view.verdict === Verdict.DROPPED) {
          if (!anyDrop && view.dropReason !== POLICY_DENIED) return
        } else if (isReply) return
        if (synOnly && (isReply || l4 !== L4.TCP || view.isL7 || (view.tcpFlags & SYN) === 0)) return
        key[0] = flowProtocol(view) | (view.verdict << 8)
        if (withPort) key[1] = l4 === L4.TCP || l4 === L4.UDP || l4 === L4.SCTP ? view.dstPort : NO_PORT
        context.fill(view, key, words.length)
        family.increment()
      },
    }
  },
}
