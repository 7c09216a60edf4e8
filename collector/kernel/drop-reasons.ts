import { errorText } from '../../base/errors.ts'
import type { KernelDropReason } from '../../model/flow-view.ts'
import { kernelEnum } from '../../native/index.ts'

const PREFIX = 'SKB_DROP_REASON_'
const SUBSYSTEM_PREFIX = 'SKB_DROP_REASON_SUBSYS_'
/** Records fold subsystem << 16 | reason into 16 bits: subsystem in the top four (bpf/kfree_skb.bpf.c). */
const SUBSYSTEM_SHIFT = 12
const REASON_MASK = 0xfff
/** Kernels have about 130 reasons of the core and 20 of subsystems; a number from garbage must not fill memory. */
const MAX_CACHED = 4096

/*
 * flow.proto DropReason nearest to what a kernel reason means; 0 = none is. The kernel's own name goes with each flow
 * as well, so a coarse number hides nothing.
 */
const POLICY_DENIED = 133
const INVALID_PACKET = 134
const QUEUE_FULL = 198 // Rate limited

const HUBBLE_REASONS: Readonly<Record<string, number>> = {
  NETFILTER_DROP: POLICY_DENIED,
  SECURITY_HOOK: POLICY_DENIED,
  BPF_CGROUP_EGRESS: POLICY_DENIED,
  XFRM_POLICY: POLICY_DENIED,
  SOCKET_FILTER: POLICY_DENIED,
  TC_INGRESS: POLICY_DENIED,
  TC_EGRESS: POLICY_DENIED,
  XDP: POLICY_DENIED,
  NO_SOCKET: 178, // Socket lookup failed
  IP_OUTNOROUTES: 169, // FIB lookup failed
  IP_INNOROUTES: 169,
  NEIGH_CREATEFAIL: 151, // Stale or unroutable IP
  NEIGH_FAILED: 151,
  NEIGH_DEAD: 151,
  NEIGH_HH_FILLFAIL: 151,
  IP_RPFILTER: 132, // Invalid source ip
  IP_INVALID_SOURCE: 132,
  IP_LOCAL_SOURCE: 132,
  IP_LOCALNET: 132,
  IP_INADDRERRORS: 150, // Unknown L3 target address
  IP_INVALID_DEST: 150,
  MAC_INVALID_SOURCE: 130, // Invalid source mac
  LOCAL_MAC: 130,
  OTHERHOST: 131, // Invalid destination mac
  UNICAST_IN_L2_MULTICAST: 131,
  IP_NOPROTO: 142, // Unknown L4 protocol
  INVALID_PROTO: 139, // Unsupported L3 protocol
  UNHANDLED_PROTO: 139,
  IPV6DISABLED: 139,
  IPV6_BAD_EXTHDR: 156, // Invalid IPv6 extension header
  PKT_TOO_BIG: 157, // IP fragmentation not supported
  FRAG_REASM_TIMEOUT: 175, // First logical datagram fragment not found
  TCP_MINTTL: 196, // TTL exceeded
  IPV6_NDISC_HOP_LIMIT: 196,
  IPV6_NDISC_BAD_CODE: 145, // Unknown ICMPv6 code
  IPV6_NDISC_FRAG: 176, // Forbidden ICMPv6 message
  IPV6_NDISC_BAD_OPTIONS: 176,
  IPV6_NDISC_NS_OTHERHOST: 176,
  VXLAN_VNI_NOT_FOUND: 183, // Incorrect VNI from VTEP
  TUNNEL_TXINFO: 147, // Error retrieving tunnel key
  FQ_HORIZON_LIMIT: 162, // Reached EDT rate-limiting drop horizon
  QDISC_DROP: QUEUE_FULL,
  QDISC_OVERLIMIT: QUEUE_FULL,
  QDISC_CONGESTED: QUEUE_FULL,
  CAKE_FLOOD: QUEUE_FULL,
  FQ_BAND_LIMIT: QUEUE_FULL,
  FQ_FLOW_LIMIT: QUEUE_FULL,
  DUALPI2_STEP_DROP: QUEUE_FULL,
  CPU_BACKLOG: QUEUE_FULL,
  NEIGH_QUEUEFULL: QUEUE_FULL,
  FULL_RING: QUEUE_FULL,
}

