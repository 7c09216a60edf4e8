import { parseIp } from '../../base/ip.ts'

/**
 * Packets of layers, outermost first: `packet(ethernet(), ipv4({ src, dst }), udp({ dstPort: 53 }), payload)`. Lengths,
 * checksums and the numbers that name the next layer are filled in; any of them can be given wrong on purpose.
 */
export interface Layer {
  /** How an Ethernet or VLAN header names this layer. */
  readonly etherType?: number
  /** How an IP header names it. */
  readonly protocol?: number
  /** Bytes of this layer's headers: where its own payload starts. */
  readonly headerBytes: number
  /** @param ends the addresses of the IP layer around it, for checksums */
  build(payload: Buffer, next: Layer | undefined, ends: Ends | undefined): Buffer
  readonly ends?: Ends
}

interface Ends {
  readonly src: Buffer
  readonly dst: Buffer
  readonly version: 4 | 6
}

export function packet(...layers: (Layer | Uint8Array)[]): Buffer {
  let body: Buffer = Buffer.alloc(0)
  for (let i = layers.length - 1; i >= 0; i--) {
    const layer = layers[i]!
    if (layer instanceof Uint8Array) {
      body = Buffer.concat([layer, body])
      continue
    }
    const next = layers[i + 1]
    const around = layers.slice(0, i).findLast((outer) => !(outer instanceof Uint8Array) && outer.ends) as Layer
    body = layer.build(body, next instanceof Uint8Array ? undefined : next, around?.ends)
  }
  return body
}

export function ethernet(options: { src?: string; dst?: string; etherType?: number } = {}): Layer {
  return {
    headerBytes: 14,
    build(payload, next) {
      const header = Buffer.alloc(14)
      mac(options.dst ?? '02:00:00:00:00:02').copy(header, 0)
      mac(options.src ?? '02:00:00:00:00:01').copy(header, 6)
      header.writeUInt16BE(options.etherType ?? next?.etherType ?? 0x88b5, 12)
      return Buffer.concat([header, payload])
    },
  }
}

/** @param tpid 0x8100 (802.1Q) or 0x88a8 (802.1ad) */
export function vlan(id: number, options: { tpid?: number; priority?: number; etherType?: number } = {}): Layer {
  return {
    etherType: options.tpid ?? 0x8100,
    headerBytes: 4,
    build(payload, next) {
      const header = Buffer.alloc(4)
      header.writeUInt16BE(((options.priority ?? 0) << 13) | id, 0)
      header.writeUInt16BE(options.etherType ?? next?.etherType ?? 0x88b5, 2)
      return Buffer.concat([header, payload])
    },
  }
}

export interface Ipv4Options {
  src?: string
  dst?: string
  protocol?: number
  version?: number
  /** Header length in words; options are filled with NOPs. */
  ihl?: number
  totalLength?: number
  id?: number
  moreFragments?: boolean
  /** Bytes, a multiple of 8. */
  fragmentOffset?: number
  ttl?: number
  checksum?: number
}

export function ipv4(options: Ipv4Options = {}): Layer {
  const src = ipBytes(options.src ?? '10.1.0.1').subarray(12)
  const dst = ipBytes(options.dst ?? '10.1.0.2').subarray(12)
  const ihl = options.ihl ?? 5
  const size = Math.max(20, ihl * 4)
  return {
    etherType: 0x0800,
    protocol: 4,
    headerBytes: size,
    ends: { src, dst, version: 4 },
    build(payload, next) {
      const header = Buffer.alloc(size, 1)
      header.writeUInt8(((options.version ?? 4) << 4) | ihl, 0)
      header.writeUInt8(0, 1)
      header.writeUInt16BE(options.totalLength ?? size + payload.length, 2)
      header.writeUInt16BE(options.id ?? 0, 4)
      header.writeUInt16BE((options.moreFragments ? 0x2000 : 0) | ((options.fragmentOffset ?? 0) >> 3), 6)
      header.writeUInt8(options.ttl ?? 64, 8)
      header.writeUInt8(options.protocol ?? next?.protocol ?? 253, 9)
      header.writeUInt16BE(0, 10)
      src.copy(header, 12)
      dst.copy(header, 16)
      header.writeUInt16BE(options.checksum ?? internetChecksum(header), 10)
      return Buffer.concat([header, payload])
    },
  }
}

export interface Ipv6Options {
  src?: string
  dst?: string
  nextHeader?: number
  version?: number
  payloadLength?: number
  hopLimit?: number
}

export function ipv6(options: Ipv6Options = {}): Layer {
  const src = ipBytes(options.src ?? 'fd00:1::1')
  const dst = ipBytes(options.dst ?? 'fd00:1::2')
  return {
    etherType: 0x86dd,
    protocol: 41,
    headerBytes: 40,
    ends: { src, dst, version: 6 },
    build(payload, next) {
      const header = Buffer.alloc(40)
      header.writeUInt32BE((((options.version ?? 6) << 28) | 0x12345) >>> 0, 0)
      header.writeUInt16BE(options.payloadLength ?? payload.length, 4)
      header.writeUInt8(options.nextHeader ?? next?.protocol ?? 59, 6)
      header.writeUInt8(options.hopLimit ?? 64, 7)
      src.copy(header, 8)
      dst.copy(header, 24)
      return Buffer.concat([header, payload])
    },
  }
}

/** IPv6 extension headers by the number that names them. */
export const Extension = { HOP: 0, ROUTING: 43, FRAGMENT: 44, AUTH: 51, DESTINATION: 60, MOBILITY: 135 } as const

