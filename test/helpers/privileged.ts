import { existsSync } from 'node:fs'
import { describe } from 'vitest'
import { errorText } from '../../base/errors.ts'
import { addon } from '../../native/addon.ts'
import { type CapabilityName, hasCapability } from '../../native/index.ts'

/** What the privileged tiers need, unless a test says otherwise: namespaces and eBPF. */
const DEFAULT: readonly CapabilityName[] = ['CAP_SYS_ADMIN', 'CAP_NET_ADMIN', 'CAP_BPF', 'CAP_PERFMON']

/** What is missing here for a privileged test, undefined when nothing is. */
export function missingPrivileges(capabilities: readonly CapabilityName[] = DEFAULT): string | undefined {
  const missing = capabilities.filter((name) => !hasCapability(name))
  if (missing.length > 0) return `needs ${missing.join(', ')}`
  if (!existsSync('/sys/kernel/btf/vmlinux')) return 'needs a kernel with BTF (/sys/kernel/btf/vmlinux)'
  try {
    addon()
  } catch (error) {
    return errorText(error)
  }
  return undefined
}

/** @throws Error saying what is missing: for set-up code outside of describeKernel */
export function requirePrivileges(capabilities?: readonly CapabilityName[]): void {
  const missing = missingPrivileges(capabilities)
  if (missing !== undefined) throw new Error(`Cannot run privileged tests: ${missing}`)
}

/**
 * describe() for tests that need the kernel. Without privileges it is skipped, with the reason in its name; where CI is
 * `true` it fails instead, so that a tier cannot pass by not running.
 */
export function describeKernel(name: string, suite: () => void, capabilities?: readonly CapabilityName[]): void {
  const missing = missingPrivileges(capabilities)
  if (missing === undefined || process.env['CI'] === 'true') describe(name, suite)
  else describe.skip(`${name} (skipped: ${missing})`, suite)
}
