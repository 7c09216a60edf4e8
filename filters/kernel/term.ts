import { EventKind } from '../../model/layouts.gen.ts'
import { PROTOCOL } from '../../model/protocol-names.ts'
import { CONNECTION_FLAGS, KINDS } from '../kinds.ts'
import { parseLabels } from '../label-selector.ts'
import { L4_NUMBERS } from '../matchers/numbers.ts'
import type { FieldTest, Predicate, ProtocolName } from '../predicate.ts'

/** What the kernel knows of an event, one look-up each: bpf/maps.h, "Filters." */
export type Dimension = SmallDimension | FieldDimension
/** Values are small numbers: a mask for each. */
export type SmallDimension = 'kind' | 'protocol' | 'direction' | 'ip-version'
/** Values are endpoints, addresses and ports of one end. */
export type FieldDimension = `${'source' | 'destination'}-${'endpoint' | 'ip' | 'port'}`

/** How many values a small dimension has; for IP versions the index is the version itself. */
export const DIMENSION_SIZE: Readonly<Record<SmallDimension, number>> = {
  kind: EventKind.EVENT_KINDS,
  protocol: 256,
  direction: 4,
  'ip-version': 8,
}

export type EndpointTest = Extract<FieldTest, { op: 'pod' | 'label' | 'workload' | 'identity' | 'cluster-name' }>
export type IpTest = Extract<FieldTest, { op: 'ip' }>
export type PortTest = Extract<FieldTest, { op: 'port' }>

/**
 * A predicate as the kernel sees it: without `not`, every test of one dimension, and `unknown` where only user space can
 * tell. `all` of nothing is true, `any` of nothing false.
 */
export type Term =
  | { readonly op: 'all' | 'any'; readonly of: readonly Term[] }
  | { readonly op: 'values'; readonly dimension: SmallDimension; readonly accepts: readonly boolean[] }
  | {
      readonly op: 'field'
      readonly dimension: FieldDimension
      readonly test: EndpointTest | IpTest | PortTest
      readonly negated: boolean
    }
  | { readonly op: 'unknown'; readonly because: string }

/** Facts about the node that are the same for all of its flows. */
export interface RuleNode {
  /** FlowContext.nodeName. */
  readonly nodeName: string
  /** FlowContext.nodeLabels. */
  readonly nodeLabels: readonly string[]
}

export const YES: Term = { op: 'all', of: [] }
export const NO: Term = { op: 'any', of: [] }

/** Lowers a predicate; `negated` lowers its opposite. */
export function lower(predicate: Predicate, node: RuleNode, negated = false): Term {
  switch (predicate.op) {
    case 'not':
      return lower(predicate.of, node, !negated)
    case 'all':
    case 'any': {
      const op = (predicate.op === 'all') === negated ? 'any' : 'all'
      return { op, of: predicate.of.map((one) => lower(one, node, negated)) }
    }
    default: {
      const term = lowerTest(predicate, node)
      return negated ? opposite(term) : term
    }
  }
}

/** The opposite of a term, by De Morgan. */
function opposite(term: Term): Term {
  switch (term.op) {
    case 'all':
    case 'any':
      return { op: term.op === 'all' ? 'any' : 'all', of: term.of.map(opposite) }
    case 'values':
      return { ...term, accepts: term.accepts.map((one) => !one) }
    case 'field':
      return { ...term, negated: !term.negated }
    case 'unknown':
      return term
  }
}

function lowerTest(test: FieldTest, node: RuleNode): Term {
  switch (test.op) {
    case 'pod':
    case 'label':
    case 'workload':
    case 'identity':
    case 'cluster-name':
      return { op: 'field', dimension: `${test.side}-endpoint`, test, negated: false }
    case 'ip':
      return { op: 'field', dimension: `${test.side}-ip`, test, negated: false }
    case 'port':
      return { op: 'field', dimension: `${test.side}-port`, test, negated: false }
    case 'protocol':
      return lowerProtocol(test.names)
    case 'verdict':
      return kinds((kind) => test.values.includes(kind === EventKind.KIND_DROP ? 2 : 1))
    case 'event-type':
      return lowerEventType(test)
    case 'traffic-direction':
      return values('direction', (direction) => test.values.includes(direction))
    case 'ip-version':
      return values('ip-version', (version) => test.versions.includes(version))
    case 'node-name':
      return constant(test.pattern.matches(node.nodeName))
    case 'node-label': {
      const labels = parseLabels(node.nodeLabels)
      return constant(test.selectors.some((selector) => selector.matches(labels)))
    }
    case 'drop-reason':
      if (test.values.length === 0) return NO
      return onKinds([EventKind.KIND_DROP], 'drop reasons are known in user space')
    case 'reply':
      return lowerBooleans(test.values, 'who answers whom is known in user space')
    case 'encrypted':
      return lowerBooleans(test.values, 'encryption is known in user space')
    case 'tcp-flags':
      return lowerTcpFlags(test.masks)
    case 'http-status':
    case 'http-method':
    case 'http-path':
    case 'http-url':
    case 'http-header':
      return onKinds([EventKind.KIND_HTTP], 'HTTP messages are read in user space')
    case 'dns-query':
      return onKinds([EventKind.KIND_DNS], 'DNS messages are read in user space')
    case 'trace-id':
      return lowerTraceId(test.values)
    default:
      return { op: 'unknown', because: REASONS[test.op] }
  }
}

