import { fileURLToPath } from 'node:url'
import { RingReader } from '../../collector/kernel/ring.ts'
import { EVENT_VERSION, FLOW_EVENT } from '../../model/layouts.gen.ts'

export const BPF_OBJECT = fileURLToPath(new URL('../../bpf/build/sluice.bpf.o', import.meta.url))

/** One record of the kernel, as an object: for tests, where cost does not matter. Addresses are text, MACs hex. */
export interface KernelRecord {
  readonly timeNs: bigint
  readonly size: number
  readonly type: number
  readonly vlan: number
  readonly src: string
  readonly dst: string
  readonly srcPort: number
  readonly dstPort: number
  readonly protocol: number
  readonly ipVersion: number
  readonly l4Info: number
  readonly ifindex: number
  readonly verdict: number
  readonly point: number
  readonly cause: number
  readonly state: number
  readonly packets: number
  readonly replyPackets: number
  readonly bytes: number
  readonly replyBytes: number
  readonly dropLocation: number
  readonly dropReason: number
  readonly traceReason: number
  readonly rttUs: number
  readonly srttUs: number
  readonly retransmits: number
  readonly drops: number
  /** With the bits of ConsumerFlag. */
  readonly consumers: number
  readonly srcIdentity: number
  readonly dstIdentity: number
  readonly srcMac: string
  readonly dstMac: string
  readonly payload: Buffer
}

/** Decodes the record at an offset. @throws Error when it is not of this version */
export function decodeRecord(u8: Uint8Array, at: number): KernelRecord {
  const b = Buffer.from(u8.buffer, u8.byteOffset + at, FLOW_EVENT.SIZE)
  const version = b.readUInt8(FLOW_EVENT.version)
  if (version !== EVENT_VERSION) throw new Error(`A record has version ${version}, not ${EVENT_VERSION}`)
  const payloadLen = b.readUInt16LE(FLOW_EVENT.payloadLen)
  const payloadAt = u8.byteOffset + at + FLOW_EVENT.SIZE
  return {
    timeNs: b.readBigUInt64LE(FLOW_EVENT.timeNs),
    size: b.readUInt16LE(FLOW_EVENT.size),
    type: b.readUInt8(FLOW_EVENT.type),
    vlan: b.readUInt16LE(FLOW_EVENT.vlan),
    src: ipText(b.subarray(FLOW_EVENT.srcIp, FLOW_EVENT.srcIp + 16)),
    dst: ipText(b.subarray(FLOW_EVENT.dstIp, FLOW_EVENT.dstIp + 16)),
    srcPort: b.readUInt16LE(FLOW_EVENT.srcPort),
    dstPort: b.readUInt16LE(FLOW_EVENT.dstPort),
    protocol: b.readUInt8(FLOW_EVENT.protocol),
    ipVersion: b.readUInt8(FLOW_EVENT.ipVersion),
    l4Info: b.readUInt16LE(FLOW_EVENT.l4Info),
    ifindex: b.readUInt32LE(FLOW_EVENT.ifindex),
    verdict: b.readUInt8(FLOW_EVENT.verdict),
    point: b.readUInt8(FLOW_EVENT.point),
    cause: b.readUInt8(FLOW_EVENT.cause),
    state: b.readUInt8(FLOW_EVENT.state),
    packets: b.readUInt32LE(FLOW_EVENT.packets),
    replyPackets: b.readUInt32LE(FLOW_EVENT.replyPackets),
    bytes: b.readUInt32LE(FLOW_EVENT.bytes),
    replyBytes: b.readUInt32LE(FLOW_EVENT.replyBytes),
    dropLocation: b.readUInt32LE(FLOW_EVENT.dropLocation),
    dropReason: b.readUInt16LE(FLOW_EVENT.dropReason),
    traceReason: b.readUInt8(FLOW_EVENT.traceReason),
    rttUs: b.readUInt32LE(FLOW_EVENT.rttUs),
    srttUs: b.readUInt32LE(FLOW_EVENT.srttUs),
    retransmits: b.readUInt16LE(FLOW_EVENT.retransmits),
    drops: b.readUInt16LE(FLOW_EVENT.drops),
    consumers: b.readUInt32LE(FLOW_EVENT.consumers),
    srcIdentity: b.readUInt32LE(FLOW_EVENT.srcIdentity),
    dstIdentity: b.readUInt32LE(FLOW_EVENT.dstIdentity),
    srcMac: b.toString('hex', FLOW_EVENT.srcMac, FLOW_EVENT.srcMac + 6),
    dstMac: b.toString('hex', FLOW_EVENT.dstMac, FLOW_EVENT.dstMac + 6),
    payload: Buffer.from(Buffer.from(u8.buffer, payloadAt, payloadLen)),
  }
}

/** Everything that is ready in the ring, given back to the kernel. */
export function drain(ring: RingReader): KernelRecord[] {
  const records: KernelRecord[] = []
  for (let at = ring.next(); at >= 0; at = ring.next()) records.push(decodeRecord(ring.u8, at))
  ring.release(ring.position)
  return records
}

/** Plain text of 16 bytes: dotted for IPv4, eight unpadded hex words for IPv6 (`fd00:1:0:0:0:0:0:1`). */
export function ipText(bytes: Uint8Array): string {
  const b = Buffer.from(bytes)
  if (b.readBigUInt64BE(0) === 0n && b.readUInt32BE(8) === 0xffff) return b.subarray(12).join('.')
  return Array.from({ length: 8 }, (_, i) => b.readUInt16BE(i * 2).toString(16)).join(':')
}

export { RingReader }
