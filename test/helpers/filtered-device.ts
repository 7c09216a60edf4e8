import { afterAll, beforeAll, beforeEach, expect } from 'vitest'
import { FilterMaps } from '../../collector/kernel/index.ts'
import { ConsumerFlag, EndpointKind } from '../../model/layouts.gen.ts'
import { ipBytes, subjectBytes, type TableSet, writeTables } from './filter-tables.ts'
import { KernelPrograms } from './kernel-programs.ts'
import type { KernelRecord } from './kernel-records.ts'
import { ethernet, ipv4, ipv6, packet, TcpFlag, tcp } from './packets.ts'

const PROGRAMS = ['pod_egress', 'pod_ingress', 'uplink_ingress', 'uplink_egress', 'flow_sweep']
/** Test runs come by the loopback device. */
export const DEVICE = 1
/** Addresses of both. */
export const POD = '10.1.0.1'
export const PEER = '10.1.0.2'
export const POD6 = 'fd00::1'
export const PEER6 = 'fd00::2'
/** Bits of flow_event.consumers that are no consumer’s. */
export const FLAGS = ((1 << ConsumerFlag.UNDECIDED) | (1 << ConsumerFlag.SET)) >>> 0
/** Of the pod itself, and of its peer. */
export const OWN = 4
export const OTHER = 5

/** A packet at one of the programs. */
export interface Seen {
  readonly program: string
  readonly packet: Buffer
}

/** A pod's device with filters; every packet is an event. */
export class FilteredDevice extends KernelPrograms {
  readonly filters: FilterMaps

  constructor(constants: Record<string, number> = {}, names: readonly string[] = ['pod_egress']) {
    super({ programs: names, constants: { per_packet: 1, ...constants } })
    this.filters = new FilterMaps(this)
  }

  /** Two known ends, and nothing else that a test before may have left. */
  async reset(): Promise<void> {
    await this.filters.deleteStaleAddresses(() => false)
    await this.filters.setNetworks([])
    this.watch(DEVICE, 1, EndpointKind.POD)
    this.filters.setDevice(DEVICE, { identity: 1004, classes: [OWN, OWN], flags: 0 })
    this.name(PEER, 1005, OTHER)
    this.name(PEER6, 1005, OTHER)
  }

  /** The set in force. */
  get set(): 0 | 1 {
    return (this.filters.generation().generation & 1) as 0 | 1
  }

  name(ip: string, identity: number, classes: number | readonly [number, number], flags = 0): void {
    this.filters.setAddresses(ipBytes(ip), subjectBytes(identity, classes, flags), 1)
  }

  /** Puts rules into force. */
  async apply(tables: TableSet): Promise<void> {
    const next = this.filters.generation().generation + 1
    await writeTables(this.filters, (next & 1) as 0 | 1, tables)
    await this.filters.flip(next, true)
  }

  /** What became of one packet: its record, without one what was counted. */
  see({ program, packet }: Seen): KernelRecord | 'filtered' {
    this.records()
    const before = this.ledger()
    this.run(program, packet)
    const [record, ...more] = this.records()
    const after = this.ledger()
    expect(more).toEqual([])
    expect(after.EVENTS_WANTED - before.EVENTS_WANTED).toBe(1)
    expect(after.EVENTS_FILTERED - before.EVENTS_FILTERED).toBe(record ? 0 : 1)
    return record ?? 'filtered'
  }
}

/** From the pod, and to it. */
export const egress = (...layers: Parameters<typeof packet>): Seen => ({
  program: 'pod_egress',
  packet: packet(ethernet(), ...layers),
})
export const ingress = (...layers: Parameters<typeof packet>): Seen => ({
  ...egress(...layers),
  program: 'pod_ingress',
})
/** Layers between the pod and its peer, and a segment without any flag of note. */
export const from4 = ipv4({ src: POD, dst: PEER })
export const to4 = ipv4({ src: PEER, dst: POD })
export const from6 = ipv6({ src: POD6, dst: PEER6 })
export const web = tcp({ srcPort: 40000, dstPort: 80, flags: TcpFlag.ACK })
export const webReply = tcp({ srcPort: 80, dstPort: 40000, flags: TcpFlag.ACK })
export const plain = egress(from4, web)

/** Loading takes the verifier a second: once for all. */
export function sharedDevice(): () => FilteredDevice {
  let k: FilteredDevice
  beforeAll(() => {
    k = new FilteredDevice({}, PROGRAMS)
  })
  beforeEach(() => k.reset())
  afterAll(() => k[Symbol.dispose]())
  return () => k
}
