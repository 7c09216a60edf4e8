import { Listeners } from '../../base/lifetime.ts'
import type { FlowStore, LostRecords } from '../../model/contracts.ts'
import type { Endpoint, Service } from '../../model/endpoint.ts'
import { type FlowContext, FlowView, type KernelDropReason, SlotArrays } from '../../model/flow-view.ts'
import type { L7Record } from '../../model/l7.ts'
import {
  EVENT_VERSION,
  EventCause,
  EventType,
  FLOW_EVENT,
  FLOW_SLOT,
  FLOW_STAMP,
  FlowState,
  ObservationPoint,
  Verdict,
} from '../../model/layouts.gen.ts'

/** Fields of a flow for tests; what is left out gets a plain TCP SYN from 10.0.0.1:40000 to 10.0.0.2:80. */
export interface FlowSpec {
  type?: number
  cause?: number
  srcIp?: string
  dstIp?: string
  srcPort?: number
  dstPort?: number
  protocol?: number
  ipVersion?: number
  l4Info?: number
  ifindex?: number
  verdict?: number
  point?: number
  isReply?: boolean | undefined
  direction?: 'ingress' | 'egress' | 'unknown'
  packets?: number
  replyPackets?: number
  bytes?: number
  replyBytes?: number
  dropReason?: number
  hubbleReason?: number
  dropLocation?: number
  rttUs?: number
  srttUs?: number
  retransmits?: number
  drops?: number
  consumers?: number
  vlan?: number
  cpu?: number
  srcMac?: string
  dstMac?: string
  traceReason?: number
  encrypted?: boolean
  /** Nanoseconds since 1970. */
  time?: bigint
  source?: Partial<Endpoint>
  destination?: Partial<Endpoint>
  sourceNames?: string[]
  destinationNames?: string[]
  sourceService?: Service
  destinationService?: Service
  l7?: L7Record
}

/** A FlowStore whose flows tests write field by field. Not bounded by bytes, does not wrap. */
export class TestFlowStore implements FlowStore {
  readonly capacity: number
  first = 0
  end = 0
  readonly endpoints: Endpoint[] = [endpoint({ ref: 0, identity: 0 })]
  readonly #arrays: SlotArrays
  readonly #view: DataView
  readonly #names: string[][] = [[]]
  readonly #services: (Service | undefined)[] = [undefined]
  readonly #l7: (L7Record | undefined)[] = [undefined]
  readonly #append = new Listeners<void>()
  readonly #lost = new Listeners<LostRecords>()
  #time = 1_790_000_000_000_000_000n
  readonly dropReasons = new Map<number, KernelDropReason>([[3, { name: 'NO_SOCKET', hubble: 0 }]])
  readonly context: FlowContext

  constructor(capacity = 1024, options: { nodeName?: string; nodeLabels?: string[] } = {}) {
    this.capacity = capacity
    this.#arrays = new SlotArrays(new ArrayBuffer(capacity * FLOW_SLOT.SIZE))
    this.#view = new DataView(this.#arrays.u8.buffer)
    this.context = {
      nodeName: options.nodeName ?? 'node-1',
      nodeLabels: options.nodeLabels ?? [],
      uuidSeed: new Uint32Array([1, 2, 3, 4]),
      endpoint: (ref) => this.endpoints[ref] ?? this.endpoints[0]!,
      names: (ref) => this.#names[ref] ?? [],
      service: (ref) => this.#services[ref],
      l7: (ref) => this.#l7[ref],
      kernelDropReason: (reason) => this.dropReasons.get(reason) ?? { name: String(reason), hubble: 0 },
      dropLocation: (location) => (location === 0 ? '' : `kernel_function+0x${location.toString(16)}`),
      interfaceName: (ifindex) => (ifindex === 0 ? '' : `veth${ifindex}`),
    }
  }

