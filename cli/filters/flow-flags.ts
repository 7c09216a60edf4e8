import { isIP, isIPv6 } from 'node:net'
import {
  type Endpoint,
  Flow,
  FlowType,
  L7FlowType,
  TraceObservationPoint,
  TrafficDirection,
  Verdict,
} from '../../api/gen/flow/flow.ts'
import { SluiceError } from '../../base/errors.ts'
import { DROP_REASONS } from '../../model/drop-reasons.ts'

/** Flags that describe one flow, as commander gives them. */
export interface FlowFlags {
  readonly fromPod?: string
  readonly toPod?: string
  readonly fromLabel?: string[]
  readonly toLabel?: string[]
  readonly fromIp?: string
  readonly toIp?: string
  readonly fromPort?: string
  readonly toPort?: string
  readonly protocol?: string
  readonly verdict?: string
  readonly reason?: string
  readonly direction?: string
  readonly reply?: boolean
  readonly tcpFlags?: string
  readonly dnsQuery?: string
  readonly httpMethod?: string
  readonly httpPath?: string
  readonly httpStatus?: string
}

/** True when any flag describes a flow. */
export function describesFlow(flags: FlowFlags): boolean {
  return Object.values(pick(flags)).some((value) => value !== undefined)
}

function pick(flags: FlowFlags): FlowFlags {
  const { fromPod, toPod, fromLabel, toLabel, fromIp, toIp, fromPort, toPort, protocol, verdict, reason } = flags
  const { direction, reply, tcpFlags, dnsQuery, httpMethod, httpPath, httpStatus } = flags
  const ends = { fromPod, toPod, fromLabel, toLabel, fromIp, toIp, fromPort, toPort }
  const rest = { protocol, verdict, reason, direction, reply, tcpFlags, dnsQuery, httpMethod, httpPath, httpStatus }
  return Object.fromEntries(Object.entries({ ...ends, ...rest }).filter(([, value]) => value !== undefined))
}

const PROTOCOLS = ['tcp', 'udp', 'sctp', 'icmp', 'icmpv4', 'icmpv6', 'dns', 'http'] as const

/**
 * The flow that flags describe. What they leave out is what is most common: a first TCP packet, forwarded, leaving a pod
 * of no name.
 *
 * @throws SluiceError SLUICE_USAGE naming flag, value and what is wanted
 */
export function flowOfFlags(flags: FlowFlags): Flow {
  const reason = dropReason(flags.reason)
  const verdict = word('--verdict', flags.verdict ?? (reason === 0 ? 'forwarded' : 'dropped'), VERDICTS)
  const fromIp = address('--from-ip', flags.fromIp) ?? (isIPv6(flags.toIp ?? '') ? 'fd00::1' : '10.0.0.1')
  const toIp = address('--to-ip', flags.toIp) ?? (isIPv6(fromIp) ? 'fd00::2' : '10.0.0.2')
  if (isIPv6(fromIp) !== isIPv6(toIp)) {
    throw usage(`Cannot use --from-ip "${fromIp}" with --to-ip "${toIp}": want two IPv4 or two IPv6 addresses`)
  }
  const parts = protocolParts(flags, isIPv6(fromIp))
  return Flow.fromPartial({
    verdict,
    drop_reason_desc: reason as Flow['drop_reason_desc'],
    drop_reason: reason,
    IP: { source: fromIp, destination: toIp, ipVersion: isIPv6(fromIp) ? 2 : 1 },
    source: endpoint('--from-pod', flags.fromPod, flags.fromLabel),
    destination: endpoint('--to-pod', flags.toPod, flags.toLabel),
    is_reply: flags.reply === true,
    traffic_direction: word('--direction', flags.direction ?? 'egress', DIRECTIONS),
    ...eventParts(verdict, reason, parts.l7 !== undefined),
    ...parts,
  })
}

/** Monitor's message types. */
const EVENT = { DROP: 1, TRACE: 4, L7: 129 } as const

/** What kind of event the flow is, for its text: nothing that a filter resource can ask. */
function eventParts(verdict: number, reason: number, isL7: boolean): Pick<Flow, 'Type' | 'event_type'> {
  const type = isL7 ? EVENT.L7 : verdict === Verdict.DROPPED ? EVENT.DROP : EVENT.TRACE
  const point = TraceObservationPoint.TO_STACK
  return {
    Type: isL7 ? FlowType.L7 : FlowType.L3_L4,
    event_type: { type, sub_type: type === EVENT.DROP ? reason : type === EVENT.TRACE ? point : 0 },
  }
}

const VERDICTS = new Map(
  Object.entries(Verdict)
    .filter(([name]) => name !== 'VERDICT_UNKNOWN')
    .map(([name, value]) => [name.toLowerCase(), value]),
)
const DIRECTIONS = new Map([
  ['ingress', TrafficDirection.INGRESS],
  ['egress', TrafficDirection.EGRESS],
  ['unknown', TrafficDirection.TRAFFIC_DIRECTION_UNKNOWN],
])

