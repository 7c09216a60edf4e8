import { parseIp } from '../../base/ip.ts'
import { RingReader } from '../../collector/kernel/index.ts'
import type { RecordReader } from '../../collector/source.ts'
import type { CollectorState } from '../../collector/state.ts'
import {
  EVENT_VERSION,
  EventCause,
  EventType,
  FLOW_EVENT,
  FlowState,
  ObservationPoint,
  Verdict,
} from '../../model/layouts.gen.ts'

/** kernel/bpf/ringbuf.c: length and flags before each record, which is padded to 8 bytes. */
const HEADER_BYTES = 8
const DISCARDED = 1 << 30
/** The ring of the default configuration. */
const RING_BYTES = 16 << 20
/** The ring is written in parts: less than half of it waits at once, as with an agent that comes every 10 ms. */
const PARTS = 4
/** Pods and flows of a busy node. */
export const PODS = 200
export const FLOWS = 2000
/** Between two records: 50,000 a second. */
const STEP_NS = 20_000n
const FIRST_IFINDEX = 100

/** One record of every `every` is such. */
interface Share {
  readonly drop: number
  readonly dns: number
  readonly http: number
}

const L4_ONLY: Share = { drop: 50, dns: 0, http: 0 }
const WITH_L7: Share = { drop: 50, dns: 50, http: 50 }

/**
 * The kernel's ring as the agent maps it, filled with the records of 2,000 flows between 200 pods: the real reader reads
 * the real layout, and nothing has to make traffic meanwhile. A refill moves the producer and the
 * records' times on; their other bytes are there since the start.
 */
export class RingTraffic {
  readonly reader: RecordReader & { readonly usedBytes: number }
  /** Records of one refill(). */
  readonly records: number
  readonly #size: number
  #part = 0
  readonly #producer: BigUint64Array
  readonly #times: BigUint64Array
  readonly #offsets: readonly number[]
  readonly #tailBytes: number
  #time: bigint

  /** @param withL7 also 2 % DNS and 2 % HTTP messages @param startNs boot time of the first record */
  constructor(options: { withL7?: boolean; startNs: bigint; bytes?: number }) {
    const size = options.bytes ?? RING_BYTES
    // The kernel maps the data twice in a row; here the last record ends with the ring, so the second half stays unread.
    const data = new ArrayBuffer(size * 2)
    const producer = new ArrayBuffer(4096)
    this.#producer = new BigUint64Array(producer, 0, 1)
    this.#times = new BigUint64Array(data)
    this.#time = options.startNs
    const writer = new RecordWriter(data, options.withL7 === true ? WITH_L7 : L4_ONLY)
    const { offsets, tailBytes } = writer.fill(size)
    this.#offsets = offsets
    this.#tailBytes = tailBytes
    this.records = offsets.length / PARTS
    this.#size = size
    this.reader = new RingReader({ consumer: new ArrayBuffer(4096), producer, data, size })
  }

