import { existsSync, readFileSync } from 'node:fs'
import { addon } from './addon.ts'

/** Whether the kernel describes its own types (CONFIG_DEBUG_INFO_BTF). */
export function hasKernelBtf(): boolean {
  return existsSync('/sys/kernel/btf/vmlinux')
}

/** Members of an enum of the running kernel, undefined when it has none of this name. Reads all BTF: 20 ms. */
export function kernelEnum(name: string): ReadonlyMap<string, number> | undefined {
  const members = addon().kernelEnum(name)
  return members === null ? undefined : new Map(members)
}

/** Whether a BTF-typed tracepoint exists, so that SEC("tp_btf/<name>") can be attached. */
export function hasTracepoint(name: string): boolean {
  return addon().kernelHasBtfType('typedef', `btf_trace_${name}`)
}

/** enum bpf_prog_type, as far as it is used here. */
export const ProgramType = { SCHED_CLS: 3, TRACING: 26, SYSCALL: 31 } as const

export function supportsProgramType(type: number): boolean {
  return addon().kernelProbeProgramType(type)
}

export function supportsMapType(type: number): boolean {
  return addon().kernelProbeMapType(type)
}

/** Capabilities that matter here, by their bit (linux/capability.h). */
export const Capability = {
  CAP_NET_ADMIN: 12,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_ADMIN: 21,
  CAP_PERFMON: 38,
  CAP_BPF: 39,
} as const

export type CapabilityName = keyof typeof Capability

/** Bits of the capabilities in force for this process. */
export function effectiveCapabilities(status: string = readFileSync('/proc/self/status', 'utf8')): bigint {
  const hex = /^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1]
  return hex === undefined ? 0n : BigInt(`0x${hex}`)
}

/** CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as in the kernel. */
export function hasCapability(name: CapabilityName, effective: bigint = effectiveCapabilities()): boolean {
  const has = (bit: number): boolean => ((effective >> BigInt(bit)) & 1n) === 1n
  const implied = name === 'CAP_BPF' || name === 'CAP_PERFMON'
  return has(Capability[name]) || (implied && has(Capability.CAP_SYS_ADMIN))
}

const offsetOut = new BigInt64Array(2)

/** From CLOCK_BOOTTIME, which records carry, to the wall clock; may be off by `uncertaintyNs`. */
export function bootToWallOffset(): { readonly offsetNs: bigint; readonly uncertaintyNs: bigint } {
  addon().clockOffset(offsetOut)
  return { offsetNs: offsetOut[0]!, uncertaintyNs: offsetOut[1]! }
}

/** CLOCK_BOOTTIME, nanoseconds. */
export function bootTimeNs(): bigint {
  return addon().clockNs(7)
}

/** CLOCK_MONOTONIC, nanoseconds. */
export function monotonicNs(): bigint {
  return addon().clockNs(1)
}
