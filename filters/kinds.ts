import type { FlowView } from '../model/flow-view.ts'
import { EventKind, EventType, Verdict } from '../model/layouts.gen.ts'
import { PROTOCOL } from '../model/protocol-names.ts'

/** FIN, SYN, RST. */
export const CONNECTION_FLAGS = 0x07

/**
 * Bits of a flow's kinds: one, by the kernel's rule (bpf/enums.h, enum event_kind). A replayed message that was dropped is
 * of two.
 */
export function eventKindBits(view: FlowView): number {
  const isDropped = view.verdict === Verdict.DROPPED ? 1 << EventKind.KIND_DROP : 0
  switch (view.type) {
    case EventType.DNS:
      return isDropped | (1 << EventKind.KIND_DNS)
    case EventType.HTTP:
      return isDropped | (1 << EventKind.KIND_HTTP)
    case EventType.DROP:
      return 1 << EventKind.KIND_DROP
  }
  if (isDropped !== 0) return isDropped
  return view.protocol === PROTOCOL.TCP && (view.tcpFlags & CONNECTION_FLAGS) !== 0
    ? 1 << EventKind.KIND_TCP_FLAG
    : 1 << EventKind.KIND_FLOW
}

/** Kinds that there are records of; the rest of EventKind.EVENT_KINDS is room. */
export const KINDS = [
  EventKind.KIND_FLOW,
  EventKind.KIND_TCP_FLAG,
  EventKind.KIND_DROP,
  EventKind.KIND_DNS,
  EventKind.KIND_HTTP,
] as const

/** Bits of KINDS. */
export const KNOWN_KINDS = KINDS.reduce<number>((bits, kind) => bits | (1 << kind), 0)
