import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { EndpointKind } from '../../model/layouts.gen.ts'
import {
  attachClsact,
  BpfLink,
  type BpfProgram,
  type Direction,
  detachClsact,
  ensureClsact,
  listLinks,
  Netns,
  supportsTcx,
} from '../../native/index.ts'
import type { KernelPrograms } from './kernel-programs.ts'

export interface TestPod {
  readonly index: number
  readonly ip: string
  readonly ip6: string
  /** Of the node, towards this pod. */
  readonly gateway: string
  readonly mac: string
  readonly netns: Netns
  readonly netnsPath: string
  /** The node's side of the veth. */
  readonly hostDevice: string
  readonly ifindex: number
  /** Index of endpoint_counters given to it. */
  readonly slot: number
}

/** Counters of a device as the kernel keeps them. */
export interface DeviceCounters {
  readonly rxPackets: number
  readonly rxBytes: number
  readonly txPackets: number
  readonly txBytes: number
}

const PREFIX = 'slkt'

/**
 * A node with pods, of real namespaces and veth pairs, for one test. Neighbours are static and IPv6's own traffic is
 * off, so that the wire carries what the test sends and nothing else. Devices stay down until up(): what is attached
 * before sees every packet that their counters count.
 */
export class TestNet implements Disposable {
  readonly node: Netns
  readonly nodePath: string
  readonly pods: TestPod[] = []
  readonly #names: string[] = []
  readonly #children = new Set<ChildProcess>()
  /** Handle of the latest clsact filter. */
  #filters = 0

  /** @param name of the test: letters and digits, at most 8 @param pods at most 200 */
  constructor(name: string, pods = 2) {
    const base = `${PREFIX}-${name}-${process.pid}`
    try {
      this.nodePath = this.#addNetns(`${base}-n`)
      this.node = Netns.open(this.nodePath)
      ip(this.nodePath, ['link set lo up'])
      sysctl(this.nodePath, { 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1, ...QUIET })
      for (let i = 1; i <= pods; i++) this.#addPod(base, i)
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  #addNetns(name: string): string {
    execFileSync('ip', ['netns', 'add', name])
    this.#names.push(name)
    return `/run/netns/${name}`
  }

  #addPod(base: string, index: number): void {
    const netnsPath = this.#addNetns(`${base}-${index}`)
    const hostDevice = `pod${index}`
    const net = {
      ip: `10.77.${index}.2`,
      ip6: `fd77:${index}::2`,
      gateway: `10.77.${index}.1`,
      gateway6: `fd77:${index}::1`,
    }
    const mac = `02:77:00:00:00:${hex(index)}`
    const hostMac = `02:77:00:00:01:${hex(index)}`
    sysctl(netnsPath, QUIET)
    ip(this.nodePath, [
      `link add ${hostDevice} address ${hostMac} type veth peer name eth0 address ${mac} netns ${base}-${index}`,
      `link set ${hostDevice} addrgenmode none multicast off`,
      `addr add ${net.gateway}/24 dev ${hostDevice}`,
      `addr add ${net.gateway6}/64 dev ${hostDevice} nodad`,
    ])
    ip(netnsPath, [
      'link set lo up',
      'link set eth0 addrgenmode none multicast off',
      `addr add ${net.ip}/24 dev eth0`,
      `addr add ${net.ip6}/64 dev eth0 nodad`,
    ])
    const ifindex = this.ifindex(hostDevice)
    const netns = Netns.open(netnsPath)
    this.pods.push({ ...net, index, mac, netns, netnsPath, hostDevice, ifindex, slot: index })
  }

  /** Brings the devices up, with routes and neighbours. */
  up(): void {
    for (const pod of this.pods) {
      ip(this.nodePath, [`link set ${pod.hostDevice} up`])
      ip(pod.netnsPath, ['link set eth0 up'])
      const hostMac = `02:77:00:00:01:${hex(pod.index)}`
      ip(this.nodePath, [
        `neigh replace ${pod.ip} lladdr ${pod.mac} dev ${pod.hostDevice}`,
        `neigh replace ${pod.ip6} lladdr ${pod.mac} dev ${pod.hostDevice}`,
      ])
      ip(pod.netnsPath, [
        `neigh replace ${pod.gateway} lladdr ${hostMac} dev eth0`,
        `neigh replace fd77:${pod.index}::1 lladdr ${hostMac} dev eth0`,
        `route add default via ${pod.gateway}`,
        `route add default via inet6 fd77:${pod.index}::1 dev eth0`,
      ])
    }
  }

  /** Tells the programs of every pod and attaches to both directions of its host device. */
  watch(k: KernelPrograms): void {
    for (const pod of this.pods) {
      k.watch(pod.ifindex, pod.slot, EndpointKind.POD)
      k.watchNetns(pod.netns.cookie(), pod.ifindex)
      k.keep(this.attach(k.program('pod_egress'), pod, 'ingress'))
      k.keep(this.attach(k.program('pod_ingress'), pod, 'egress'))
    }
  }

