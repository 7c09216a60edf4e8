import {
  AuthType,
  DebugCapturePoint,
  type Endpoint,
  type Flow,
  L7FlowType,
  type Policy,
  type Service,
  SocketTranslationPoint,
  TrafficDirection,
  Verdict,
} from '../../api/gen/flow/flow.ts'
import { DROP_REASONS } from '../../model/drop-reasons.ts'
import { TRACE_SUB_TYPES } from '../observe/filter-flags.ts'
import type { Paint } from '../paint.ts'

/** How ends of a flow are named. */
export interface NameOptions {
  /** Names of pods, services and hosts instead of addresses. */
  readonly ipTranslation: boolean
  readonly paint: Paint
}

/** One end of a flow: what `hubble` prints of it, in the order in which it prefers names. */
interface End {
  readonly ip: string
  readonly mac: string
  readonly port: number
  readonly endpoint: Endpoint | undefined
  readonly names: readonly string[]
  readonly service: Service | undefined
}

export function sourceEnd(flow: Flow): End {
  return {
    ip: flow.IP?.source ?? '',
    mac: flow.ethernet?.source ?? '',
    port: flow.l4?.TCP?.source_port ?? flow.l4?.UDP?.source_port ?? flow.l4?.SCTP?.source_port ?? 0,
    endpoint: flow.source,
    names: flow.source_names,
    service: flow.source_service,
  }
}

export function destinationEnd(flow: Flow): End {
  const l4 = flow.l4
  return {
    ip: flow.IP?.destination ?? '',
    mac: flow.ethernet?.destination ?? '',
    port: l4?.TCP?.destination_port ?? l4?.UDP?.destination_port ?? l4?.SCTP?.destination_port ?? 0,
    endpoint: flow.destination,
    names: flow.destination_names,
    service: flow.destination_service,
  }
}

/** `shop/cart-0:8080`, `[fd00::1]:53`, `a.example.com:443`; MAC where there is no IP, empty where there is neither. */
export function hostText(end: End, options: NameOptions): string {
  if (end.ip === '') return end.mac === '' ? '' : options.paint.cyan(end.mac)
  const host = options.ipTranslation ? hostName(end) : end.ip
  if (end.port === 0) return options.paint.cyan(host)
  const bracketed = host.includes(':') ? `[${host}]` : host
  return options.paint.cyan(`${bracketed}:${options.paint.yellow(String(end.port))}`)
}

function hostName({ endpoint, service, names, ip }: End): string {
  const namespace = service ? service.namespace : (endpoint?.namespace ?? '')
  const name = endpoint?.pod_name || service?.name || ''
  if (name !== '') return namespace === '' ? name : `${namespace}/${name}`
  return names.length > 0 ? names.join(',') : ip
}

const RESERVED_IDENTITIES = [
  'unknown',
  'host',
  'world',
  'unmanaged',
  'health',
  'init',
  'remote-node',
  'kube-apiserver',
  'ingress',
  'world-ipv4',
  'world-ipv6',
] as const

/** `(host)`, `(ID:20001)` */
export function identityText(endpoint: Endpoint | undefined, paint: Paint): string {
  const identity = endpoint?.identity ?? 0
  return paint.magenta(`(${RESERVED_IDENTITIES[identity] ?? `ID:${identity}`})`)
}

/** Monitor message types (event_type.type). */
const EVENT_DROP = 1
const EVENT_CAPTURE = 3
const EVENT_TRACE = 4
const EVENT_POLICY_VERDICT = 5
const EVENT_TRACE_SOCK = 7

const POLICY_MATCHES = ['none', 'L3-Only', 'L3-L4', 'L4-Only', 'all', 'L3-Proto', 'Proto-Only'] as const

/** Texts of drop codes that are no drop reasons of flow.proto. */
const OTHER_DROP_TEXTS: Readonly<Record<number, string>> = {
  2: 'Invalid packet',
  3: 'Interface',
  4: 'Interface Decrypted',
  5: 'LB: sock cgroup: No backend entry found',
  6: 'LB: sock cgroup: No backend slot found',
  7: 'LB: sock cgroup: Reverse entry update failed',
  8: 'LB: sock cgroup: Reverse entry stale',
  9: 'Fragmented packet',
  10: 'Fragmented packet entry update failed',
  12: 'Interface Decrypting',
  13: 'Interface Encrypting',
  14: 'LB: sock cgroup: Reverse entry delete succeeded',
  15: 'MTU error message',
}