function protocolParts(flags: FlowFlags, isV6: boolean): Partial<Flow> {
  const protocol = protocolName(flags)
  const source_port = port('--from-port', flags.fromPort) ?? 40_000
  const to = port('--to-port', flags.toPort)
  const ports = (byDefault: number) => ({ source_port, destination_port: to ?? byDefault })
  const l7 = { type: L7FlowType.REQUEST, latency_ns: 0n }
  const made = (parts: object): Partial<Flow> => Flow.fromPartial(parts as Parameters<typeof Flow.fromPartial>[0])
  const only = (key: 'l4' | 'l7', part: object) => ({ [key]: made({ [key]: part })[key] })
  switch (protocol) {
    case 'udp':
      return only('l4', { UDP: ports(53) })
    case 'sctp':
      return only('l4', { SCTP: ports(80) })
    case 'icmp':
      return only('l4', isV6 ? { ICMPv6: { type: 128, code: 0 } } : { ICMPv4: { type: 8, code: 0 } })
    case 'icmpv4':
      return only('l4', { ICMPv4: { type: 8, code: 0 } })
    case 'icmpv6':
      return only('l4', { ICMPv6: { type: 128, code: 0 } })
    case 'dns': {
      const query = flags.dnsQuery ?? 'example.com.'
      return { ...only('l4', { UDP: ports(53) }), ...only('l7', { ...l7, dns: { query, qtypes: ['A'] } }) }
    }
    case 'http': {
      const code = port('--http-status', flags.httpStatus) ?? 0
      const url = `http://example.com${flags.httpPath ?? '/'}`
      const http = { method: flags.httpMethod ?? 'GET', url, code, protocol: 'HTTP/1.1' }
      const type = code === 0 ? L7FlowType.REQUEST : L7FlowType.RESPONSE
      return { ...only('l4', { TCP: ports(80) }), ...only('l7', { ...l7, type, http }) }
    }
    default:
      return only('l4', { TCP: { ...ports(80), flags: tcpFlags(flags.tcpFlags ?? 'syn') } })
  }
}

/** A message says of which protocol it is. */
function protocolName(flags: FlowFlags): (typeof PROTOCOLS)[number] {
  const isHttp = flags.httpMethod !== undefined || flags.httpPath !== undefined || flags.httpStatus !== undefined
  const implied = flags.dnsQuery !== undefined ? 'dns' : isHttp ? 'http' : 'tcp'
  const name = (flags.protocol ?? implied).toLowerCase()
  const known = PROTOCOLS.find((each) => each === name)
  if (known === undefined) throw usage(`Cannot use --protocol "${flags.protocol}": want one of ${PROTOCOLS.join(', ')}`)
  if (implied !== 'tcp' && known !== implied) {
    throw usage(`Cannot use --protocol "${flags.protocol}" with the flags of a message: want ${implied}`)
  }
  return known
}

const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS']

function tcpFlags(text: string): Record<string, boolean> {
  const names = text.split(',').map((name) => name.trim().toUpperCase())
  if (names.every((name) => name === 'NONE' || FLAGS.includes(name))) {
    return Object.fromEntries(names.filter((name) => name !== 'NONE').map((name) => [name, true]))
  }
  throw usage(`Cannot use --tcp-flags "${text}": want names of ${FLAGS.join(', ').toLowerCase()}, or none`)
}

/** The pod, with the label of its namespace that every pod's flows carry. */
function endpoint(flag: string, pod: string | undefined, labels: readonly string[] = []): Endpoint {
  const slash = pod?.indexOf('/') ?? -1
  if (pod !== undefined && (slash < 1 || slash === pod.length - 1 || pod.indexOf('/', slash + 1) >= 0)) {
    throw usage(`Cannot use ${flag} "${pod}": want namespace/name`)
  }
  const namespace = pod?.slice(0, slash) ?? ''
  const own = labels.map((label) => (label.includes(':') ? label : `k8s:${label}`))
  const bad = labels.find((label) => !label.includes('=') && !label.includes(':'))
  if (bad !== undefined) throw usage(`Cannot use ${flag.replace('pod', 'label')} "${bad}": want key=value`)
  const ofNamespace = namespace === '' ? [] : [`k8s:io.kubernetes.pod.namespace=${namespace}`]
  const all = [...own, ...ofNamespace].sort()
  const world = pod === undefined && labels.length === 0
  return {
    ID: 0,
    identity: world ? 2 : 1000,
    cluster_name: '',
    namespace,
    labels: world ? ['reserved:world'] : all,
    pod_name: pod?.slice(slash + 1) ?? '',
    pod_uid: '',
    workloads: [],
  }
}

function address(flag: string, text: string | undefined): string | undefined {
  if (text === undefined || isIP(text) !== 0) return text
  throw usage(`Cannot use ${flag} "${text}": want an IPv4 or IPv6 address`)
}

function port(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text)
  throw usage(`Cannot use ${flag} "${text}": want a number from 0 to 65535`)
}

function word<T>(flag: string, text: string, values: ReadonlyMap<string, T>): T {
  const value = values.get(text.toLowerCase())
  if (value !== undefined) return value
  throw usage(`Cannot use ${flag} "${text}": want one of ${[...values.keys()].join(', ')}`)
}

/** Names and texts of drop reasons as people may write them, to flow.proto's numbers. */
const REASONS: ReadonlyMap<string, number> = new Map(
  Object.entries(DROP_REASONS).flatMap(([number, { name, text }]) =>
    [name, text].map((each) => [lettersOf(each), Number(number)] as const),
  ),
)

/** Longest name of a reason, generously. */
const MAX_REASON = 100

/** `Policy denied`, `POLICY_DENIED`; 0 for none. */
function dropReason(text: string | undefined): number {
  if (text === undefined) return 0
  const reason = text.length <= MAX_REASON ? REASONS.get(lettersOf(text)) : undefined
  if (reason !== undefined) return reason
  throw usage(`Cannot use --reason "${text}": want a name of Hubble's, such as "Policy denied" or POLICY_DENIED`)
}

function lettersOf(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, ' ')
    .trim()
}

function usage(text: string): SluiceError {
  return new SluiceError('SLUICE_USAGE', text)
}
