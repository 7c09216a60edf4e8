import type { FlowView } from '../../../model/flow-view.ts'
import { EventType, ObservationPoint, Verdict } from '../../../model/layouts.gen.ts'
import { VERDICT_NAMES } from '../../../model/names.ts'

/** Hubble's protocol names; a flow's word is an index into them. */
export const PROTOCOL_NAMES = [
  'Unknown L4',
  'TCP',
  'UDP',
  'ICMPv4',
  'ICMPv6',
  'SCTP',
  'VRRP',
  'IGMP',
  'DNS',
  'HTTP',
  'Unknown L7',
] as const

export const L4 = { UNKNOWN: 0, TCP: 1, UDP: 2, ICMPV4: 3, ICMPV6: 4, SCTP: 5, VRRP: 6, IGMP: 7 } as const
const DNS = 8
const HTTP = 9
const UNKNOWN_L7 = 10

const L4_OF_PROTOCOL = new Uint8Array(256)
L4_OF_PROTOCOL[1] = L4.ICMPV4
L4_OF_PROTOCOL[2] = L4.IGMP
L4_OF_PROTOCOL[6] = L4.TCP
L4_OF_PROTOCOL[17] = L4.UDP
L4_OF_PROTOCOL[58] = L4.ICMPV6
L4_OF_PROTOCOL[112] = L4.VRRP
L4_OF_PROTOCOL[132] = L4.SCTP

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

/** Hubble's monitor spells observation points its own way. */
export const POINT_NAMES: Readonly<Record<number, string>> = {
  [ObservationPoint.UNKNOWN]: 'unknown',
  [ObservationPoint.TO_PROXY]: 'to-proxy',
  [ObservationPoint.TO_HOST]: 'to-host',
  [ObservationPoint.TO_STACK]: 'to-stack',
  [ObservationPoint.TO_OVERLAY]: 'to-overlay',
  [ObservationPoint.FROM_ENDPOINT]: 'from-endpoint',
  [ObservationPoint.FROM_PROXY]: 'from-proxy',
  [ObservationPoint.FROM_HOST]: 'from-host',
  [ObservationPoint.FROM_STACK]: 'from-stack',
  [ObservationPoint.FROM_OVERLAY]: 'from-overlay',
  [ObservationPoint.FROM_NETWORK]: 'from-network',
  [ObservationPoint.TO_NETWORK]: 'to-network',
  [ObservationPoint.FROM_CRYPTO]: 'from-crypto',
  [ObservationPoint.TO_CRYPTO]: 'to-crypto',
  [ObservationPoint.TO_ENDPOINT]: 'to-endpoint',
}

/** True for flows that were let through: the gate of the tcp, sctp and port-distribution handlers. */
export function isForwarded(view: FlowView): boolean {
  const verdict = view.verdict
  return verdict === Verdict.FORWARDED || verdict === Verdict.REDIRECTED
}

/** `family` label by IP version; word 0 is a flow without an IP header. */
export function familyName(word: number): string {
  return word === 4 ? 'IPv4' : word === 6 ? 'IPv6' : 'IP_NOT_USED'
}

/** `reporter` label by traffic direction. */
export function reporterName(word: number): string {
  return word === 2 ? 'client' : word === 1 ? 'server' : 'unknown'
}