const XLATE_TEXTS: Readonly<Record<number, string>> = {
  [SocketTranslationPoint.SOCK_XLATE_POINT_PRE_DIRECTION_FWD]: 'pre-xlate-fwd',
  [SocketTranslationPoint.SOCK_XLATE_POINT_POST_DIRECTION_FWD]: 'post-xlate-fwd',
  [SocketTranslationPoint.SOCK_XLATE_POINT_PRE_DIRECTION_REV]: 'pre-xlate-rev',
  [SocketTranslationPoint.SOCK_XLATE_POINT_POST_DIRECTION_REV]: 'post-xlate-rev',
}

/** The TYPE column: `to-stack`, `http-request`, `Policy denied`, `policy-verdict:L3-L4 INGRESS`. */
export function typeText(flow: Flow): string {
  if (flow.l7) return l7TypeText(flow.l7)
  const { type = 0, sub_type: subType = 0 } = flow.event_type ?? {}
  switch (type) {
    case EVENT_TRACE:
      return TRACE_SUB_TYPES[subType] ?? String(subType)
    case EVENT_DROP:
      return dropText(subType & 0xff)
    case EVENT_POLICY_VERDICT: {
      const match = POLICY_MATCHES[flow.policy_match_type] ?? 'unknown'
      return `policy-verdict:${match} ${nameOf(TrafficDirection, flow.traffic_direction)}`
    }
    case EVENT_CAPTURE:
      return nameOf(DebugCapturePoint, flow.debug_capture_point)
    case EVENT_TRACE_SOCK:
      return XLATE_TEXTS[flow.sock_xlate_point] ?? 'UNKNOWN'
    default:
      return 'UNKNOWN'
  }
}

function l7TypeText(l7: NonNullable<Flow['l7']>): string {
  const type = nameOf(L7FlowType, l7.type).toLowerCase()
  if (l7.http) return `http-${type}`
  if (l7.dns) return `dns-${type} ${l7.dns.observation_source}`
  return `${l7.kafka ? 'kafka' : 'l7'}-${type}`
}

function dropText(code: number): string {
  return DROP_REASONS[code]?.text ?? OTHER_DROP_TEXTS[code] ?? `${code}, 0`
}

/** The VERDICT column. @param printPolicies adds the policies that decided */
export function verdictText(flow: Flow, paint: Paint, printPolicies: boolean): string {
  const { verdict } = flow
  if (flow.event_type?.type === EVENT_POLICY_VERDICT) {
    if (verdict === Verdict.FORWARDED || verdict === Verdict.REDIRECTED) {
      return paint.green(`ALLOWED${policiesText(printPolicies, flow, flow.egress_allowed_by, flow.ingress_allowed_by)}`)
    }
    if (verdict === Verdict.DROPPED || verdict === Verdict.ERROR) {
      return paint.red(`DENIED${policiesText(printPolicies, flow, flow.egress_denied_by, flow.ingress_denied_by)}`)
    }
    if (verdict === Verdict.AUDIT) return paint.yellow('AUDITED')
  }
  const name = nameOf(Verdict, verdict)
  switch (verdict) {
    case Verdict.FORWARDED:
    case Verdict.REDIRECTED:
      return paint.green(name)
    case Verdict.DROPPED:
    case Verdict.ERROR:
      return paint.red(name)
    case Verdict.AUDIT:
    case Verdict.TRACED:
    case Verdict.TRANSLATED:
      return paint.yellow(name)
    default:
      return name
  }
}

function policiesText(wanted: boolean, flow: Flow, egress: readonly Policy[], ingress: readonly Policy[]): string {
  if (!wanted) return ''
  const decided =
    flow.traffic_direction === TrafficDirection.EGRESS
      ? egress
      : flow.traffic_direction === TrafficDirection.INGRESS
        ? ingress
        : []
  const named = decided.filter((policy) => policy.name !== '' && policy.kind !== '')
  return named.length === 0 ? '' : ` BY ${named.map((policy) => `${policy.name} (${policy.kind})`).join(', ')}`
}

/** The SUMMARY column. */
export function summaryText(flow: Flow, paint: Paint): string {
  const trace = flow.ip_trace_id && flow.ip_trace_id.trace_id > 0n ? `IP Trace ID: ${flow.ip_trace_id.trace_id}; ` : ''
  const auth = flow.auth_type === AuthType.DISABLED ? '' : `; Auth: ${paint.green(nameOf(AuthType, flow.auth_type))}`
  return `${trace}${flow.Summary}${auth}`
}

const ENUM_NAMES = new WeakMap<object, ReadonlyMap<number, string>>()

/** The name of an enum's value, or its number. */
export function nameOf(values: Readonly<Record<string, number>>, value: number): string {
  let names = ENUM_NAMES.get(values)
  if (!names) {
    names = new Map(Object.entries(values).map(([name, number]) => [number, name]))
    ENUM_NAMES.set(values, names)
  }
  return names.get(value) ?? String(value)
}
