import { DROP_REASONS } from '../../../model/drop-reasons.ts'
import type { Endpoint } from '../../../model/endpoint.ts'
import type { FlowView } from '../../../model/flow-view.ts'
import { L7_TYPE_NAMES, TRAFFIC_DIRECTION_NAMES, VERDICT_NAMES } from '../../../model/names.ts'
import { flowSummary } from '../../../model/summary.ts'

const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS']

/**
 * The flow as protobuf's JSON, every field that a filter can ask for. Written for tests from the meaning of the
 * fields, without the encoders of the product, so that it can disagree with them.
 */
export function flowJson(view: FlowView): object {
  const l7 = view.l7
  return {
    time: new Date(view.timeSecs * 1000).toISOString().replace('.000Z', `.${String(view.timeNanos).padStart(9, '0')}Z`),
    uuid: view.uuid,
    verdict: VERDICT_NAMES[view.verdict],
    ...(view.isDrop && { drop_reason_desc: DROP_REASONS[view.dropReason]?.name ?? view.dropReason }),
    ...(!view.isL7 && { ethernet: { source: view.srcMac, destination: view.dstMac } }),
    ...(view.ipVersion !== 0 && {
      IP: {
        source: view.srcIp,
        destination: view.dstIp,
        ipVersion: view.ipVersion === 6 ? 'IPv6' : 'IPv4',
        encrypted: view.isEncrypted,
      },
    }),
    l4: l4Json(view),
    source: endpointJson(view.source),
    destination: endpointJson(view.destination),
    Type: view.isL7 ? 'L7' : 'L3_L4',
    node_name: view.context.nodeName,
    node_labels: view.context.nodeLabels,
    source_names: view.context.names(view.sourceNamesRef),
    destination_names: view.context.names(view.destinationNamesRef),
    ...(l7 && { l7: l7Json(view) }),
    event_type: { type: view.eventType, sub_type: view.eventSubType },
    source_service: view.context.service(view.sourceServiceRef),
    destination_service: view.context.service(view.destinationServiceRef),
    traffic_direction: TRAFFIC_DIRECTION_NAMES[view.trafficDirection],
    ...(view.isReply !== undefined && { is_reply: view.isReply }),
    ...(!view.isL7 &&
      !view.isDrop && {
        trace_observation_point: view.observationPoint,
        trace_reason: view.traceReason,
      }),
    ...(view.ifindex !== 0 && { interface: { index: view.ifindex, name: view.context.interfaceName(view.ifindex) } }),
    Summary: flowSummary(view),
    ...(l7?.traceId && { trace_context: { parent: { trace_id: l7.traceId } } }),
  }
}

function l4Json(view: FlowView): object | undefined {
  const ports = { source_port: view.srcPort, destination_port: view.dstPort }
  switch (view.protocol) {
    case 1:
      return { ICMPv4: { type: view.icmpType, code: view.icmpCode } }
    case 2:
      return { IGMP: {} }
    case 6:
      return { TCP: { ...ports, ...(!view.isL7 && { flags: flagsJson(view.tcpFlags) }) } }
    case 17:
      return { UDP: ports }
    case 58:
      return { ICMPv6: { type: view.icmpType, code: view.icmpCode } }
    case 112:
      return { VRRP: {} }
    case 132:
      return { SCTP: ports }
    default:
      return undefined
  }
}

function flagsJson(flags: number): object {
  return Object.fromEntries(FLAGS.filter((_, bit) => flags & (1 << bit)).map((name) => [name, true]))
}

function endpointJson(endpoint: Endpoint): object {
  return {
    ID: endpoint.id,
    identity: endpoint.identity,
    cluster_name: endpoint.clusterName,
    namespace: endpoint.namespace,
    labels: endpoint.labels,
    pod_name: endpoint.podName,
    workloads: endpoint.workloads,
  }
}

function l7Json(view: FlowView): object {
  const { type, latencyNs, dns, http } = view.l7!
  return {
    type: L7_TYPE_NAMES[type],
    latency_ns: String(latencyNs),
    ...(dns && {
      dns: {
        query: dns.query,
        ips: dns.ips,
        ttl: dns.ttl,
        cnames: dns.cnames,
        observation_source: dns.observationSource,
        rcode: dns.rcode,
        qtypes: dns.qtypes,
        rrtypes: dns.rrtypes,
      },
    }),
    ...(http && { http }),
  }
}
