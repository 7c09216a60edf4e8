import type { KernelPlan } from '../../filters/kernel/index.ts'
import { MASK_BYTES, PAIR_BYTES } from '../../filters/kernel/index.ts'
import { EventKind, FILTER_RULES } from '../../model/layouts.gen.ts'
import { endpointOf } from './filter-cases.ts'
import type { OracleEnd, OracleFlow } from './filter-oracle.ts'
import { ipBytes } from './flow-store.ts'

const NUMBERS = { tcp: 6, udp: 17, sctp: 132, icmp: 1, icmpv6: 58 } as const
const DIRECTIONS = { unknown: 0, ingress: 1, egress: 2 } as const

/** The kernel's judge, read off bpf/maps.h, over the bytes of a plan. */
export class PlanKernel {
  readonly #plan: KernelPlan
  readonly #view: DataView

  constructor(plan: KernelPlan) {
    this.#plan = plan
    this.#view = new DataView(plan.bytes.buffer)
  }

  /** Rules that accept the flow, its kind aside. */
  rulesOf(flow: OracleFlow): Uint8Array {
    const { bytes } = this.#plan
    const mask = (at: number) => bytes.subarray(at, at + MASK_BYTES)
    const hasPorts = flow.protocol === 'tcp' || flow.protocol === 'udp' || flow.protocol === 'sctp'
    const masks = [
      this.#endpointMask(flow.source, 0),
      this.#endpointMask(flow.destination, 1),
      this.#prefixMask(flow.source, 0),
      this.#prefixMask(flow.destination, 1),
      mask(FILTER_RULES.protocol + NUMBERS[flow.protocol] * MASK_BYTES),
      mask(FILTER_RULES.direction + DIRECTIONS[flow.direction] * MASK_BYTES),
      mask(FILTER_RULES.ipVersion + (flow.family === 4 ? 0 : 1) * MASK_BYTES),
      ...(hasPorts
        ? [this.#portMask(flow.source, 0), this.#portMask(flow.destination, 1)]
        : [mask(FILTER_RULES.noPorts)]),
    ]
    const rules = new Uint8Array(MASK_BYTES).fill(0xff)
    for (const one of masks) for (let i = 0; i < MASK_BYTES; i++) rules[i]! &= one[i]!
    return rules
  }

  /** flow_event.consumers, without flags. */
  consumersOf(flow: OracleFlow): number {
    const rules = this.rulesOf(flow)
    const kind = EventKind[flow.kind]
    const { bytes } = this.#plan
    const u32 = (at: number) => this.#view.getUint32(at, true)
    const meets = (at: number) =>
      rules.some((byte, i) => (byte & bytes[FILTER_RULES.kind + kind * MASK_BYTES + i]! & bytes[at + i]!) !== 0)
    let consumers = 0
    for (let bit = 0; bit < 30; bit++) {
      if (((u32(FILTER_RULES.consumers) & u32(FILTER_RULES.byKind + 4 * kind)) >>> bit) % 2 === 0) continue
      const included =
        (u32(FILTER_RULES.everything) >>> bit) % 2 === 1 || meets(FILTER_RULES.include + bit * MASK_BYTES)
      if (included && !meets(FILTER_RULES.exclude + bit * MASK_BYTES)) consumers |= 1 << bit
    }
    return consumers
  }

  #endpointMask(end: OracleEnd, side: number): Uint8Array {
    const masks = new Uint8Array(PAIR_BYTES)
    this.#plan.endpoints.keyOf({ ...endpointOf(end), ref: 0 })
    this.#plan.endpoints.writeMasks(masks)
    return masks.subarray(side * MASK_BYTES, (side + 1) * MASK_BYTES)
  }

  #prefixMask(end: OracleEnd, side: number): Uint8Array {
    const { none, prefixes, masks } = this.#plan.prefixes
    const address = ipBytes(end.ip)
    let best = -1
    prefixes.forEach(({ bytes, bits, isIpv4 }, index) => {
      if (isIpv4 === end.ip.includes(':')) return
      if (best >= 0 && prefixes[best]!.bits >= bits) return
      for (let bit = 0; bit < bits; bit++) {
        const at = 7 - (bit & 7)
        if ((address[bit >> 3]! >>> at) % 2 !== (bytes[bit >> 3]! >>> at) % 2) return
      }
      best = index
    })
    const from = best < 0 ? none : masks.subarray(best * PAIR_BYTES)
    return from.subarray(side * MASK_BYTES, (side + 1) * MASK_BYTES)
  }

  #portMask(end: OracleEnd, side: number): Uint8Array {
    const { other, ports, masks } = this.#plan.ports
    const index = ports.indexOf(end.port)
    const from = index < 0 ? other : masks.subarray(index * PAIR_BYTES)
    return from.subarray(side * MASK_BYTES, (side + 1) * MASK_BYTES)
  }
}
