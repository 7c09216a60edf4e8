import { EventKind, Verdict } from '../../model/layouts.gen.ts'
import { VERDICT_NAMES } from '../../model/names.ts'
import type { FlowFilterMessage } from '../hubble/message.ts'
import type { RuleEffect } from '../rules.ts'
import type { MetricFamily } from './kinds.ts'
import { type Problem, remark } from './problem.ts'
import type { FilterSpec } from './schema.ts'
import { addressFamily } from './values.ts'

const FLOW = 1 << EventKind.KIND_FLOW
const FLAG = 1 << EventKind.KIND_TCP_FLAG
const DROP = 1 << EventKind.KIND_DROP
const DNS = 1 << EventKind.KIND_DNS
const HTTP = 1 << EventKind.KIND_HTTP
const ALL = FLOW | FLAG | DROP | DNS | HTTP

/** Kinds of events that a metric counts. */
const METRIC_KINDS: Readonly<Record<MetricFamily, number>> = { flow: ALL, tcp: FLAG, drop: DROP, dns: DNS }

/** Kinds of events that may have a protocol: a packet of UDP has no flags, HTTP comes over TCP. */
const PROTOCOL_KINDS: Readonly<Record<string, number>> = {
  tcp: ALL,
  udp: FLOW | DROP | DNS,
  dns: DNS,
  http: HTTP,
  kafka: 0,
}

function verdictKinds(verdict: number): number {
  if (verdict === Verdict.FORWARDED) return FLOW | FLAG | DNS | HTTP
  return verdict === Verdict.DROPPED ? DROP : 0
}

/** Something that a filter asks, and the kinds of events that can have it. */
interface Condition {
  readonly text: string
  readonly kinds: number
}

function conditions(message: FlowFilterMessage, metric: MetricFamily | undefined): Condition[] {
  const found: Condition[] = []
  const add = (text: string, kinds: number) => found.push({ text, kinds })
  const either = <T>(
    values: readonly T[] | undefined,
    word: string,
    kinds: (value: T) => number,
    show: (value: T) => string,
  ) => {
    if (values === undefined || values.length === 0) return
    add(
      `${word} ${values.slice(0, 4).map(show).join(' or ')}`,
      values.reduce((sum, value) => sum | kinds(value), 0),
    )
  }
  if (metric !== undefined) add(`metric ${metric}`, METRIC_KINDS[metric])
  either(message.verdict, 'verdict', verdictKinds, (value) => (VERDICT_NAMES[value] ?? '').toLowerCase())
  either(message.protocol, 'protocol', (name) => PROTOCOL_KINDS[name] ?? FLOW | DROP, String)
  if (isSet(message.drop_reason_desc)) add('a drop reason', DROP)
  if (isSet(message.dns_query)) add('dnsQuery', DNS)
  for (const field of ['http_method', 'http_path', 'http_url', 'http_status_code'] as const) {
    if (isSet(message[field]))
      add(
        field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
        HTTP,
      )
  }
  if (isSet(message.tcp_flags)) add('tcpFlags', FLOW | FLAG | DROP)
  return found
}

function isSet(values: readonly unknown[] | undefined): boolean {
  return values !== undefined && values.length > 0
}

/** Why no flow can match, in words; undefined when some may. */
function neverMatches(message: FlowFilterMessage, metric: MetricFamily | undefined): string | undefined {
  const all = conditions(message, metric)
  for (const one of all) if (one.kinds === 0) return `no flow of this agent has ${one.text}`
  for (const [i, one] of all.entries()) {
    for (const other of all.slice(i + 1)) {
      if ((one.kinds & other.kinds) === 0) return `no flow has ${one.text} and ${other.text}`
    }
  }
  if (all.reduce((kinds, one) => kinds & one.kinds, ALL) === 0) {
    return `no flow has ${all.map((one) => one.text).join(' and ')} at once`
  }
  return familiesClash(message) ?? portsClash(message)
}

const WITH_PORTS: readonly string[] = ['tcp', 'udp', 'sctp', 'dns', 'http', 'kafka']