/** Any extension header but the fragment header. @param bytes its whole length: a multiple of 8, for AUTH of 4 */
export function extension(kind: number, bytes = 8, nextHeader?: number): Layer {
  return {
    protocol: kind,
    headerBytes: bytes,
    build(payload, next) {
      const header = Buffer.alloc(bytes)
      header.writeUInt8(nextHeader ?? next?.protocol ?? 59, 0)
      header.writeUInt8(kind === Extension.AUTH ? bytes / 4 - 2 : bytes / 8 - 1, 1)
      return Buffer.concat([header, payload])
    },
  }
}

/** @param options.offset bytes, a multiple of 8 */
export function ipv6Fragment(options: { id: number; offset?: number; more?: boolean; nextHeader?: number }): Layer {
  return {
    protocol: Extension.FRAGMENT,
    headerBytes: 8,
    build(payload, next) {
      const header = Buffer.alloc(8)
      header.writeUInt8(options.nextHeader ?? next?.protocol ?? 59, 0)
      header.writeUInt16BE((options.offset ?? 0) | (options.more ? 1 : 0), 2)
      header.writeUInt32BE(options.id, 4)
      return Buffer.concat([header, payload])
    },
  }
}

export const TcpFlag = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32, ECE: 64, CWR: 128, NS: 256 } as const

export interface TcpOptions {
  srcPort?: number
  dstPort?: number
  /** TcpFlag bits. */
  flags?: number
  seq?: number
  ack?: number
  /** Header length in words. */
  dataOffset?: number
  checksum?: number
}

export function tcp(options: TcpOptions = {}): Layer {
  const size = Math.max(20, (options.dataOffset ?? 5) * 4)
  return {
    protocol: 6,
    headerBytes: size,
    build(payload, _next, ends) {
      const header = Buffer.alloc(size)
      const flags = options.flags ?? TcpFlag.SYN
      header.writeUInt16BE(options.srcPort ?? 40000, 0)
      header.writeUInt16BE(options.dstPort ?? 80, 2)
      header.writeUInt32BE(options.seq ?? 1, 4)
      header.writeUInt32BE(options.ack ?? 0, 8)
      header.writeUInt8(((options.dataOffset ?? 5) << 4) | (flags >> 8), 12)
      header.writeUInt8(flags & 0xff, 13)
      header.writeUInt16BE(64240, 14)
      const segment = Buffer.concat([header, payload])
      segment.writeUInt16BE(options.checksum ?? transportChecksum(segment, 6, ends), 16)
      return segment
    },
  }
}

export interface UdpOptions {
  srcPort?: number
  dstPort?: number
  length?: number
  checksum?: number
}

export function udp(options: UdpOptions = {}): Layer {
  return {
    protocol: 17,
    headerBytes: 8,
    build(payload, _next, ends) {
      const header = Buffer.alloc(8)
      header.writeUInt16BE(options.srcPort ?? 40000, 0)
      header.writeUInt16BE(options.dstPort ?? 9000, 2)
      header.writeUInt16BE(options.length ?? 8 + payload.length, 4)
      const datagram = Buffer.concat([header, payload])
      datagram.writeUInt16BE(options.checksum ?? (transportChecksum(datagram, 17, ends) || 0xffff), 6)
      return datagram
    },
  }
}

export interface IcmpOptions {
  type: number
  code?: number
  id?: number
  sequence?: number
}

/** ICMP for IPv4. */
export function icmp(options: IcmpOptions): Layer {
  return icmpLayer(1, options, (message) => internetChecksum(message))
}

/** ICMPv6. */
export function icmpv6(options: IcmpOptions): Layer {
  return icmpLayer(58, options, (message, ends) => transportChecksum(message, 58, ends))
}

function icmpLayer(
  protocol: number,
  options: IcmpOptions,
  checksum: (message: Buffer, ends: Ends | undefined) => number,
): Layer {
  return {
    protocol,
    headerBytes: 8,
    build(payload, _next, ends) {
      const header = Buffer.alloc(8)
      header.writeUInt8(options.type, 0)
      header.writeUInt8(options.code ?? 0, 1)
      header.writeUInt16BE(options.id ?? 0, 4)
      header.writeUInt16BE(options.sequence ?? 0, 6)
      const message = Buffer.concat([header, payload])
      message.writeUInt16BE(checksum(message, ends), 2)
      return message
    },
  }
}

/** Common header and one chunk without content; its CRC is left 0. */
export function sctp(options: { srcPort?: number; dstPort?: number; chunk: number }): Layer {
  return {
    protocol: 132,
    headerBytes: 16,
    build(payload) {
      const header = Buffer.alloc(16)
      header.writeUInt16BE(options.srcPort ?? 40000, 0)
      header.writeUInt16BE(options.dstPort ?? 3868, 2)
      header.writeUInt8(options.chunk, 12)
      header.writeUInt16BE(4 + payload.length, 14)
      return Buffer.concat([header, payload])
    },
  }
}

/** RFC 1071 over the bytes, with the checksum field being 0. */
export function internetChecksum(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

function transportChecksum(segment: Buffer, protocol: number, ends: Ends | undefined): number {
  if (!ends) return 0
  const tail = Buffer.alloc(ends.version === 4 ? 4 : 8)
  if (ends.version === 4) {
    tail.writeUInt8(protocol, 1)
    tail.writeUInt16BE(segment.length, 2)
  } else {
    tail.writeUInt32BE(segment.length, 0)
    tail.writeUInt8(protocol, 7)
  }
  return internetChecksum(Buffer.concat([ends.src, ends.dst, tail, segment]))
}

function ipBytes(text: string): Buffer {
  const bytes = Buffer.alloc(16)
  if (parseIp(text, bytes) === 0) throw new RangeError(`"${text}" is not an IP address`)
  return bytes
}

function mac(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex')
}
