import type { FlowView } from '../../../model/flow-view.ts'
import { type DnsRecord, L7Type } from '../../../model/l7.ts'
import { dnsRcodeName } from '../../../model/protocol-names.ts'
import type { LabelSpec, WordKind } from '../series/family.ts'
import { type HandlerDefinition, KIND, numberLabel, valueLabel } from './handler.ts'

/** Words of `rcode` beside the codes of the wire (0 to 4095). */
const NO_RCODE = 0x1_0000
const POLICY_DENIED = 0x1_0001

/** DNS queries, responses, and the types of the records in responses. */
export const dnsHandler: HandlerDefinition = {
  name: 'dns',
  counts: 'DNS messages; record types once per record of an answer',
  interest: { kinds: KIND.DNS },
  options: {
    query: 'adds the label query',
    ignoreAAAA: 'leaves out messages that ask for AAAA alone',
  },
  create(kit) {
    const { context, values } = kit
    const withQuery = kit.options.has('query')
    const ignoreAaaa = kit.options.has('ignoreaaaa')
    const queries = kit.counter(messageShape('queries', 'Number of DNS queries observed', withQuery))
    const responses = kit.counter(messageShape('responses', 'Number of DNS responses observed', withQuery))
    const types = kit.counter({
      name: 'hubble_dns_response_types_total',
      help: 'Number of DNS responses types observed',
      words: withQuery ? ['value', 'value', 'value'] : ['value', 'value'],
      labels: [valueLabel('type', 0), valueLabel('qtypes', 1), ...queryLabel(withQuery, 2)],
      contextFirst: true,
    })
    const own = withQuery ? 4 : 3

    const countMessage = (view: FlowView, dns: DnsRecord, qtypes: number, query: number, isResponse: boolean) => {
      const family = isResponse ? responses : queries
      const { key } = family
      key[0] = view.isDrop ? POLICY_DENIED : isResponse ? dns.rcode : NO_RCODE
      key[1] = qtypes
      key[2] = dns.ips.length
      if (withQuery) key[3] = query
      context.fill(view, key, own)
      family.increment()
    }
    const countTypes = (view: FlowView, dns: DnsRecord, qtypes: number, query: number) => {
      const { key } = types
      key[1] = qtypes
      if (withQuery) key[2] = query
      context.fill(view, key, own - 1)
      for (const type of dns.rrtypes) {
        key[0] = values.intern(type)
        types.increment()
      }
    }

    return {
      families: [queries, responses, types],
      count(view) {
        if (!view.isL7) return
        const l7 = view.l7
        const dns = l7?.dns
        if (l7 === undefined || dns === undefined) return
        const { qtypes } = dns
        if (ignoreAaaa && qtypes.length === 1 && qtypes[0] === 'AAAA') return
        const qtypesId = values.intern(qtypes.length === 1 ? qtypes[0]! : qtypes.join(','))
        const queryId = withQuery ? values.intern(dns.query) : 0
        // Where the direction is not known, the message itself says what it is.
        const isReply = view.isReply ?? l7.type === L7Type.RESPONSE
        const isResponse = isReply && !view.isDrop
        countMessage(view, dns, qtypesId, queryId, isResponse)
        if (isResponse) countTypes(view, dns, qtypesId, queryId)
      },
    }
  },
}

function messageShape(what: string, help: string, withQuery: boolean) {
  const words: WordKind[] = ['closed', 'value', 'open']
  if (withQuery) words.push('value')
  return {
    name: `hubble_dns_${what}_total`,
    help,
    words,
    labels: [
      { name: 'rcode', word: 0, text: rcodeText },
      valueLabel('qtypes', 1),
      numberLabel('ips_returned', 2),
      ...queryLabel(withQuery, 3),
    ],
    contextFirst: true,
  }
}

function queryLabel(withQuery: boolean, word: number): LabelSpec[] {
  return withQuery ? [valueLabel('query', word)] : []
}

function rcodeText(word: number): string {
  if (word === NO_RCODE) return ''
  return word === POLICY_DENIED ? 'Policy denied' : dnsRcodeName(word)
}
