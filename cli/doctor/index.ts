import { errorText } from '../../base/errors.ts'
import { type Finding, missing, ok } from './check.ts'
import { checkKernel, checkMemlock, checkObject, type NativeFacts } from './kernel.ts'
import { checkBpffs, checkCapabilities, checkLab, checkLogDirectory, checkNode, checkPort } from './machine.ts'

export type { Finding } from './check.ts'

/** Places that an agent would use. */
export interface DoctorTargets {
  readonly pinPath: string
  readonly logPath: string | undefined
  /** Name, key of the configuration, `host:port`. */
  readonly ports: readonly (readonly [string, string, string])[]
}

/** Looks at everything that an agent needs here. Changes nothing. */
export async function examine(targets: DoctorTargets): Promise<Finding[]> {
  const { facts, finding } = await loadNative()
  const capabilities = checkCapabilities()
  return [
    ...checkKernel(facts, { canProbe: obstacles(capabilities).length === 0 }),
    ...capabilities,
    checkMemlock(),
    checkNode(),
    finding,
    checkObject(),
    checkBpffs(targets.pinPath),
    ...(targets.logPath === undefined ? [] : [checkLogDirectory(targets.logPath)]),
    ...(await Promise.all(targets.ports.map(([name, key, address]) => checkPort(name, key, address)))),
    ...checkLab(),
  ]
}

/** The addon may not be built, or its library not be there: then all else is still looked at. */
async function loadNative(): Promise<{ facts: NativeFacts | undefined; finding: Finding }> {
  try {
    const facts = await import('../../native/index.ts')
    // Imports alone load nothing: the first call does.
    facts.bootTimeNs()
    return { facts, finding: ok('Files', 'native addon') }
  } catch (error) {
    const fix = 'npm run build (needs gcc, make and libbpf-dev); at run time, apt-get install libbpf1'
    return { facts: undefined, finding: missing('Files', 'native addon', errorText(error), fix) }
  }
}

/** What keeps an agent from running. */
export function obstacles(findings: readonly Finding[]): Finding[] {
  return findings.filter((finding) => finding.state === 'missing')
}
