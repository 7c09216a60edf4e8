import { z } from 'zod'

/** An address, or a name that the lab's DNS server knows. */
const target = z.string().min(1)
const port = z.int().min(1).max(65535)
const everyMs = z.int().min(10).max(3_600_000)
const count = z.int().min(1).max(1000).default(1)
const family = z.union([z.literal(4), z.literal(6)]).default(4)

const httpRoute = z.strictObject({
  path: z.string().startsWith('/'),
  status: z.int().min(200).max(599).default(200),
  /** Size of the answer's body. */
  bytes: z.int().min(0).max(1_000_000).default(64),
  /** URLs that are fetched before the answer; one that fails makes the answer a 502. */
  calls: z.array(z.url()).default([]),
  delayMs: z.int().min(0).max(10_000).default(0),
  /** Every nth request is answered with 500. 0: none. */
  failEvery: z.int().min(0).default(0),
})

/** What a process in a pod does. Everything here opens real sockets and sends real packets. */
export const runSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('http-server'), port, routes: z.array(httpRoute).default([]) }),
  z.strictObject({
    kind: z.literal('http-client'),
    urls: z.array(z.url()).min(1),
    everyMs,
    method: z.enum(['GET', 'POST', 'PUT', 'DELETE']).default('GET'),
    /** false: a connection per request. */
    keepAlive: z.boolean().default(false),
    family,
  }),
  z.strictObject({ kind: z.literal('dns-server') }),
  z.strictObject({ kind: z.literal('dns-client'), names: z.array(z.string().min(1)).min(1), everyMs }),
  z.strictObject({ kind: z.literal('tcp-sink'), port }),
  z.strictObject({
    kind: z.literal('tcp-stream'),
    to: target,
    port,
    bytesPerSecond: z.int().min(1).max(1_000_000_000),
    /** The connection is closed and made again after so long. */
    reconnectMs: z.int().min(100).default(30_000),
    family,
  }),
  z.strictObject({
    kind: z.literal('tcp-connect'),
    to: target,
    port,
    everyMs,
    timeoutMs: z.int().default(1500),
    family,
  }),
  z.strictObject({
    kind: z.literal('udp-echo'),
    port,
    /** SO_RCVBUF: a small one overflows under bursts. */
    receiveBufferBytes: z.int().min(0).default(0),
  }),
  z.strictObject({
    kind: z.literal('udp-client'),
    to: target,
    port,
    everyMs,
    bytes: z.int().min(0).max(65000).default(64),
    /** Datagrams sent at once. */
    burst: count,
    /** IP TTL or hop limit; 0: the system's. */
    ttl: z.int().min(0).max(255).default(0),
    /** Source address: one that is not the pod's own is added to its loopback device, a forged source for others. */
    from: z.string().optional(),
    family,
  }),
  z.strictObject({ kind: z.literal('ping'), to: target, everyMs, count, bytes: z.int().min(0).default(56), family }),
])

export type Run = z.output<typeof runSchema>
export type RunOf<K extends Run['kind']> = Extract<Run, { kind: K }>

/** Names of the lab's DNS: fully qualified, lower case, without trailing dot; addresses of both families. */
export type DnsZone = Readonly<Record<string, readonly string[]>>

/** First line of a workload process's standard input, as JSON. The process ends when its input does. */
export interface WorkloadConfig {
  /** `namespace/pod`, or `world`: for messages. */
  readonly name: string
  /** For the search list of names: empty outside the cluster. */
  readonly namespace: string
  readonly addresses: readonly string[]
  /** Address of the DNS server, empty when the lab has none. */
  readonly dnsServer: string
  /** For DNS servers only. */
  readonly zone: DnsZone
  readonly runs: readonly Run[]
}
