import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Lab } from '../../lab/index.ts'
import type { TestAgent } from '../../test/helpers/agent.ts'
import { agentOn, closedLedger } from './agent-on-lab.ts'
import { cpuNsOf, sleep } from './processes.ts'

const START_MS = 1500
/** Where softflowd sends NetFlow, on the node's own loopback. */
export const COLLECTOR_PORT = 9995

/** Something that watches a node's pods and counts flows. */
export interface Meter extends AsyncDisposable {
  /** CPU time of all its processes since their start, nanoseconds. */
  cpuNs(): number
  /** Asked at the end. @throws Error when it lost count */
  check(): Promise<void>
}

export type MeterName = 'sluice' | 'softflowd' | 'pmacctd'

export function startMeter(name: MeterName, lab: Lab): Promise<Meter> {
  if (name === 'sluice') return startSluice(lab)
  return startPeer(name, lab)
}

/** Installs the Debian packages of the peers where they are missing. @throws Error when that is not possible */
export function installPeers(): void {
  const missing = [
    ['softflowd', '/usr/sbin/softflowd'],
    ['pmacct', '/usr/sbin/pmacctd'],
  ].filter(([, path]) => !existsSync(path!))
  if (missing.length === 0) return
  const packages = missing.map(([name]) => name!)
  console.error(`installing Debian packages: ${packages.join(' ')}`)
  // RUNLEVEL=1: softflowd's package would start a service.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { env, stdio: 'ignore' })
}

async function startSluice(lab: Lab): Promise<Meter & { readonly agent: TestAgent }> {
  const agent = await agentOn(lab, 'peers')
  return {
    agent,
    cpuNs: () => cpuNsOf(agent.pid),
    async check() {
      const { lost } = await closedLedger(agent)
      if (Object.keys(lost).length > 0) throw new Error(`Records were lost: ${JSON.stringify(lost)}`)
    },
    [Symbol.asyncDispose]: () => agent[Symbol.asyncDispose](),
  }
}

/**
 * Both watch every device of the node by libpcap's "any", as Sluice watches every pod's link: a packet between two pods is
 * seen twice by all three. Both tell a flow again after five seconds, as Sluice does by default.
 */
function peerCommand(name: 'softflowd' | 'pmacctd', directory: string): [string, string[]] {
  if (name === 'softflowd') {
    const timeouts = ['maxlife=5', 'expint=1', 'tcp.fin=5', 'tcp.rst=5', 'udp=60'].flatMap((one) => ['-t', one])
    const files = ['-p', join(directory, 'pid'), '-c', join(directory, 'ctl')]
    const filter = `not port ${COLLECTOR_PORT}`
    return [
      '/usr/sbin/softflowd',
      [
        '-d',
        '-i',
        'any',
        '-n',
        `127.0.0.1:${COLLECTOR_PORT}`,
        '-v',
        '9',
        '-m',
        '262144',
        ...timeouts,
        ...files,
        filter,
      ],
    ]
  }
  const config = [
    'daemonize: false',
    'pcap_interface: any',
    'aggregate: src_host, dst_host, src_port, dst_port, proto, tcpflags',
    'plugins: print',
    'plugin_pipe_size: 67108864',
    'plugin_buffer_size: 65536',
    'print_refresh_time: 5',
    'print_output: json',
    'print_cache_entries: 262147',
    `print_output_file: ${join(directory, 'flows.json')}`,
  ]
  writeFileSync(join(directory, 'pmacctd.conf'), `${config.join('\n')}\n`)
  return ['/usr/sbin/pmacctd', ['-f', join(directory, 'pmacctd.conf')]]
}

async function startPeer(name: 'softflowd' | 'pmacctd', lab: Lab): Promise<Meter> {
  const directory = mkdtempSync(join(tmpdir(), `sluice-bench-${name}-`))
  const [command, args] = peerCommand(name, directory)
  // nsenter becomes the command: its process id is the meter's.
  const child = spawn('nsenter', [`--net=${lab.node().netnsPath}`, '--', command, ...args], { stdio: 'ignore' })
  await sleep(START_MS)
  if (child.exitCode !== null || child.pid === undefined) throw new Error(`${name} ended with ${child.exitCode}`)
  return {
    cpuNs: () => familyOf(child.pid!).reduce((sum, pid) => sum + cpuNsOf(pid), 0),
    check: async () => {},
    [Symbol.asyncDispose]: () => end(child, directory),
  }
}

/** A process and its children: pmacctd writes from a process of its own. */
function familyOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return [pid, ...(children === '' ? [] : children.split(' ').flatMap((child) => familyOf(Number(child))))]
}

async function end(child: ChildProcess, directory: string): Promise<void> {
  const family = familyOf(child.pid!)
  const closed = once(child, 'close')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 3000)
  await closed
  clearTimeout(timer)
  for (const pid of family.slice(1)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It went with its parent.
    }
  }
  rmSync(directory, { recursive: true, force: true })
}
