import type { FieldTest, Side } from '../../filters/predicate.ts'
import { DROP_REASONS } from '../../model/drop-reasons.ts'
import type { Endpoint } from '../../model/endpoint.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { TRAFFIC_DIRECTION_NAMES, VERDICT_NAMES } from '../../model/names.ts'

/** Values of a list that are shown; of the rest, the number. */
const MAX_SHOWN = 8

type SideTest = Extract<FieldTest, { side: Side }>

/** What the flow has where a test looks; empty where saying so helps nobody. */
export function actualText(test: FieldTest, view: FlowView): string {
  switch (test.op) {
    case 'verdict':
      return VERDICT_NAMES[view.verdict] ?? String(view.verdict)
    case 'drop-reason':
      return view.isDrop ? reasonText(view.dropReason) : 'not dropped'
    case 'protocol':
      return `IP protocol ${view.protocol}${view.isL7 ? ' with a message' : ''}`
    case 'traffic-direction':
      return TRAFFIC_DIRECTION_NAMES[view.trafficDirection] ?? String(view.trafficDirection)
    case 'reply':
      return view.isReply === undefined ? 'unknown' : String(view.isReply)
    case 'tcp-flags':
      return flagsText(view.tcpFlags)
    case 'node-name':
      return view.context.nodeName
    case 'ip-version':
      return `IPv${view.ipVersion}`
    case 'pod':
    case 'label':
    case 'workload':
    case 'identity':
    case 'cluster-name':
      return endpointText(test, test.side === 'source' ? view.source : view.destination)
    case 'port':
      return String(test.side === 'source' ? view.srcPort : view.dstPort)
    case 'ip':
      return test.side === 'source' ? view.srcIp : view.dstIp
    case 'dns-query':
      return view.l7?.dns === undefined ? 'no DNS message' : view.l7.dns.query
    case 'http-status':
    case 'http-method':
    case 'http-path':
    case 'http-url':
    case 'http-header':
      return view.l7?.http === undefined ? 'no HTTP message' : `${view.l7.http.method} ${view.l7.http.url}`
    default:
      return ''
  }
}

function endpointText({ op }: SideTest, endpoint: Endpoint): string {
  switch (op) {
    case 'pod':
      return endpoint.podName === '' ? 'no pod' : `${endpoint.namespace}/${endpoint.podName}`
    case 'label':
      return endpoint.labels.length === 0 ? 'no labels' : listed(endpoint.labels)
    case 'workload':
      return listed(endpoint.workloads.map(({ kind, name }) => `${kind}/${name}`)) || 'no workload'
    case 'cluster-name':
      return endpoint.clusterName || 'no cluster'
    default:
      return String(endpoint.identity)
  }
}

function listed(values: readonly string[]): string {
  const shown = values.slice(0, MAX_SHOWN).join(', ')
  return values.length > MAX_SHOWN ? `${shown} and ${values.length - MAX_SHOWN} more` : shown
}

function reasonText(reason: number): string {
  return DROP_REASONS[reason]?.text ?? String(reason)
}

const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS'] as const

function flagsText(mask: number): string {
  return FLAGS.filter((_, bit) => (mask & (1 << bit)) !== 0).join('+') || 'none'
}