const REASONS = {
  service: 'services are known in user space',
  fqdn: 'DNS names are known in user space',
  interface: 'interfaces are told apart in user space',
  uuid: 'uuids are made in user space',
  cel: 'CEL expressions are evaluated in user space',
} as const

function values(dimension: SmallDimension, accepts: (value: number) => boolean): Term {
  return { op: 'values', dimension, accepts: Array.from({ length: DIMENSION_SIZE[dimension] }, (_, i) => accepts(i)) }
}

function kinds(accepts: (kind: number) => boolean): Term {
  return values('kind', (kind) => kind < KINDS.length && accepts(kind))
}

function constant(answer: boolean): Term {
  return answer ? YES : NO
}

/** Only events of these kinds may match; which of them, user space knows. */
function onKinds(of: readonly number[], because: string): Term {
  return { op: 'all', of: [kinds((kind) => of.includes(kind)), { op: 'unknown', because }] }
}

/**
 * Records with a message are of a kind of their own: only valid messages become flows. Where the layer 4 names cover what
 * carries the message (DNS: UDP and TCP, HTTP: TCP), the layer 7 name adds nothing.
 */
function lowerProtocol(names: readonly ProtocolName[]): Term {
  const numbers = new Set(names.flatMap((name) => L4_NUMBERS[name] ?? []))
  const l7: number[] = []
  if (names.includes('dns') && !(numbers.has(PROTOCOL.TCP) && numbers.has(PROTOCOL.UDP))) l7.push(EventKind.KIND_DNS)
  if (names.includes('http') && !numbers.has(PROTOCOL.TCP)) l7.push(EventKind.KIND_HTTP)
  const of: Term[] = []
  if (numbers.size > 0) of.push(values('protocol', (protocol) => numbers.has(protocol)))
  if (l7.length > 0) of.push(kinds((kind) => l7.includes(kind)))
  return of.length === 1 ? of[0]! : { op: 'any', of }
}

/** flow.proto event_type.type of each kind. */
function eventTypeOf(kind: number): number {
  if (kind === EventKind.KIND_DROP) return 1
  return kind === EventKind.KIND_DNS || kind === EventKind.KIND_HTTP ? 129 : 4
}

function lowerEventType(test: Extract<FieldTest, { op: 'event-type' }>): Term {
  const entriesOf = (kind: number) => test.entries.filter(({ type }) => type === 0 || type === eventTypeOf(kind))
  const isL7 = (kind: number) => eventTypeOf(kind) === 129
  // Messages have sub-type 0; of the others it is the drop reason, or the point of observation.
  const surely = kinds((kind) =>
    entriesOf(kind).some(({ subType }) => subType === undefined || (isL7(kind) && subType === 0)),
  )
  const perhaps = KINDS.filter((kind) => !isL7(kind) && entriesOf(kind).some(({ subType }) => subType !== undefined))
  if (perhaps.length === 0) return surely
  return { op: 'any', of: [surely, onKinds(perhaps, 'sub-types of events are known in user space')] }
}

function lowerBooleans(wanted: readonly boolean[], because: string): Term {
  if (wanted.length === 0) return NO
  return wanted.includes(true) && wanted.includes(false) ? YES : { op: 'unknown', because }
}

/** Flags of a packet that has none of FIN, SYN and RST make no event of kind TCP_FLAG. */
function lowerTcpFlags(masks: readonly number[]): Term {
  if (masks.length === 0) return NO
  const of: number[] = [EventKind.KIND_TCP_FLAG, EventKind.KIND_DROP]
  if (masks.some((mask) => (mask & CONNECTION_FLAGS) === 0)) of.push(EventKind.KIND_FLOW)
  return {
    op: 'all',
    of: [
      values('protocol', (protocol) => protocol === PROTOCOL.TCP),
      onKinds(of, 'TCP flags of single packets are known in user space'),
    ],
  }
}

/** Flows without a message have the id ''. */
function lowerTraceId(wanted: readonly string[]): Term {
  const l7 = onKinds([EventKind.KIND_DNS, EventKind.KIND_HTTP], 'trace ids are read in user space')
  if (!wanted.includes('')) return l7
  return { op: 'any', of: [kinds((kind) => eventTypeOf(kind) !== 129), l7] }
}

/** The one dimension that a term is about; undefined when there are several, none, or something unknown. */
export function dimensionOf(term: Term): Dimension | undefined {
  switch (term.op) {
    case 'unknown':
      return undefined
    case 'values':
    case 'field':
      return term.dimension
    default: {
      const [first, ...rest] = term.of.map(dimensionOf)
      return rest.every((one) => one === first) ? first : undefined
    }
  }
}

/** Kinds of events that may match: true where nothing speaks against it. */
export function kindsOf(term: Term): boolean[] {
  switch (term.op) {
    case 'values':
      return term.dimension === 'kind' ? [...term.accepts] : Array.from(KINDS, () => true)
    case 'field':
    case 'unknown':
      return Array.from(KINDS, () => true)
    default: {
      const of = term.of.map(kindsOf)
      return Array.from(KINDS, (_, kind) =>
        term.op === 'all' ? of.every((one) => one[kind]) : of.some((one) => one[kind]),
      )
    }
  }
}
