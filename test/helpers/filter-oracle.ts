import type { EventKind } from '../../model/layouts.gen.ts'

/**
 * What filters mean, written straight from their description over plain objects: slow, obvious, and without a line of the
 * code under test.
 */

export interface OracleEnd {
  readonly ip: string
  readonly port: number
  /** Empty for what is no pod. */
  readonly namespace: string
  readonly pod: string
  readonly labels: Readonly<Record<string, string>>
  readonly workload: { readonly name: string; readonly kind: string } | undefined
  readonly identity: number
}

export interface OracleFlow {
  readonly source: OracleEnd
  readonly destination: OracleEnd
  readonly protocol: 'tcp' | 'udp' | 'sctp' | 'icmp' | 'icmpv6'
  readonly family: 4 | 6
  readonly direction: 'ingress' | 'egress' | 'unknown'
  readonly isReply: boolean
  readonly kind: keyof typeof EventKind
  /** Bits as on the wire; TCP only. */
  readonly flags: number
  /** flow.proto DropReason; drops only. */
  readonly dropReason: number
  readonly dns?: { readonly query: string }
  readonly http?: { readonly method: string; readonly code: number }
}

export type Side = 'source' | 'destination'

export interface OracleRequirement {
  readonly key: string
  readonly op: 'in' | 'notin' | 'exists' | 'missing'
  readonly values: readonly string[]
}

/** A test of one field: any of its values. */
export type OracleTest =
  | { readonly field: 'pod'; readonly side: Side; readonly values: readonly string[] }
  | { readonly field: 'label'; readonly side: Side; readonly values: readonly (readonly OracleRequirement[])[] }
  | { readonly field: 'workload'; readonly side: Side; readonly values: readonly { name?: string; kind?: string }[] }
  | { readonly field: 'identity'; readonly side: Side; readonly values: readonly number[] }
  | { readonly field: 'ip'; readonly side: Side; readonly values: readonly string[] }
  | { readonly field: 'port'; readonly side: Side; readonly values: readonly number[] }
  | { readonly field: 'protocol'; readonly values: readonly string[] }
  | { readonly field: 'verdict'; readonly values: readonly ('FORWARDED' | 'DROPPED' | 'REDIRECTED')[] }
  | { readonly field: 'dropReason'; readonly values: readonly number[] }
  | { readonly field: 'reply'; readonly values: readonly boolean[] }
  | { readonly field: 'direction'; readonly values: readonly ('ingress' | 'egress' | 'unknown')[] }
  | { readonly field: 'ipVersion'; readonly values: readonly (4 | 6)[] }
  | { readonly field: 'eventType'; readonly values: readonly { type: number; subType?: number }[] }
  | { readonly field: 'tcpFlags'; readonly values: readonly number[] }
  | { readonly field: 'dnsQuery'; readonly values: readonly string[] }
  | { readonly field: 'httpMethod'; readonly values: readonly string[] }
  | { readonly field: 'httpStatus'; readonly values: readonly number[] }
  | { readonly field: 'nodeName'; readonly values: readonly string[] }
  | { readonly field: 'nodeLabel'; readonly values: readonly (readonly OracleRequirement[])[] }
  | { readonly field: 'clusterName'; readonly side: Side; readonly values: readonly string[] }
  | { readonly field: 'encrypted'; readonly values: readonly boolean[] }
  | { readonly field: 'traceId'; readonly values: readonly string[] }

export type OracleFilter =
  | OracleTest
  | { readonly and: readonly OracleFilter[] }
  | { readonly or: readonly OracleFilter[] }
  | { readonly not: OracleFilter }

export interface OracleRule {
  readonly effect: 'include' | 'exclude'
  readonly filter: OracleFilter
}

export interface OracleConsumer {
  readonly kinds: readonly (keyof typeof EventKind)[]
  readonly isOn: boolean
  readonly rules: readonly OracleRule[]
}

export const ORACLE_NODE = 'node-1'
export const ORACLE_NODE_LABELS = { zone: 'a', os: 'linux' }
/** Cluster of every pod; what is no pod has none. */
export const ORACLE_CLUSTER = 'default'

/** Of a kind that concerns it, matched by an include rule or having none, and matched by no exclude rule. */
export function oracleTakes(consumer: OracleConsumer, flow: OracleFlow): boolean {
  if (!consumer.isOn || !consumer.kinds.includes(flow.kind)) return false
  const includes = consumer.rules.filter((rule) => rule.effect === 'include')
  const excludes = consumer.rules.filter((rule) => rule.effect === 'exclude')
  if (excludes.some((rule) => oracleMatches(rule.filter, flow))) return false
  return includes.length === 0 || includes.some((rule) => oracleMatches(rule.filter, flow))
}