/** Reasons that say that the packet itself is wrong: checksums, headers, sequence numbers. */
const INVALID_PACKET_REASONS: ReadonlySet<string> = new Set([
  'PKT_TOO_SMALL',
  'HDR_TRUNC',
  'DEV_HDR',
  'IP_CSUM',
  'IP_INHDR',
  'TCP_CSUM',
  'UDP_CSUM',
  'ICMP_CSUM',
  'SKB_CSUM',
  'DUP_FRAG',
  'FRAG_TOO_FAR',
  'VXLAN_INVALID_HDR',
  'IP_TUNNEL_ECN',
  'CAN_RX_INVALID_FRAME',
  'CANFD_RX_INVALID_FRAME',
  'CANXL_RX_INVALID_FRAME',
])

/** TCP reasons that are about room or the socket's state, not about the segment. */
const TCP_NOT_INVALID: ReadonlySet<string> = new Set([
  'TCP_ZEROWINDOW',
  'TCP_OFO_QUEUE_PRUNE',
  'TCP_OFO_DROP',
  'TCP_OFOMERGE',
  'TCP_LISTEN_OVERFLOW',
  'TCP_CLOSE',
  'TCP_RESET',
  'TCP_FASTOPEN',
  'TCP_ABORT_ON_DATA',
])

/** flow.proto DropReason of a kernel reason's name, without its prefix; 0 when none is near. */
export function hubbleReasonOf(name: string): number {
  if (Object.hasOwn(HUBBLE_REASONS, name)) return HUBBLE_REASONS[name]!
  if (INVALID_PACKET_REASONS.has(name)) return INVALID_PACKET
  return name.startsWith('TCP_') && !TCP_NOT_INVALID.has(name) ? INVALID_PACKET : 0
}

/*
 * Places where one kernel reason stands for several things, or none is given: the function says more than the reason.
 * 169 FIB lookup failed: no route, or one that is a blackhole, unreachable or prohibited. 196 TTL exceeded.
 */
const REASONS_AT: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  ip_error: { NOT_SPECIFIED: 169 },
  ip6_pkt_drop: { NOT_SPECIFIED: 169 },
  dst_discard: { NOT_SPECIFIED: 169 },
  dst_discard_out: { NOT_SPECIFIED: 169 },
  ip_forward: { NOT_SPECIFIED: 196, IP_INHDR: 196 },
  ip6_forward: { NOT_SPECIFIED: 196, IP_INHDR: 196 },
}

/**
 * flow.proto DropReason of a reason at a place, where the place says more than the reason; else 0.
 * @param place function and offset, `ip_error+0x94`
 */
export function hubbleReasonAt(name: string, place: string): number {
  const plus = place.indexOf('+')
  return REASONS_AT[plus < 0 ? place : place.slice(0, plus)]?.[name] ?? 0
}

/** What kernelEnum() gives; a parameter for tests. */
export type EnumReader = (name: string) => ReadonlyMap<string, number> | undefined

/**
 * The running kernel's drop reasons: numbers change from version to version, so names are read from its BTF, once, when
 * this is made (20 ms). Answers are interned: the same object for the same number.
 */
export class KernelDropReasons {
  readonly #cache = new Map<number, KernelDropReason>()
  readonly #names: ReadonlyMap<number, string> = new Map()
  readonly #subsystems: ReadonlyMap<number, string> = new Map()
  readonly #failure: string | undefined

  constructor(read: EnumReader = kernelEnum) {
    try {
      this.#names = byNumber(read('skb_drop_reason'), PREFIX)
      this.#subsystems = byNumber(read('skb_drop_reason_subsys'), SUBSYSTEM_PREFIX)
    } catch (error) {
      this.#failure = errorText(error)
    }
  }

  /** Why there are no names, undefined when there are. */
  get failure(): string | undefined {
    return this.#failure
  }

  /** @param reason as flow_event.drop_reason */
  reason(reason: number): KernelDropReason {
    const cached = this.#cache.get(reason)
    if (cached) return cached
    const name = this.#name(reason)
    const made: KernelDropReason = Object.freeze({ name, hubble: hubbleReasonOf(name) })
    if (this.#cache.size < MAX_CACHED) this.#cache.set(reason, made)
    return made
  }

  #name(reason: number): string {
    const subsystem = reason >> SUBSYSTEM_SHIFT
    const number = reason & REASON_MASK
    if (subsystem === 0) return this.#names.get(number) ?? String(number)
    const owner = this.#subsystems.get(subsystem)
    return owner === undefined ? String(reason) : `${owner}_${number}`
  }
}

function byNumber(members: ReadonlyMap<string, number> | undefined, prefix: string): Map<number, string> {
  const names = new Map<number, string>()
  for (const [name, number] of members ?? []) {
    names.set(number, name.startsWith(prefix) ? name.slice(prefix.length) : name)
  }
  return names
}
