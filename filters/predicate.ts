import type { FlowView } from '../model/flow-view.ts'
import type { Prefix } from './address.ts'
import type { CelProgram } from './cel/program.ts'
import type { LabelSelector } from './label-selector.ts'
import type { NamePattern } from './names.ts'
import type { Regex } from './regex.ts'

/** Which end of a flow a test looks at. */
export type Side = 'source' | 'destination'

/** True when the flow under the cursor is wanted. */
export type FlowPredicate = (view: FlowView) => boolean

/**
 * What a flow can be asked: plain data, so that the same tree becomes JavaScript here and masks for the kernel
 * elsewhere. A list of values is an OR. `all` of nothing is true, `any` of nothing is false.
 */
export type Predicate =
  | { readonly op: 'all'; readonly of: readonly Predicate[] }
  | { readonly op: 'any'; readonly of: readonly Predicate[] }
  | { readonly op: 'not'; readonly of: Predicate }
  | FieldTest

export type FieldTest =
  | { readonly op: 'uuid'; readonly values: readonly string[] }
  | { readonly op: 'event-type'; readonly entries: readonly EventTypeEntry[] }
  /** flow.proto Verdict numbers. */
  | { readonly op: 'verdict'; readonly values: readonly number[] }
  /** flow.proto DropReason numbers; true on dropped flows only. */
  | { readonly op: 'drop-reason'; readonly values: readonly number[] }
  /** A dropped flow of unknown direction counts as no reply, any other such flow matches neither value. */
  | { readonly op: 'reply'; readonly values: readonly boolean[] }
  | { readonly op: 'encrypted'; readonly values: readonly boolean[] }
  | { readonly op: 'identity'; readonly side: Side; readonly values: readonly number[] }
  | { readonly op: 'protocol'; readonly names: readonly ProtocolName[] }
  /** Addresses as 16 bytes, IPv4 mapped. */
  | {
      readonly op: 'ip'
      readonly side: Side
      readonly addresses: readonly Uint8Array[]
      readonly prefixes: readonly Prefix[]
    }
  | { readonly op: 'pod'; readonly side: Side; readonly names: readonly NamespacedName[] }
  | { readonly op: 'workload'; readonly side: Side; readonly entries: readonly WorkloadEntry[] }
  | { readonly op: 'service'; readonly side: Side; readonly names: readonly NamespacedName[] }
  | { readonly op: 'fqdn'; readonly side: Side; readonly pattern: NamePattern }
  | { readonly op: 'dns-query'; readonly patterns: readonly Regex[] }
  | { readonly op: 'label'; readonly side: Side; readonly selectors: readonly LabelSelector[] }
  | { readonly op: 'node-label'; readonly selectors: readonly LabelSelector[] }
  | { readonly op: 'port'; readonly side: Side; readonly ports: readonly number[] }
  | { readonly op: 'http-status'; readonly full: readonly number[]; readonly prefixes: readonly string[] }
  | { readonly op: 'http-method'; readonly methods: readonly string[] }
  | { readonly op: 'http-path'; readonly patterns: readonly Regex[] }
  | { readonly op: 'http-url'; readonly patterns: readonly Regex[] }
  | { readonly op: 'http-header'; readonly headers: readonly { readonly key: string; readonly value: string }[] }
  /** Bits as on the wire (FIN 1 ... NS 256); all bits of an entry must be set in the flow. */
  | { readonly op: 'tcp-flags'; readonly masks: readonly number[] }
  | { readonly op: 'node-name'; readonly pattern: NamePattern }
  | { readonly op: 'cluster-name'; readonly side: Side; readonly names: readonly string[] }
  /** 0 none, 4, 6. */
  | { readonly op: 'ip-version'; readonly versions: readonly number[] }
  | { readonly op: 'trace-id'; readonly values: readonly string[] }
  | { readonly op: 'traffic-direction'; readonly values: readonly number[] }
  | { readonly op: 'interface'; readonly entries: readonly InterfaceEntry[] }
  | { readonly op: 'cel'; readonly programs: readonly CelProgram[] }

export interface EventTypeEntry {
  /** 0 = any. */
  readonly type: number
  readonly subType: number | undefined
}

/** `namespace` exact, '' = any; `prefix` of the name. */
export interface NamespacedName {
  readonly namespace: string
  readonly prefix: string
}

/** Empty text = any. */
export interface WorkloadEntry {
  readonly name: string
  readonly kind: string
}

/** 0 and '' = any. */
export interface InterfaceEntry {
  readonly index: number
  readonly name: string
}

export const PROTOCOL_NAMES = [
  'icmp',
  'icmpv4',
  'icmpv6',
  'tcp',
  'udp',
  'sctp',
  'vrrp',
  'igmp',
  'dns',
  'http',
  'kafka',
] as const
export type ProtocolName = (typeof PROTOCOL_NAMES)[number]

export const EVERYTHING: Predicate = { op: 'all', of: [] }
export const NOTHING: Predicate = { op: 'any', of: [] }

/** AND; one operand stays itself, constants are folded. */
export function allOf(...of: readonly Predicate[]): Predicate {
  const rest = of.filter((one) => !isEverything(one))
  if (rest.some(isNothing)) return NOTHING
  return rest.length === 1 ? rest[0]! : { op: 'all', of: rest }
}

/** OR; one operand stays itself, constants are folded. */
export function anyOf(...of: readonly Predicate[]): Predicate {
  const rest = of.filter((one) => !isNothing(one))
  if (rest.some(isEverything)) return EVERYTHING
  return rest.length === 1 ? rest[0]! : { op: 'any', of: rest }
}

export function not(of: Predicate): Predicate {
  if (isEverything(of)) return NOTHING
  if (isNothing(of)) return EVERYTHING
  return of.op === 'not' ? of.of : { op: 'not', of }
}

export function isEverything(predicate: Predicate): boolean {
  return predicate.op === 'all' && predicate.of.length === 0
}

export function isNothing(predicate: Predicate): boolean {
  return predicate.op === 'any' && predicate.of.length === 0
}