  /** Writes the next part of the ring. @throws Error when the reader has not released the former one */
  refill(): void {
    // A discarded record is passed over, and given back with the record behind it.
    if (this.reader.usedBytes > this.#tailBytes) throw new Error(`The ring still holds ${this.reader.usedBytes} bytes`)
    const from = this.#part * this.records
    for (let i = from; i < from + this.records; i++) {
      this.#times[this.#offsets[i]! >> 3] = this.#time
      this.#time += STEP_NS
    }
    this.#part = (this.#part + 1) % PARTS
    // Producer positions count on over the ring's end; the last part takes the tail along.
    const lap = this.#producer[0]! - (this.#producer[0]! % BigInt(this.#size))
    const end = this.#part === 0 ? this.#size : this.#offsets[this.#part * this.records]! - HEADER_BYTES
    this.#producer[0] = lap + BigInt(end)
  }
}

/** Tells a collector of the pods whose traffic this is: all are local, each with its interface. */
export function addPods(state: CollectorState): void {
  for (let i = 0; i < PODS; i++) {
    const namespace = `team-${i % 20}`
    state.upsertPod({
      namespace,
      name: `web-${i}-7d4b9c6f5-x2k${i}`,
      uid: `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`,
      ips: [podIp(i)],
      labels: { app: 'web', tier: i % 2 === 0 ? 'front' : 'back' },
      namespaceLabels: { 'kubernetes.io/metadata.name': namespace },
      serviceAccount: 'web',
      workload: { name: `web-${i}`, kind: 'Deployment' },
      nodeName: state.endpoints.nodeName,
      hostNetwork: false,
    })
    state.endpoints.addInterface({ ifindex: FIRST_IFINDEX + i, name: `lxc${i}`, ips: [podIp(i)] })
  }
}

function podIp(i: number): string {
  return `10.244.${1 + (i >> 6)}.${10 + (i & 63)}`
}

/** Records a TCP flow makes in its life, as flags: SYN, SYN and ACK, an interval's, FIN and ACK. */
const STAGES = [
  { flags: 0x02, cause: EventCause.NEW, isReply: false },
  { flags: 0x12, cause: EventCause.FIRST_REPLY, isReply: true },
  { flags: 0x10, cause: EventCause.INTERVAL, isReply: false },
  { flags: 0x11, cause: EventCause.TCP_FLAG, isReply: false },
] as const

class RecordWriter {
  readonly #u8: Uint8Array
  readonly #view: DataView
  readonly #share: Share
  readonly #ips = Array.from({ length: PODS }, (_, i) => {
    const bytes = new Uint8Array(16)
    parseIp(podIp(i), bytes)
    return bytes
  })

  constructor(data: ArrayBuffer, share: Share) {
    this.#u8 = new Uint8Array(data)
    this.#view = new DataView(data)
    this.#share = share
  }

  /** Fills the ring with whole parts; what is left at its end is one discarded record. @returns offsets of the records' bytes */
  fill(size: number): { offsets: number[]; tailBytes: number } {
    const offsets: number[] = []
    let at = 0
    for (let n = 0; ; n++) {
      const payload = this.#payload(n)
      const length = FLOW_EVENT.SIZE + payload.length
      const next = at + HEADER_BYTES + ((length + 7) & ~7)
      if (next > size) break
      this.#view.setUint32(at, length, true)
      this.#record(at + HEADER_BYTES, n, payload)
      offsets.push(at + HEADER_BYTES)
      at = next
    }
    while (offsets.length % PARTS !== 0) at = offsets.pop()! - HEADER_BYTES
    if (at < size) this.#view.setInt32(at, (size - at - HEADER_BYTES) | DISCARDED, true)
    return { offsets, tailBytes: size - at }
  }

  #payload(n: number): Uint8Array {
    const { dns, http } = this.#share
    if (dns > 0 && n % dns === 7) return DNS_ANSWER
    if (http > 0 && n % http === 11) return HTTP_REQUEST
    return NO_PAYLOAD
  }

  #record(at: number, n: number, payload: Uint8Array): void {
    const flow = n % FLOWS
    const stage = STAGES[Math.floor(n / FLOWS) % STAGES.length]!
    const opener = flow % PODS
    const server = (flow * 7 + 3) % PODS
    const isUdp = payload === DNS_ANSWER || (payload === NO_PAYLOAD && flow % 5 === 0)
    const { isReply } = stage
    const [src, dst] = isReply ? [server, opener] : [opener, server]
    const clientPort = 30_000 + flow
    const serverPort = payload === DNS_ANSWER ? 53 : 8080 + (flow % 8)
    // Half of the flows are told by the opener's interface, half by the server's.
    const seenAtOpener = flow % 2 === 0
    const fromPod = seenAtOpener !== isReply
    const isDrop = payload === NO_PAYLOAD && n % this.#share.drop === 3
    const u8 = this.#u8
    const v = this.#view
    v.setUint16(at + FLOW_EVENT.size, FLOW_EVENT.SIZE + payload.length, true)
    u8[at + FLOW_EVENT.type] = typeOf(payload, isDrop)
    u8[at + FLOW_EVENT.version] = EVENT_VERSION
    u8.set(this.#ips[src]!, at + FLOW_EVENT.srcIp)
    u8.set(this.#ips[dst]!, at + FLOW_EVENT.dstIp)
    v.setUint16(at + FLOW_EVENT.srcPort, isReply ? serverPort : clientPort, true)
    v.setUint16(at + FLOW_EVENT.dstPort, isReply ? clientPort : serverPort, true)
    u8[at + FLOW_EVENT.protocol] = isUdp ? 17 : 6
    u8[at + FLOW_EVENT.ipVersion] = 4
    v.setUint16(at + FLOW_EVENT.l4Info, isUdp ? 0 : stage.flags, true)
    v.setUint32(at + FLOW_EVENT.ifindex, FIRST_IFINDEX + (seenAtOpener ? opener : server), true)
    u8[at + FLOW_EVENT.verdict] = isDrop ? Verdict.DROPPED : Verdict.FORWARDED
    u8[at + FLOW_EVENT.point] = fromPod ? ObservationPoint.FROM_ENDPOINT : ObservationPoint.TO_ENDPOINT
    u8[at + FLOW_EVENT.cause] = payload === NO_PAYLOAD ? (isDrop ? EventCause.DROP : stage.cause) : EventCause.L7
    u8[at + FLOW_EVENT.state] =
      FlowState.REPLY_KNOWN |
      (isReply ? FlowState.REPLY : 0) |
      (seenAtOpener ? FlowState.EGRESS : FlowState.INGRESS) |
      (fromPod ? FlowState.FROM_POD : 0)
    v.setUint32(at + FLOW_EVENT.packets, payload === NO_PAYLOAD ? 1 + (n % 90) : 0, true)
    v.setUint32(at + FLOW_EVENT.bytes, payload === NO_PAYLOAD ? 74 + (n % 9000) : 0, true)
    v.setUint32(at + FLOW_EVENT.rttUs, isUdp ? 0 : 200 + (flow % 50), true)
    if (isDrop) v.setUint16(at + FLOW_EVENT.dropReason, 3, true)
    v.setUint16(at + FLOW_EVENT.payloadLen, payload.length, true)
    u8.set(payload, at + FLOW_EVENT.SIZE)
  }
}

function typeOf(payload: Uint8Array, isDrop: boolean): number {
  if (payload === DNS_ANSWER) return EventType.DNS
  if (payload === HTTP_REQUEST) return EventType.HTTP
  return isDrop ? EventType.DROP : EventType.FLOW
}

const NO_PAYLOAD = new Uint8Array(0)
const HTTP_REQUEST = Buffer.from(
  'GET /api/v1/items?page=2 HTTP/1.1\r\nHost: catalog.shop:8080\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n',
)
const DNS_ANSWER = dnsAnswer()

/** An answer with one address for `catalog.shop.svc.cluster.local`. */
function dnsAnswer(): Uint8Array {
  const labels = ['catalog', 'shop', 'svc', 'cluster', 'local'].flatMap((l) => [l.length, ...Buffer.from(l)])
  const header = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
  const answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 244, 1, 13]
  return Uint8Array.from([...header, ...labels, 0, 0, 1, 0, 1, ...answer])
}