  /**
   * Attaches a program to a pod's host device, in front of those that are there: by tcx, or as a clsact filter where the
   * kernel has no tcx (before 6.6).
   */
  attach(program: BpfProgram, pod: TestPod, direction: Direction): Disposable {
    return this.node.run(() => {
      if (supportsTcx(program)) return BpfLink.attachTcx(program, pod.ifindex, direction)
      // Of filters of one priority the newest runs first.
      const slot = { handle: ++this.#filters, priority: 1 }
      ensureClsact(pod.ifindex)
      attachClsact(program, pod.ifindex, direction, slot)
      return { [Symbol.dispose]: () => void this.node.run(() => detachClsact(pod.ifindex, direction, slot)) }
    })
  }

  ifindex(device: string): number {
    const link = this.node.run(() => listLinks()).find(({ name }) => name === device)
    if (!link) throw new Error(`The node has no device "${device}"`)
    return link.ifindex
  }

  counters(pod: TestPod): DeviceCounters {
    const [link] = JSON.parse(
      execFileSync('nsenter', [`--net=${this.nodePath}`, 'ip', '-s', '-j', 'link', 'show', 'dev', pod.hostDevice], {
        encoding: 'utf8',
      }),
    ) as { stats64: { rx: { bytes: number; packets: number }; tx: { bytes: number; packets: number } } }[]
    const { rx, tx } = link!.stats64
    return { rxPackets: rx.packets, rxBytes: rx.bytes, txPackets: tx.packets, txBytes: tx.bytes }
  }

  /** Runs a command in a namespace to its end. @returns what it printed @throws Error with its stderr */
  exec(where: TestPod | 'node', command: string, args: readonly string[], input?: string): string {
    return execFileSync('nsenter', [`--net=${this.#path(where)}`, command, ...args], {
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: 60_000,
      ...(input === undefined ? {} : { input }),
    })
  }

  /** Like exec(), where failing is what is expected. */
  tryExec(where: TestPod | 'node', command: string, args: readonly string[], input?: string): void {
    try {
      this.exec(where, command, args, input)
    } catch {}
  }

  /** Runs a Python program in a namespace. Debian's, as others may lack sockets options. */
  python(where: TestPod | 'node', program: string): string {
    return this.exec(where, PYTHON, ['-c', program])
  }

  /** Starts a Python program that prints a line when it is ready. */
  async serve(where: TestPod | 'node', program: string): Promise<ChildProcess> {
    const child = spawn('nsenter', [`--net=${this.#path(where)}`, PYTHON, '-u', '-c', program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#children.add(child)
    child.once('close', () => this.#children.delete(child))
    const [line] = (await Promise.race([once(child.stdout, 'data'), once(child, 'close')])) as [unknown]
    if (!Buffer.isBuffer(line)) throw new Error('The server ended before it was ready')
    return child
  }

  /** Puts frames on a pod's wire as they are. */
  inject(pod: TestPod, frames: readonly Uint8Array[]): void {
    const lines = frames.map((frame) => Buffer.from(frame).toString('hex')).join('\n')
    this.exec(pod, PYTHON, ['-c', INJECT], lines)
  }

  #path(where: TestPod | 'node'): string {
    return where === 'node' ? this.nodePath : where.netnsPath
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill('SIGKILL')
    for (const pod of this.pods) pod.netns[Symbol.dispose]()
    this.node?.[Symbol.dispose]()
    for (const name of this.#names.reverse()) execFileSync('ip', ['netns', 'del', name])
  }
}

/** Listener reports are repeated within a second of when the device came up, or with this within milliseconds. */
const QUIET = {
  'net/ipv6/conf/default/dad_transmits': 0,
  'net/ipv6/conf/default/router_solicitations': 0,
  'net/ipv6/conf/default/mldv2_unsolicited_report_interval': 1,
}

/** Debian's own: another python3 before it in PATH may not have been built with what is needed. */
const PYTHON = '/usr/bin/python3'

const INJECT = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line.strip()))
`

function ip(netnsPath: string, lines: readonly string[]): void {
  execFileSync('nsenter', [`--net=${netnsPath}`, 'ip', '-batch', '-'], {
    input: `${lines.join('\n')}\n`,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
}

function sysctl(netnsPath: string, settings: Readonly<Record<string, number>>): void {
  const lines = Object.entries(settings).map(([name, value]) => `echo ${value} > /proc/sys/${name}`)
  execFileSync('nsenter', [`--net=${netnsPath}`, 'sh', '-e'], { input: `${lines.join('\n')}\n` })
}

function hex(value: number): string {
  return value.toString(16).padStart(2, '0')
}
