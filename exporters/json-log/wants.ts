import { type FieldMask, takes } from '../../model/field-mask.ts'

/** Parts of a flow that are written anew for each line, and the paths that a mask takes them by. */
const PATHS = {
  time: ['time'],
  uuid: ['uuid'],
  ethernet: ['ethernet'],
  ethernetSource: ['ethernet', 'source'],
  ethernetDestination: ['ethernet', 'destination'],
  ip: ['IP'],
  ipSource: ['IP', 'source'],
  ipDestination: ['IP', 'destination'],
  ipVersion: ['IP', 'ipVersion'],
  ipEncrypted: ['IP', 'encrypted'],
  l4: ['l4'],
  tcp: ['l4', 'TCP'],
  tcpSource: ['l4', 'TCP', 'source_port'],
  tcpDestination: ['l4', 'TCP', 'destination_port'],
  udp: ['l4', 'UDP'],
  udpSource: ['l4', 'UDP', 'source_port'],
  udpDestination: ['l4', 'UDP', 'destination_port'],
  sctp: ['l4', 'SCTP'],
  sctpSource: ['l4', 'SCTP', 'source_port'],
  sctpDestination: ['l4', 'SCTP', 'destination_port'],
  icmp: ['l4', 'ICMPv4'],
  icmpType: ['l4', 'ICMPv4', 'type'],
  icmpCode: ['l4', 'ICMPv4', 'code'],
  icmp6: ['l4', 'ICMPv6'],
  icmp6Type: ['l4', 'ICMPv6', 'type'],
  icmp6Code: ['l4', 'ICMPv6', 'code'],
  extensions: ['extensions'],
} as const satisfies Record<string, readonly string[]>

/** Which of these parts are written: booleans, so that asking costs a load on the hot path. */
export type Wants = { readonly [name in keyof typeof PATHS]: boolean }

export function wantsOf(mask: FieldMask | undefined): Wants {
  const entries = Object.entries(PATHS).map(([name, path]) => [name, takes(mask, ...path)])
  return Object.fromEntries(entries) as Wants
}
