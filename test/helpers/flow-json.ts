import { DROP_REASONS } from '../../model/drop-reasons.ts'
import type { Endpoint } from '../../model/endpoint.ts'
import type { FieldMask } from '../../model/field-mask.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { EventCause, FlowState } from '../../model/layouts.gen.ts'
import {
  IP_VERSION_NAMES,
  L7_TYPE_NAMES,
  OBSERVATION_POINT_NAMES,
  TRACE_REASON_NAMES,
  TRAFFIC_DIRECTION_NAMES,
  VERDICT_NAMES,
} from '../../model/names.ts'
import { l4ProtocolName } from '../../model/protocol-names.ts'
import { flowSummary } from '../../model/summary.ts'

/**
 * The plain way from a flow to its line: an object, the mask applied to it, JSON.stringify, Go's escapes. What the
 * encoder writes must equal this, byte for byte.
 */
export function flowLine(view: FlowView, mask?: FieldMask): string {
  const whole = flowObject(view)
  const line = clean({
    flow: masked(whole, mask) ?? {},
    node_name: view.context.nodeName,
    time: whole['time'],
  })
  return `${JSON.stringify(line).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)}\n`
}

type Json = { [key: string]: unknown }

function flowObject(view: FlowView): Json {
  const isTrace = !view.isL7 && !view.isDrop
  const l7 = view.l7
  return clean({
    time: time(view.timeSecs, view.timeNanos),
    uuid: view.uuid,
    emitter: { name: 'Sluice', version: '0.1.0' },
    verdict: view.verdict && (VERDICT_NAMES[view.verdict] ?? view.verdict),
    drop_reason: view.dropReason,
    ethernet:
      view.isL7 || (view.srcMac === '' && view.dstMac === '')
        ? undefined
        : clean({ source: view.srcMac, destination: view.dstMac }),
    IP:
      view.ipVersion === 0
        ? undefined
        : clean({
            source: view.srcIp,
            destination: view.dstIp,
            ipVersion: IP_VERSION_NAMES[view.ipVersion],
            encrypted: view.isEncrypted,
          }),
    l4: l4(view),
    source: endpointObject(view.source),
    destination: endpointObject(view.destination),
    Type: view.isL7 ? 'L7' : 'L3_L4',
    node_name: view.context.nodeName,
    node_labels: view.context.nodeLabels,
    source_names: view.context.names(view.sourceNamesRef),
    destination_names: view.context.names(view.destinationNamesRef),
    l7:
      l7 &&
      clean({
        type: l7.type && L7_TYPE_NAMES[l7.type],
        latency_ns: l7.latencyNs && String(l7.latencyNs),
        dns:
          l7.dns &&
          clean({
            query: l7.dns.query,
            ips: l7.dns.ips,
            ttl: l7.dns.ttl,
            cnames: l7.dns.cnames,
            observation_source: l7.dns.observationSource,
            rcode: l7.dns.rcode,
            qtypes: l7.dns.qtypes,
            rrtypes: l7.dns.rrtypes,
          }),
        http:
          l7.http &&
          clean({
            code: l7.http.code,
            method: l7.http.method,
            url: l7.http.url,
            protocol: l7.http.protocol,
            headers: l7.http.headers.map(({ key, value }) => clean({ key, value })),
          }),
      }),
    reply: view.isReply === true,
    event_type: clean({ type: view.eventType, sub_type: view.eventSubType }),
    source_service: service(view, view.sourceServiceRef),
    destination_service: service(view, view.destinationServiceRef),
    traffic_direction: view.trafficDirection && TRAFFIC_DIRECTION_NAMES[view.trafficDirection],
    trace_observation_point:
      isTrace && view.observationPoint && (OBSERVATION_POINT_NAMES[view.observationPoint] ?? view.observationPoint),
    trace_reason: isTrace && view.traceReason && (TRACE_REASON_NAMES[view.traceReason] ?? view.traceReason),
    drop_reason_desc: view.dropReason && (DROP_REASONS[view.dropReason]?.name ?? view.dropReason),
    is_reply: view.isReply === undefined ? undefined : new Wrapped(view.isReply),
    interface:
      view.isL7 || view.ifindex === 0
        ? undefined
        : clean({ index: view.ifindex, name: view.context.interfaceName(view.ifindex) }),
    trace_context: l7?.traceId ? { parent: { trace_id: l7.traceId } } : undefined,
    Summary: flowSummary(view),
    extensions: extensions(view),
  })
}

