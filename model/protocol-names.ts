/** IANA protocol numbers that have a member in flow.proto Layer4. */
export const PROTOCOL = { ICMP: 1, IGMP: 2, TCP: 6, UDP: 17, ICMPV6: 58, VRRP: 112, SCTP: 132 } as const

const L4_NAMES: Readonly<Record<number, string>> = {
  [PROTOCOL.ICMP]: 'ICMPv4',
  [PROTOCOL.IGMP]: 'IGMP',
  [PROTOCOL.TCP]: 'TCP',
  [PROTOCOL.UDP]: 'UDP',
  [PROTOCOL.ICMPV6]: 'ICMPv6',
  [PROTOCOL.VRRP]: 'VRRP',
  [PROTOCOL.SCTP]: 'SCTP',
}

/** flow.proto Layer4 member of an IP protocol number (`TCP`, `ICMPv4`, ...); empty for protocols without one. */
export function l4ProtocolName(protocol: number): string {
  return L4_NAMES[protocol] ?? ''
}

/** TCP flag bits in the order of Hubble's summary. */
const TCP_FLAG_ORDER: readonly (readonly [number, string])[] = [
  [2, 'SYN'],
  [16, 'ACK'],
  [4, 'RST'],
  [1, 'FIN'],
  [8, 'PSH'],
  [32, 'URG'],
  [64, 'ECE'],
  [128, 'CWR'],
  [256, 'NS'],
]

/** Text of each of the 512 flag sets, made once. */
const TCP_FLAG_TEXT = Array.from({ length: 512 }, (_, flags) =>
  TCP_FLAG_ORDER.filter(([bit]) => flags & bit)
    .map(([, name]) => name)
    .join(', '),
)

/** `SYN, ACK` for the flag bits of FlowView.tcpFlags. */
export function tcpFlagsText(flags: number): string {
  return TCP_FLAG_TEXT[flags & 511]!
}

/** A name alone for types whose code is always 0, else names by code. */
type IcmpNames = Readonly<Record<number, { readonly name: string; readonly codes?: readonly string[] }>>

const ICMP_V4: IcmpNames = {
  0: { name: 'EchoReply' },
  3: {
    name: 'DestinationUnreachable',
    codes: [
      'Net',
      'Host',
      'Protocol',
      'Port',
      'FragmentationNeeded',
      'SourceRoutingFailed',
      'NetUnknown',
      'HostUnknown',
      'SourceIsolated',
      'NetAdminProhibited',
      'HostAdminProhibited',
      'NetTOS',
      'HostTOS',
      'CommAdminProhibited',
      'HostPrecedence',
      'PrecedenceCutoff',
    ],
  },
  4: { name: 'SourceQuench' },
  5: { name: 'Redirect', codes: ['Net', 'Host', 'TOS+Net', 'TOS+Host'] },
  8: { name: 'EchoRequest' },
  9: { name: 'RouterAdvertisement' },
  10: { name: 'RouterSolicitation' },
  11: { name: 'TimeExceeded', codes: ['TTLExceeded', 'FragmentReassemblyTimeExceeded'] },
  12: { name: 'ParameterProblem', codes: ['PointerIndicatesError', 'MissingOption', 'BadLength'] },
  13: { name: 'TimestampRequest' },
  14: { name: 'TimestampReply' },
  15: { name: 'InfoRequest' },
  16: { name: 'InfoReply' },
  17: { name: 'AddressMaskRequest' },
  18: { name: 'AddressMaskReply' },
}

const ICMP_V6: IcmpNames = {
  1: {
    name: 'DestinationUnreachable',
    codes: [
      'NoRouteToDst',
      'AdminProhibited',
      'BeyondScopeOfSrc',
      'AddressUnreachable',
      'PortUnreachable',
      'SrcAddressFailedPolicy',
      'RejectRouteToDst',
    ],
  },
  2: { name: 'PacketTooBig' },
  3: { name: 'TimeExceeded', codes: ['HopLimitExceeded', 'FragmentReassemblyTimeExceeded'] },
  4: {
    name: 'ParameterProblem',
    codes: ['ErroneousHeaderField', 'UnrecognizedNextHeader', 'UnrecognizedIPv6Option'],
  },
  128: { name: 'EchoRequest' },
  129: { name: 'EchoReply' },
  133: { name: 'RouterSolicitation' },
  134: { name: 'RouterAdvertisement' },
  135: { name: 'NeighborSolicitation' },
  136: { name: 'NeighborAdvertisement' },
  137: { name: 'Redirect' },
}

/** One text per type and code that was met: at most 2 x 65,536 short strings. */
const icmpCache = new Map<number, string>()

/**
 * Name of an ICMP message as Hubble writes it: `EchoRequest`, `DestinationUnreachable(Port)`, `Name(Code: 9)` for
 * codes without a name, `130(0)` for types without one.
 *
 * @param family 4 for ICMP, 6 for ICMPv6
 */
export function icmpTypeName(family: number, type: number, code: number): string {
  const key = (family === 6 ? 0x10000 : 0) | ((type & 0xff) << 8) | (code & 0xff)
  let text = icmpCache.get(key)
  if (text === undefined) {
    text = makeIcmpName((family === 6 ? ICMP_V6 : ICMP_V4)[type], type, code)
    icmpCache.set(key, text)
  }
  return text
}

function makeIcmpName(row: IcmpNames[number] | undefined, type: number, code: number): string {
  if (row === undefined) return `${type}(${code})`
  if (row.codes === undefined) return code === 0 ? row.name : `${row.name}(Code: ${code})`
  const name = row.codes[code]
  return name === undefined ? `${row.name}(Code: ${code})` : `${row.name}(${name})`
}

const DNS_RCODES: Readonly<Record<number, string>> = {
  0: 'No Error',
  1: 'Format Error',
  2: 'Server Failure',
  3: 'Non-Existent Domain',
  4: 'Not Implemented',
  5: 'Query Refused',
  6: 'Name Exists when it should not',
  7: 'RR Set Exists when it should not',
  8: 'RR Set that should exist does not',
  9: 'Not Authorized',
  10: 'Name not contained in zone',
  11: 'DSO-TYPE Not Implemented',
  16: 'Bad OPT Version',
  17: 'Key not recognized',
  18: 'Signature out of time window',
  19: 'Bad TKEY Mode',
  20: 'Duplicate key name',
  21: 'Algorithm not supported',
  22: 'Bad Truncation',
  23: 'Bad/missing Server Cookie',
}

/** The `rcode` label of hubble_dns_*; empty for codes without a name. */
export function dnsRcodeName(rcode: number): string {
  return DNS_RCODES[rcode] ?? ''
}

/** flow.proto SCTPChunkType by the chunk type on the wire. */
const SCTP_CHUNKS: Readonly<Record<number, { readonly number: number; readonly name: string }>> = {
  1: { number: 1, name: 'INIT' },
  2: { number: 2, name: 'INIT_ACK' },
  6: { number: 6, name: 'ABORT' },
  7: { number: 3, name: 'SHUTDOWN' },
  8: { number: 4, name: 'SHUTDOWN_ACK' },
  14: { number: 5, name: 'SHUTDOWN_COMPLETE' },
}

const SCTP_UNSUPPORTED = { number: 0, name: 'UNSUPPORTED' } as const

/** flow.proto SCTPChunkType for FlowView.sctpChunk; UNSUPPORTED for chunks that it has no value for. */
export function sctpChunkType(chunk: number): { readonly number: number; readonly name: string } {
  return SCTP_CHUNKS[chunk] ?? SCTP_UNSUPPORTED
}