  createView(): FlowView {
    return new FlowView(this.#arrays, this.context)
  }

  seek(view: FlowView, sequence: number): void {
    view.move(sequence % this.capacity, sequence)
  }

  lowerBound(secs: number, nanos: number): number {
    const view = this.createView()
    for (let sequence = this.first; sequence < this.end; sequence++) {
      this.seek(view, sequence)
      if (view.timeSecs > secs || (view.timeSecs === secs && view.timeNanos >= nanos)) return sequence
    }
    return this.end
  }

  onAppend(listener: () => void): Disposable {
    return this.#append.add(listener)
  }

  onLost(listener: (lost: LostRecords) => void): Disposable {
    return this.#lost.add(listener)
  }

  loseRecords(lost: LostRecords): void {
    this.#lost.emit(lost)
  }

  /** Makes an endpoint version known. @returns it, with its ref */
  addEndpoint(fields: Partial<Endpoint>): Endpoint {
    const made = endpoint({ ...fields, ref: this.endpoints.length })
    this.endpoints.push(made)
    return made
  }

  /** Adds flows and tells listeners once. @returns sequence of the first */
  push(...specs: FlowSpec[]): number {
    const first = this.end
    for (const spec of specs) this.#write(spec)
    if (this.end - this.first > this.capacity) this.first = this.end - this.capacity
    this.#append.emit()
    return first
  }

  #write(spec: FlowSpec): void {
    const at = (this.end % this.capacity) * FLOW_SLOT.SIZE
    const { u8 } = this.#arrays
    const v = this.#view
    u8.fill(0, at, at + FLOW_SLOT.SIZE)
    const u16 = (offset: number, value: number) => v.setUint16(at + offset, value, true)
    const u32 = (offset: number, value: number) => v.setUint32(at + offset, value, true)
    const stamp = FLOW_SLOT.stamp
    const l7 = spec.l7
    u8[at + FLOW_EVENT.type] =
      spec.type ??
      (l7?.dns
        ? EventType.DNS
        : l7?.http
          ? EventType.HTTP
          : spec.verdict === Verdict.DROPPED
            ? EventType.DROP
            : EventType.FLOW)
    u8[at + FLOW_EVENT.version] = EVENT_VERSION
    u8[at + FLOW_EVENT.cause] = spec.cause ?? EventCause.NEW
    u16(FLOW_EVENT.size, FLOW_EVENT.SIZE)
    u16(FLOW_EVENT.cpu, spec.cpu ?? 0)
    u16(FLOW_EVENT.vlan, spec.vlan ?? 0)
    const srcIp = spec.srcIp ?? '10.0.0.1'
    u8.set(ipBytes(srcIp), at + FLOW_EVENT.srcIp)
    u8.set(ipBytes(spec.dstIp ?? '10.0.0.2'), at + FLOW_EVENT.dstIp)
    u16(FLOW_EVENT.srcPort, spec.srcPort ?? 40000)
    u16(FLOW_EVENT.dstPort, spec.dstPort ?? 80)
    u8[at + FLOW_EVENT.protocol] = spec.protocol ?? 6
    u8[at + FLOW_EVENT.ipVersion] = spec.ipVersion ?? (srcIp.includes(':') ? 6 : 4)
    u16(FLOW_EVENT.l4Info, spec.l4Info ?? ((spec.protocol ?? 6) === 6 && !l7 ? 2 : 0))
    u32(FLOW_EVENT.ifindex, spec.ifindex ?? 7)
    u8[at + FLOW_EVENT.verdict] = spec.verdict ?? Verdict.FORWARDED
    u8[at + FLOW_EVENT.point] = spec.point ?? ObservationPoint.TO_STACK
    const isReply = 'isReply' in spec ? spec.isReply : false
    const direction = spec.direction ?? 'egress'
    u8[at + FLOW_EVENT.state] =
      (isReply === undefined ? 0 : FlowState.REPLY_KNOWN) |
      (isReply ? FlowState.REPLY : 0) |
      (direction === 'egress' ? FlowState.EGRESS : direction === 'ingress' ? FlowState.INGRESS : 0) |
      (spec.encrypted ? FlowState.ENCRYPTED : 0)
    u32(FLOW_EVENT.packets, spec.packets ?? 1)
    u32(FLOW_EVENT.replyPackets, spec.replyPackets ?? 0)
    u32(FLOW_EVENT.bytes, spec.bytes ?? 74)
    u32(FLOW_EVENT.replyBytes, spec.replyBytes ?? 0)
    u32(FLOW_EVENT.dropLocation, spec.dropLocation ?? 0)
    u16(FLOW_EVENT.dropReason, spec.dropReason ?? 0)
    u8[at + FLOW_EVENT.hubbleReason] = spec.hubbleReason ?? 0
    u8[at + FLOW_EVENT.traceReason] = spec.traceReason ?? 0
    u32(FLOW_EVENT.rttUs, spec.rttUs ?? 0)
    u32(FLOW_EVENT.srttUs, spec.srttUs ?? 0)
    u16(FLOW_EVENT.retransmits, spec.retransmits ?? 0)
    u16(FLOW_EVENT.drops, spec.drops ?? 0)
    u32(FLOW_EVENT.consumers, spec.consumers ?? 0xffff_ffff)
    u8.set(macBytes(spec.srcMac ?? '02:00:00:00:00:01'), at + FLOW_EVENT.srcMac)
    u8.set(macBytes(spec.dstMac ?? '02:00:00:00:00:02'), at + FLOW_EVENT.dstMac)
    this.#time += 1000n
    v.setBigUint64(at + FLOW_EVENT.timeNs, spec.time ?? this.#time, true)
    v.setBigUint64(at + stamp + FLOW_STAMP.unixNs, spec.time ?? this.#time, true)
    u32(stamp + FLOW_STAMP.srcEndpoint, spec.source ? this.#endpointRef(spec.source) : 0)
    u32(stamp + FLOW_STAMP.dstEndpoint, spec.destination ? this.#endpointRef(spec.destination) : 0)
    if (spec.sourceNames) u32(stamp + FLOW_STAMP.srcNames, this.#names.push(spec.sourceNames) - 1)
    if (spec.destinationNames) u32(stamp + FLOW_STAMP.dstNames, this.#names.push(spec.destinationNames) - 1)
    if (spec.sourceService) u16(stamp + FLOW_STAMP.srcService, this.#services.push(spec.sourceService) - 1)
    if (spec.destinationService) u16(stamp + FLOW_STAMP.dstService, this.#services.push(spec.destinationService) - 1)
    if (l7) u32(stamp + FLOW_STAMP.l7, this.#l7.push(l7) - 1)
    this.end++
  }

  #endpointRef(fields: Partial<Endpoint>): number {
    return fields.ref ?? this.addEndpoint(fields).ref
  }
}

/** An endpoint with defaults for what is left out. */
export function endpoint(fields: Partial<Endpoint>): Endpoint {
  return {
    ref: 0,
    id: 0,
    identity: 2,
    namespace: '',
    podName: '',
    podUid: '',
    labels: [],
    workloads: [],
    clusterName: '',
    isLocal: false,
    ...fields,
  }
}

/** 16 bytes of an address, IPv4 as ::ffff:a.b.c.d. */
export function ipBytes(text: string): Uint8Array {
  const out = new Uint8Array(16)
  if (!text.includes(':')) {
    out[10] = 0xff
    out[11] = 0xff
    text.split('.').forEach((part, i) => {
      out[12 + i] = Number(part)
    })
    return out
  }
  const [head = '', tail] = text.split('::')
  const words = (part: string) => (part === '' ? [] : part.split(':').map((w) => Number.parseInt(w, 16)))
  const left = words(head)
  const right = tail === undefined ? [] : words(tail)
  const all = tail === undefined ? left : [...left, ...new Array(8 - left.length - right.length).fill(0), ...right]
  all.forEach((word, i) => {
    out[2 * i] = word >>> 8
    out[2 * i + 1] = word & 0xff
  })
  return out
}

function macBytes(text: string): number[] {
  return text.split(':').map((part) => Number.parseInt(part, 16))
}
