import { existsSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { packagePath } from '../../lab/index.ts'
import { type Finding, missing, ok, warning } from './check.ts'

const GROUP = 'Kernel'

/** Oldest kernel that has all: drop reasons of kfree_skb came with 5.17. */
const OLDEST = [5, 17] as const
/** tcx links. */
const TCX = [6, 6] as const
/** Memory of maps is charged to the cgroup; before, to RLIMIT_MEMLOCK. */
const MEMCG = [5, 11] as const

const MAP_TYPE_RINGBUF = 27

/** Tracepoints that programs are attached to, and what is lost without each. */
const TRACEPOINTS: Readonly<Record<string, { readonly needed: boolean; readonly for: string }>> = {
  kfree_skb: { needed: true, for: 'packets that the kernel drops, with their reason' },
  tcp_retransmit_skb: { needed: false, for: 'retransmitted segments' },
}

/** The functions of native/ that are asked: a test gives its own. */
export type NativeFacts = Pick<
  typeof import('../../native/index.ts'),
  'hasKernelBtf' | 'hasTracepoint' | 'kernelEnum' | 'supportsMapType' | 'supportsProgramType' | 'ProgramType'
>

export interface KernelCheckOptions {
  /** False without the capabilities to load: the kernel then refuses everything, and a refusal tells nothing. */
  readonly canProbe: boolean
  /** Default: of this kernel. */
  readonly release?: string
}

/** What the kernel lacks. @param native undefined when the addon cannot be loaded: what needs it is left out */
export function checkKernel(native: NativeFacts | undefined, options: KernelCheckOptions): Finding[] {
  const kernel = options.release ?? release()
  const findings = [checkRelease(kernel), checkBtf(native), checkAttach(kernel), checkJit()]
  if (native && options.canProbe) findings.push(...checkPrograms(native))
  if (native?.hasKernelBtf()) findings.push(...checkTypes(native))
  return findings
}

function versionOf(kernel: string): [number, number] {
  const match = /^(\d+)\.(\d+)/.exec(kernel)
  return [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)]
}

function isAtLeast(kernel: string, [major, minor]: readonly [number, number]): boolean {
  const version = versionOf(kernel)
  return version[0] > major || (version[0] === major && version[1] >= minor)
}

function checkRelease(kernel: string): Finding {
  if (isAtLeast(kernel, OLDEST)) return ok(GROUP, 'release', kernel)
  return missing(GROUP, 'release', kernel, `Boot Linux ${OLDEST.join('.')} or later (Debian 12 has 6.1)`)
}

function checkBtf(native: NativeFacts | undefined): Finding {
  const has = native ? native.hasKernelBtf() : existsSync('/sys/kernel/btf/vmlinux')
  if (has) return ok(GROUP, 'BTF', '/sys/kernel/btf/vmlinux')
  return missing(
    GROUP,
    'BTF',
    'no /sys/kernel/btf/vmlinux',
    'Boot a kernel with CONFIG_DEBUG_INFO_BTF=y (all of Debian, Ubuntu, Fedora, Azure Linux); in a container, mount /sys',
  )
}

/** Both ways work; the newer one is told apart because it cannot disturb others' filters. */
function checkAttach(kernel: string): Finding {
  return isAtLeast(kernel, TCX)
    ? ok(GROUP, 'attach', 'tcx links')
    : ok(GROUP, 'attach', `clsact filters (tcx links need ${TCX.join('.')})`)
}

function checkJit(): Finding {
  const value = readText('/proc/sys/net/core/bpf_jit_enable')
  if (value === undefined || value !== '0') return ok(GROUP, 'BPF JIT', value === undefined ? 'always on' : 'on')
  return warning(
    GROUP,
    'BPF JIT',
    'off: programs are interpreted, several times slower',
    'sysctl -w net.core.bpf_jit_enable=1',
  )
}

function checkPrograms(native: NativeFacts): Finding[] {
  const findings: Finding[] = []
  findings.push(
    native.supportsMapType(MAP_TYPE_RINGBUF)
      ? ok(GROUP, 'ring buffer')
      : missing(GROUP, 'ring buffer', 'map type refused', 'Boot Linux 5.8 or later'),
  )
  // Tracing programs cannot be probed without a target; the tracepoints below are theirs.
  const types: readonly [string, number][] = [
    ['tc programs', native.ProgramType.SCHED_CLS],
    ['syscall programs', native.ProgramType.SYSCALL],
  ]
  for (const [name, type] of types) {
    findings.push(
      native.supportsProgramType(type)
        ? ok(GROUP, name)
        : missing(
            GROUP,
            name,
            'program type refused',
            'Boot a kernel with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_ACT and CONFIG_BPF_EVENTS',
          ),
    )
  }
  return findings
}

/** What BTF tells: readable by everybody. */
function checkTypes(native: NativeFacts): Finding[] {
  const findings: Finding[] = []
  for (const [name, { needed, for: purpose }] of Object.entries(TRACEPOINTS)) {
    if (native.hasTracepoint(name)) findings.push(ok(GROUP, `tp_btf/${name}`))
    else {
      const make = needed ? missing : warning
      findings.push(
        make(GROUP, `tp_btf/${name}`, `not there: no ${purpose}`, 'Boot a newer kernel, with CONFIG_TRACEPOINTS'),
      )
    }
  }
  const reasons = native.kernelEnum('skb_drop_reason')
  findings.push(
    reasons
      ? ok(GROUP, 'drop reasons', `${reasons.size} known`)
      : missing(GROUP, 'drop reasons', 'no enum skb_drop_reason', `Boot Linux ${OLDEST.join('.')} or later`),
  )
  return findings
}

/** Old kernels count maps against a limit of locked memory. */
export function checkMemlock(kernel: string = release(), limits = readText('/proc/self/limits') ?? ''): Finding {
  if (isAtLeast(kernel, MEMCG)) return ok('Permissions', 'locked memory', 'not limited on this kernel')
  const soft = /^Max locked memory\s+(\S+)/m.exec(limits)?.[1] ?? 'unknown'
  if (soft === 'unlimited') return ok('Permissions', 'locked memory', soft)
  return missing(
    'Permissions',
    'locked memory',
    `${soft} bytes`,
    'ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit',
  )
}

/** The object that holds the eBPF programs. */
export function checkObject(path = packagePath('bpf/build/sluice.bpf.o')): Finding {
  if (existsSync(path)) return ok('Files', 'eBPF object', path)
  return missing('Files', 'eBPF object', `no ${path}`, 'npm run build (needs clang and libbpf-dev)')
}

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}