function portsClash(message: FlowFilterMessage): string | undefined {
  const hasPorts = isSet(message.source_port) || isSet(message.destination_port)
  if (!hasPorts || !isSet(message.protocol)) return undefined
  if (message.protocol!.some((name) => WITH_PORTS.includes(name))) return undefined
  return `no flow has ports and protocol ${message.protocol!.join(' or ')}`
}

function familiesClash(message: FlowFilterMessage): string | undefined {
  const families = (values: readonly string[] | undefined) => new Set((values ?? []).map(addressFamily))
  const ends = [families(message.source_ip), families(message.destination_ip)].filter((end) => end.size > 0)
  if (isSet(message.ip_version)) ends.push(new Set(message.ip_version!.map((version) => (version === 1 ? 4 : 6))))
  const clash = ([4, 6] as const).every((family) => ends.some((end) => !end.has(family)))
  return ends.length > 1 && clash ? 'no flow has addresses of IPv4 and of IPv6' : undefined
}

/**
 * What a filter for itself says and is hardly meant.
 *
 * @param metric that it filters, undefined for the log
 */
export function adviseFilter(
  { spec, message, path, effect, isAlone }: AdvisedFilter,
  metric: MetricFamily | undefined,
  warn: (problem: Problem) => void,
): void {
  for (const at of emptyLists(spec, [])) {
    warn({ path: [...path, ...at], text: remark('an empty list sets no condition; leave the field out') })
  }
  if (!Object.values(message).some((values) => Array.isArray(values) && values.length > 0)) {
    // Alone and with nothing but a name it is how one asks for everything.
    if (effect === 'include' && isAlone && Object.keys(spec).every((key) => key === 'name')) return
    const what =
      effect === 'include'
        ? 'matches every flow: other filters of the list change nothing'
        : 'matches every flow: none is left'
    warn({ path, text: remark(what) })
    return
  }
  const why = neverMatches(message, metric)
  if (why !== undefined) {
    warn({ path, text: remark(`can never match: ${why}`) })
    return
  }
  adviseVerdicts(message, path, warn)
  if (metric !== undefined) adviseProtocols(message, path, effect, metric, warn)
}

export interface AdvisedFilter {
  readonly spec: FilterSpec
  readonly message: FlowFilterMessage
  readonly path: readonly PropertyKey[]
  readonly effect: RuleEffect
  /** The only filter of its list. */
  readonly isAlone: boolean
}

function adviseVerdicts(message: FlowFilterMessage, path: readonly PropertyKey[], warn: (problem: Problem) => void) {
  const verdicts = message.verdict ?? []
  const isBoth = verdicts.includes(Verdict.FORWARDED) && verdicts.includes(Verdict.DROPPED)
  if (!isBoth || verdicts.includes(Verdict.REDIRECTED)) return
  const text =
    'flows that are redirected to a proxy have neither of these verdicts; leave the field out to match them too'
  warn({ path: [...path, 'verdict'], text: remark(text) })
}

function adviseProtocols(
  message: FlowFilterMessage,
  path: readonly PropertyKey[],
  effect: RuleEffect,
  metric: MetricFamily,
  warn: (problem: Problem) => void,
) {
  const protocols = message.protocol ?? []
  const at = [...path, 'protocol']
  if (protocols.includes('http')) {
    warn({ path: at, text: remark(`http matches HTTP messages alone; ACNS knows tcp, udp and dns for metrics`) })
  }
  if (metric !== 'dns' || effect !== 'include' || protocols.includes('dns')) return
  const carriers = protocols.filter((name) => name === 'tcp' || name === 'udp')
  if (carriers.length !== 1) return
  warn({ path: at, text: remark(`on metric dns this keeps DNS over ${carriers[0]!.toUpperCase()} alone`) })
}

function emptyLists(value: unknown, path: readonly PropertyKey[]): PropertyKey[][] {
  if (Array.isArray(value)) return value.length === 0 ? [[...path]] : []
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => emptyLists(inner, [...path, key]))
}
