import type { FlowView } from '../../../model/flow-view.ts'
import { EventType, Verdict } from '../../../model/layouts.gen.ts'
import { IP_VERSION_NAMES, OBSERVATION_POINT_NAMES, VERDICT_NAMES } from '../../../model/names.ts'
import { l4ProtocolName, PROTOCOL } from '../../../model/protocol-names.ts'

/** Protocols with a member in flow.proto's Layer4; a flow's word is the place here, from 1. */
const L4_PROTOCOLS = [
  PROTOCOL.TCP,
  PROTOCOL.UDP,
  PROTOCOL.ICMP,
  PROTOCOL.ICMPV6,
  PROTOCOL.SCTP,
  PROTOCOL.VRRP,
  PROTOCOL.IGMP,
] as const

/** Hubble's protocol names; a flow's word is an index into them. */
const PROTOCOL_NAMES = ['Unknown L4', ...L4_PROTOCOLS.map(l4ProtocolName), 'DNS', 'HTTP', 'Unknown L7']

export const L4 = { UNKNOWN: 0, TCP: 1, UDP: 2, ICMPV4: 3, ICMPV6: 4, SCTP: 5, VRRP: 6, IGMP: 7 } as const
const DNS = 8
const HTTP = 9
const UNKNOWN_L7 = 10

const L4_OF_PROTOCOL = new Uint8Array(256)
for (const [i, protocol] of L4_PROTOCOLS.entries()) L4_OF_PROTOCOL[protocol] = i + 1

/** Index into PROTOCOL_NAMES of the flow's L4 protocol, 0 where Hubble's flow has none. */
export function l4Protocol(view: FlowView): number {
  return L4_OF_PROTOCOL[view.protocol]!
}

/** Index into PROTOCOL_NAMES: L7 events by what they carry, others by L4 protocol. */
export function flowProtocol(view: FlowView): number {
  const type = view.type
  if (type < EventType.DNS) return L4_OF_PROTOCOL[view.protocol]!
  return type === EventType.DNS ? DNS : type === EventType.HTTP ? HTTP : UNKNOWN_L7
}

export function protocolName(word: number): string {
  return PROTOCOL_NAMES[word] ?? 'Unknown L4'
}

export function verdictName(word: number): string {
  return VERDICT_NAMES[word] ?? String(word)
}

/** Hubble's monitor spells observation points its own way: `to-stack`. */
export const POINT_NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(OBSERVATION_POINT_NAMES).map(([point, name]) => [
    point,
    name === 'UNKNOWN_POINT' ? 'unknown' : name.toLowerCase().replaceAll('_', '-'),
  ]),
)

/** True for flows that were let through: the gate of the tcp, sctp and port-distribution handlers. */
export function isForwarded(view: FlowView): boolean {
  const verdict = view.verdict
  return verdict === Verdict.FORWARDED || verdict === Verdict.REDIRECTED
}

/** `family` label by IP version; word 0 is a flow without an IP header. */
export function familyName(word: number): string {
  return IP_VERSION_NAMES[word] ?? 'IP_NOT_USED'
}

/** `reporter` label by traffic direction. */
export function reporterName(word: number): string {
  return word === 2 ? 'client' : word === 1 ? 'server' : 'unknown'
}
