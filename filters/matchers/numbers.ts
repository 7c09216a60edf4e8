import type { FlowView } from '../../model/flow-view.ts'
import { Verdict } from '../../model/layouts.gen.ts'
import { PROTOCOL } from '../../model/protocol-names.ts'
import type { EventTypeEntry, FlowPredicate, InterfaceEntry, ProtocolName, Side } from '../predicate.ts'

/** Is the number in the list? One and two values are compared, more become a bitmap or a set. */
export function numberTest(values: readonly number[], of: (view: FlowView) => number): FlowPredicate {
  const distinct = [...new Set(values)]
  const [a, b] = distinct
  if (a === undefined) return () => false
  if (b === undefined) return (view) => of(view) === a
  if (distinct.length === 2) {
    return (view) => {
      const value = of(view)
      return value === a || value === b
    }
  }
  const set = new Set(distinct)
  return (view) => set.has(of(view))
}

export function verdictTest(values: readonly number[]): FlowPredicate {
  return numberTest(values, (view) => view.verdict)
}

export function dropReasonTest(values: readonly number[]): FlowPredicate {
  const isWanted = numberTest(values, (view) => view.dropReason)
  return (view) => view.verdict === Verdict.DROPPED && isWanted(view)
}

export function trafficDirectionTest(values: readonly number[]): FlowPredicate {
  return numberTest(values, (view) => view.trafficDirection)
}

export function ipVersionTest(versions: readonly number[]): FlowPredicate {
  return numberTest(versions, (view) => view.ipVersion)
}

export function replyTest(values: readonly boolean[]): FlowPredicate {
  const wantsReply = values.includes(true)
  const wantsOther = values.includes(false)
  return (view) => {
    const isReply = view.isReply
    if (isReply === undefined) return wantsOther && view.verdict === Verdict.DROPPED
    return isReply ? wantsReply : wantsOther
  }
}

/** A record without IP header is not encrypted. */
export function encryptedTest(values: readonly boolean[]): FlowPredicate {
  const wantsTrue = values.includes(true)
  const wantsFalse = values.includes(false)
  return (view) => (view.isEncrypted && view.ipVersion !== 0 ? wantsTrue : wantsFalse)
}

export function eventTypeTest(entries: readonly EventTypeEntry[]): FlowPredicate {
  const hasSubType = entries.some((entry) => entry.subType !== undefined)
  if (!hasSubType) {
    if (entries.some((entry) => entry.type === 0)) return () => true
    return numberTest(
      entries.map((entry) => entry.type),
      (view) => view.eventType,
    )
  }
  return (view) => {
    const type = view.eventType
    for (const entry of entries) {
      if (entry.type !== 0 && entry.type !== type) continue
      if (entry.subType === undefined || entry.subType === view.eventSubType) return true
    }
    return false
  }
}

/** Protocols with ports. */
function hasPorts(protocol: number): boolean {
  return protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP || protocol === PROTOCOL.SCTP
}

export function portTest(side: Side, ports: readonly number[]): FlowPredicate {
  const isWanted =
    side === 'source' ? numberTest(ports, (view) => view.srcPort) : numberTest(ports, (view) => view.dstPort)
  return (view) => isWanted(view) && hasPorts(view.protocol)
}

/** IPPROTO_* numbers of a name; names of layer 7 have none. */
export const L4_NUMBERS: Readonly<Partial<Record<ProtocolName, readonly number[]>>> = {
  icmp: [PROTOCOL.ICMP, PROTOCOL.ICMPV6],
  icmpv4: [PROTOCOL.ICMP],
  icmpv6: [PROTOCOL.ICMPV6],
  tcp: [PROTOCOL.TCP],
  udp: [PROTOCOL.UDP],
  sctp: [PROTOCOL.SCTP],
  vrrp: [PROTOCOL.VRRP],
  igmp: [PROTOCOL.IGMP],
}

export function protocolTest(names: readonly ProtocolName[]): FlowPredicate {
  const isL4 = numberTest(
    names.flatMap((name) => L4_NUMBERS[name] ?? []),
    (view) => view.protocol,
  )
  const wantsDns = names.includes('dns')
  const wantsHttp = names.includes('http')
  if (!wantsDns && !wantsHttp) return isL4
  return (view) => {
    if (isL4(view)) return true
    const l7 = view.l7
    return l7 !== undefined && ((wantsDns && l7.dns !== undefined) || (wantsHttp && l7.http !== undefined))
  }
}

/** L7 records have no flags: they are not of one packet. */
export function tcpFlagsTest(masks: readonly number[]): FlowPredicate {
  return (view) => {
    if (view.protocol !== PROTOCOL.TCP || view.isL7) return false
    const flags = view.tcpFlags
    for (const mask of masks) if ((flags & mask) === mask) return true
    return false
  }
}

export function interfaceTest(entries: readonly InterfaceEntry[]): FlowPredicate {
  return (view) => {
    if (view.ifindex === 0) return false
    for (const entry of entries) {
      if (entry.index !== 0 && entry.index !== view.ifindex) continue
      if (entry.name === '' || entry.name === view.context.interfaceName(view.ifindex)) return true
    }
    return false
  }
}