function l4(view: FlowView): Json | undefined {
  const name = l4ProtocolName(view.protocol)
  if (name === '' || name === 'VRRP' || name === 'IGMP') return undefined
  if (name.startsWith('ICMP')) return { [name]: clean({ type: view.icmpType, code: view.icmpCode }) }
  const names = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS']
  const flags = name === 'TCP' && !view.isL7 ? names.filter((_, bit) => view.tcpFlags & (1 << bit)) : undefined
  return {
    [name]: clean({
      source_port: view.srcPort,
      destination_port: view.dstPort,
      flags: flags && Object.fromEntries(flags.map((flag) => [flag, true])),
    }),
  }
}

function endpointObject(it: Endpoint): Json {
  return clean({
    ID: it.id,
    identity: it.identity,
    cluster_name: it.clusterName,
    namespace: it.namespace,
    labels: it.labels,
    pod_name: it.podName,
    workloads: it.workloads.map(({ name, kind }) => clean({ name, kind })),
  })
}

function service(view: FlowView, ref: number): Json | undefined {
  const it = view.context.service(ref)
  return it && clean({ name: it.name, namespace: it.namespace })
}

function extensions(view: FlowView): Json | undefined {
  const cause = Object.entries(EventCause).find(([, value]) => value === view.cause && value !== 0)?.[0]
  const value = clean({
    bytes: view.bytes,
    cause,
    direction_guessed: (view.state & FlowState.GUESSED) !== 0,
    drop_location: view.context.dropLocation(view.dropLocation),
    drops: view.drops,
    fragment: view.isFragment,
    kernel_drop_reason: view.kernelDropReason && view.context.kernelDropReason(view.kernelDropReason).name,
    packets: view.packets,
    reply_bytes: view.replyBytes,
    reply_packets: view.replyPackets,
    retransmits: view.retransmits,
    rtt_us: view.rttUs,
    rule: view.rule,
    sctp_chunk: view.protocol === 132 && !view.isL7 && view.sctpChunk,
    srtt_us: view.srttUs,
    vlan: view.vlan,
  })
  if (Object.keys(value).length === 0) return undefined
  return { '@type': 'type.googleapis.com/google.protobuf.Struct', value }
}

/** A protobuf wrapper: written even when it holds the default. */
class Wrapped {
  readonly #value: boolean
  constructor(value: boolean) {
    this.#value = value
  }
  toJSON(): boolean {
    return this.#value
  }
}

/** Leaves out what protojson leaves out; `{}` stays, a set message is printed. */
function clean(object: Json): Json {
  const keep = Object.entries(object).filter(
    ([, it]) => it !== undefined && it !== 0 && it !== '' && it !== false && !(Array.isArray(it) && it.length === 0),
  )
  return Object.fromEntries(keep)
}

function time(secs: number, nanos: number): string {
  const fraction =
    nanos === 0
      ? ''
      : `.${String(nanos)
          .padStart(9, '0')
          .replace(/(000){1,2}$/, '')}`
  return `${new Date(secs * 1000).toISOString().slice(0, 19)}${fraction}Z`
}

function masked(object: Json, mask: FieldMask | undefined): Json | undefined {
  if (mask === undefined) return object
  const out: Json = {}
  for (const [key, value] of Object.entries(object)) {
    const sub = Object.hasOwn(mask, key) ? mask[key] : undefined
    if (sub === undefined) continue
    out[key] = sub === true ? value : masked(value as Json, sub)
  }
  return out
}
