import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import { type Finding, missing, ok, warning } from './check.ts'
import { readText } from './kernel.ts'

/** statfs type of a bpffs. */
const BPF_FS_MAGIC = 0xcafe4a11
/** A log of the default size, all backups: (5 + 1) × 50 MiB. */
const LOG_BYTES = 6 * 50 * 1024 * 1024

type CapabilityName = 'CAP_BPF' | 'CAP_NET_ADMIN' | 'CAP_PERFMON' | 'CAP_SYS_ADMIN' | 'CAP_SYS_PTRACE'

const CAPABILITY_BITS: Readonly<Record<CapabilityName, bigint>> = {
  CAP_NET_ADMIN: 12n,
  CAP_SYS_PTRACE: 19n,
  CAP_SYS_ADMIN: 21n,
  CAP_PERFMON: 38n,
  CAP_BPF: 39n,
}

const NEEDED: readonly [CapabilityName, string][] = [
  ['CAP_BPF', 'load programs'],
  ['CAP_NET_ADMIN', 'attach them to devices'],
  ['CAP_PERFMON', 'read kernel memory in tracing programs'],
]

const GRANT =
  'Run as root, or give the capability: systemd AmbientCapabilities=, Kubernetes securityContext.capabilities.add'

/** @param status text of /proc/self/status */
export function checkCapabilities(status = readText('/proc/self/status') ?? ''): Finding[] {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`)
  const has = (name: CapabilityName) => ((effective >> CAPABILITY_BITS[name]) & 1n) === 1n
  // CAP_SYS_ADMIN stands for the two that were split off it, as in the kernel.
  const holds = (name: CapabilityName) =>
    has(name) || ((name === 'CAP_BPF' || name === 'CAP_PERFMON') && has('CAP_SYS_ADMIN'))
  const findings = NEEDED.map(([name, purpose]) =>
    holds(name) ? ok('Permissions', name) : missing('Permissions', name, `not held: needed to ${purpose}`, GRANT),
  )
  findings.push(
    has('CAP_SYS_ADMIN')
      ? ok('Permissions', 'CAP_SYS_ADMIN')
      : warning(
          'Permissions',
          'CAP_SYS_ADMIN',
          "not held: other network namespaces cannot be entered, addresses of pods come from metadata alone, and dropped packets' pods are found by address",
          'Nothing, if metadata is there; else run as root',
        ),
  )
  return findings
}

/** @param path directory of the pins */
export function checkBpffs(path: string): Finding {
  const mount = existing(path)
  if (statfsSync(mount).type !== BPF_FS_MAGIC) {
    const target = path.startsWith('/sys/fs/bpf') ? '/sys/fs/bpf' : dirname(path)
    return missing(
      'Files',
      'bpffs',
      `"${path}" is not on a bpffs: nothing could be pinned`,
      `mount -t bpf bpf ${target} (Kubernetes: hostPath /sys/fs/bpf with mountPropagation)`,
    )
  }
  if (!isWritable(mount)) {
    return missing('Files', 'bpffs', `"${mount}" is not writable`, `chown or chmod "${mount}" for the agent's user`)
  }
  return ok('Files', 'bpffs', path)
}

/** @param path of the log file */
export function checkLogDirectory(path: string): Finding {
  const directory = existing(dirname(path))
  if (!statSync(directory).isDirectory()) {
    return missing(
      'Files',
      'log directory',
      `"${directory}" is not a directory`,
      'Set log.path to a file in a directory',
    )
  }
  if (!isWritable(directory)) {
    return missing(
      'Files',
      'log directory',
      `"${directory}" is not writable`,
      `Set log.path, or chown "${directory}" for the agent's user`,
    )
  }
  const { bavail, bsize } = statfsSync(directory)
  const free = bavail * bsize
  const text = `${dirname(path)}, ${Math.round(free / 1e6)} MB free`
  if (free >= LOG_BYTES) return ok('Files', 'log directory', text)
  return warning(
    'Files',
    'log directory',
    text,
    `Make room for ${Math.round(LOG_BYTES / 1e6)} MB, or lower log.maxSize and log.maxBackups`,
  )
}

/** The nearest directory above that exists: where the agent would make the rest. */
function existing(path: string): string {
  let at = path
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at)
  return at
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** @param key of the configuration, for the fix @param address `host:port` or `:port` */
export async function checkPort(name: string, key: string, address: string): Promise<Finding> {
  const match = /^(?:\[(.*)\]|([^[\]]*)):(\d+)$/.exec(address)
  if (!match) return ok('Ports', name, address)
  const host = match[1] ?? match[2] ?? ''
  const failure = await listenError(Number(match[3]), host)
  if (failure === undefined) return ok('Ports', name, address)
  if (failure === 'EADDRINUSE') {
    return missing('Ports', name, `${address} is taken`, `Stop the process that holds it (ss -ltnp), or set ${key}`)
  }
  return missing(
    'Ports',
    name,
    `${address}: ${failure}`,
    `Set ${key} to an address of this machine, and a port above 1023 without root`,
  )
}

/** @returns undefined when it can be listened on, else the kernel's word */
export function listenError(port: number, host: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ port, ...(host === '' ? {} : { host }) }, () => server.close(() => resolve(undefined)))
  })
}

/** Programs that the lab runs, and the Debian package of each. */
const LAB_TOOLS: readonly [string, string, boolean][] = [
  ['ip', 'iproute2', true],
  ['tc', 'iproute2', false],
  ['nsenter', 'util-linux', true],
  ['ping', 'iputils-ping', false],
  ['nft', 'nftables', false],
]

/** What `sluice demo` and `sluice lab` need beyond the agent: none of it keeps the agent from running. */
export function checkLab(path = process.env['PATH'] ?? '', isRoot = process.getuid?.() === 0): Finding[] {
  const places = [...path.split(delimiter), '/usr/sbin', '/sbin']
  const findings = LAB_TOOLS.map(([tool, debian, needed]) => {
    if (places.some((place) => existsSync(join(place, tool)))) return ok('Lab', tool)
    return warning(
      'Lab',
      tool,
      needed ? 'not installed: no lab' : 'not installed: the lab leaves a part out',
      `apt-get install ${debian}`,
    )
  })
  findings.push(isRoot ? ok('Lab', 'root') : warning('Lab', 'root', 'not root: no lab', 'sudo sluice demo'))
  return findings
}

/** Oldest Node that package.json names. */
export function checkNode(version = process.versions.node): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return ok('Files', 'Node', version)
  return missing('Files', 'Node', version, 'Install Node 20.19 or later')
}