export function oracleMatches(filter: OracleFilter, flow: OracleFlow): boolean {
  if ('and' in filter) return filter.and.every((one) => oracleMatches(one, flow))
  if ('or' in filter) return filter.or.some((one) => oracleMatches(one, flow))
  if ('not' in filter) return !oracleMatches(filter.not, flow)
  return matchesTest(filter, flow)
}

function matchesTest(test: OracleTest, flow: OracleFlow): boolean {
  const isL7 = flow.dns !== undefined || flow.http !== undefined
  const isDrop = flow.kind === 'KIND_DROP'
  switch (test.field) {
    case 'pod':
      return test.values.some((value) => isPod(value, flow[test.side]))
    case 'label':
      return test.values.some((selector) => selector.every((one) => holds(one, flow[test.side].labels)))
    case 'workload': {
      const { workload } = flow[test.side]
      if (workload === undefined) return false
      return test.values.some(
        ({ name, kind }) =>
          (name === undefined || name === workload.name) && (kind === undefined || kind === workload.kind),
      )
    }
    case 'identity':
      return test.values.includes(flow[test.side].identity)
    case 'ip':
      return test.values.some((value) => isWithin(flow[test.side].ip, value))
    case 'port':
      return ['tcp', 'udp', 'sctp'].includes(flow.protocol) && test.values.includes(flow[test.side].port)
    case 'protocol':
      return test.values.some((name) => {
        if (name === 'dns') return flow.dns !== undefined
        if (name === 'http') return flow.http !== undefined
        if (name === 'icmp') return flow.protocol.startsWith('icmp')
        if (name === 'icmpv4') return flow.protocol === 'icmp'
        return flow.protocol === name
      })
    case 'verdict':
      return test.values.includes(isDrop ? 'DROPPED' : 'FORWARDED')
    case 'dropReason':
      return isDrop && test.values.includes(flow.dropReason)
    case 'reply':
      return test.values.includes(flow.isReply)
    case 'direction':
      return test.values.includes(flow.direction)
    case 'ipVersion':
      return test.values.includes(flow.family)
    case 'eventType': {
      const type = isL7 ? 129 : isDrop ? 1 : 4
      // Test flows are seen at to-stack or to-endpoint; sub-types here are asked of drops and messages only.
      const subType = isL7 ? 0 : isDrop ? flow.dropReason : undefined
      return test.values.some(
        (one) => (one.type === 0 || one.type === type) && (one.subType === undefined || one.subType === subType),
      )
    }
    case 'tcpFlags':
      return flow.protocol === 'tcp' && !isL7 && test.values.some((mask) => (flow.flags & mask) === mask)
    case 'dnsQuery':
      return flow.dns !== undefined && test.values.some((part) => flow.dns?.query.includes(part))
    case 'httpMethod':
      return flow.http !== undefined && test.values.includes(flow.http.method)
    case 'httpStatus':
      return flow.http !== undefined && test.values.includes(flow.http.code)
    case 'nodeName':
      return test.values.includes(ORACLE_NODE)
    case 'nodeLabel':
      return test.values.some((selector) => selector.every((one) => holds(one, ORACLE_NODE_LABELS)))
    case 'clusterName':
      return test.values.includes(flow[test.side].pod === '' ? '' : ORACLE_CLUSTER)
    case 'encrypted':
      // No test flow is.
      return test.values.includes(false)
    case 'traceId':
      // No test flow has one.
      return test.values.includes('')
  }
}

/** `namespace/prefix`, either may be empty; without a slash the namespace is `default`. */
function isPod(value: string, end: OracleEnd): boolean {
  if (end.pod === '' && end.namespace === '') return false
  const [namespace, prefix] = value.includes('/') ? (value.split('/') as [string, string]) : ['default', value]
  return (namespace === '' || namespace === end.namespace) && end.pod.startsWith(prefix)
}

function holds({ key, op, values }: OracleRequirement, labels: Readonly<Record<string, string>>): boolean {
  const value = labels[key]
  if (op === 'exists') return value !== undefined
  if (op === 'missing') return value === undefined
  if (op === 'in') return value !== undefined && values.includes(value)
  return value === undefined || !values.includes(value)
}

/** An address as a number of its family. */
function numberOf(ip: string): { family: 4 | 6; value: bigint } {
  if (!ip.includes(':')) {
    return { family: 4, value: ip.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n) }
  }
  const [head, tail] = ip.split('::') as [string, string | undefined]
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  const zeros = new Array<string>(8 - left.length - right.length).fill('0')
  const all = tail === undefined ? left : [...left, ...zeros, ...right]
  return { family: 6, value: all.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n) }
}

function isWithin(ip: string, range: string): boolean {
  const [base, bits] = range.split('/') as [string, string | undefined]
  const a = numberOf(ip)
  const b = numberOf(base)
  if (a.family !== b.family) return false
  const width = a.family === 4 ? 32 : 128
  const shift = BigInt(width - (bits === undefined ? width : Number(bits)))
  return a.value >> shift === b.value >> shift
}
