import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Logger, silentLogger } from '../../base/logger.ts'

/** How the kernel's half is to run. Times in milliseconds, sizes in bytes. */
export interface DatapathOptions {
  /** Names the pins: lower-case letters, digits and dashes. */
  readonly instance: string
  /** Directory on a bpffs; undefined = nothing is pinned, and everything ends with the process. */
  readonly pinPath: string | undefined
  /** Path of the observed network namespace; undefined = the agent's own. */
  readonly netns: string | undefined
  /** The compiled programs; undefined = bpf/build/sluice.bpf.o of this installation. */
  readonly objectPath: string | undefined
  /** `auto` takes tcx where the kernel has it. */
  readonly attach: 'auto' | 'tcx' | 'clsact'
  readonly aggregationIntervalMs: number
  /** A record for every packet. */
  readonly perPacket: boolean
  /** TCP flags (low 8 bits) whose first sight in a direction makes a record. */
  readonly reportFlags: number
  /** A power of two, a multiple of the page size. */
  readonly ringBytes: number
  readonly maxFlows: number
  /** Devices with counters of their own. */
  readonly maxEndpoints: number
  readonly dnsPorts: readonly number[]
  readonly httpPorts: readonly number[]
  readonly l7PayloadBytes: number
  readonly l7RatePerSecond: number
  readonly tcpIdleMs: number
  readonly otherIdleMs: number
  readonly closedIdleMs: number
  /** Bit per consumer that wants every record. */
  readonly defaultConsumers: number
  readonly logger: Logger
}

const SECOND = 1000

export const DATAPATH_DEFAULTS: DatapathOptions = {
  instance: 'default',
  pinPath: '/sys/fs/bpf/sluice',
  netns: undefined,
  objectPath: undefined,
  attach: 'auto',
  aggregationIntervalMs: 5 * SECOND,
  perPacket: false,
  reportFlags: 0x07, // FIN, SYN, RST
  ringBytes: 16 << 20, // 123,000 records of 136 bytes
  maxFlows: 262_144, // × 220 bytes = 57 MB
  maxEndpoints: 4096, // × 32 bytes a CPU
  dnsPorts: [53],
  httpPorts: [80, 8000, 8080, 8081, 3000, 5000, 9090],
  l7PayloadBytes: 512,
  l7RatePerSecond: 10_000,
  tcpIdleMs: 600 * SECOND,
  otherIdleMs: 60 * SECOND,
  closedIdleMs: 5 * SECOND,
  defaultConsumers: 0xffff_ffff,
  logger: silentLogger,
}

const OBJECT = 'bpf/build/sluice.bpf.o'

/** Where the compiled programs are: this module runs from <root>/collector/kernel/ and from <root>/dist/collector/kernel/. */
export function defaultObjectPath(): string {
  const here = dirname(fileURLToPath(import.meta.url))
  const roots = [join(here, '../..'), join(here, '../../..')]
  return join(roots.find((root) => existsSync(join(root, OBJECT))) ?? roots[0]!, OBJECT)
}

/** Values of the programs' `const volatile` variables (bpf/lib/config.h). */
export function constantsOf(
  options: DatapathOptions,
  facts: { readonly kernelBase: bigint; readonly netnsCookie: bigint },
): Record<string, bigint> {
  return {
    aggregation_interval_ns: BigInt(Math.round(options.aggregationIntervalMs * 1e6)),
    report_flags: BigInt(options.reportFlags),
    per_packet: options.perPacket ? 1n : 0n,
    l7_rate_per_cpu: BigInt(options.l7RatePerSecond),
    l7_payload: BigInt(options.l7PayloadBytes),
    kernel_base: facts.kernelBase,
    node_netns_cookie: facts.netnsCookie,
    default_consumers: BigInt(options.defaultConsumers),
  }
}

/** Entries of the maps whose size is configured, by map name. */
export function mapSizesOf(options: DatapathOptions): Record<string, number> {
  return {
    events: options.ringBytes,
    flows: options.maxFlows,
    endpoint_counters: options.maxEndpoints,
    // Devices beyond the counters' slots are watched too; they share slot 0.
    endpoints: 2 * options.maxEndpoints,
    netns: 2 * options.maxEndpoints,
  }
}

/** Little-endian bytes of an unsigned number. */
export function encodeConstant(value: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  for (let i = 0; i < size; i++) bytes[i] = Number((value >> BigInt(8 * i)) & 0xffn)
  return bytes
}
