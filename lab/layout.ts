import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { SluiceError } from '../base/errors.ts'
import type { LabSpec, PodSpec } from './spec.ts'
import type { DnsZone } from './workloads/roles.ts'

/*
 *   root namespace          nothing of the lab is here but names in /run/netns
 *
 *   sluice-<id>.world       hosts outside the cluster on lo; routes between nodes
 *     │ n1  169.254.0.1, fe80::fe
 *     │ eth0 10.240.0.1, fd00:240::1, fe80::101
 *   sluice-<id>.node.<node> forwards; a /32 and a /128 route per pod
 *     │ lxc<hash>  169.254.1.1, fe80::1
 *     │ eth0 10.244.1.10/32, fd00:244:1::a/128
 *   sluice-<id>.pod.<ns>.<pod>  default route through its link
 */

/** Gateway that every pod sees at the other end of its link. */
export const POD_GATEWAY4 = '169.254.1.1'
export const POD_GATEWAY6 = 'fe80::1'
/** The world's end of a node's uplink. */
export const WORLD_GATEWAY4 = '169.254.0.1'
export const WORLD_GATEWAY6 = 'fe80::fe'

/** Pod addresses of a node end in .10 to .254: what a /24 leaves after the ones that CNIs use themselves. */
const FIRST_HOST = 10
const LAST_HOST = 254

/** How the names of all namespaces of a lab begin. An id has no dot, so no lab's prefix begins another's. */
export function netnsPrefix(id: string): string {
  return `sluice-${id}.`
}

export interface NodePlan {
  readonly name: string
  /** 1 for the first node. */
  readonly index: number
  readonly netns: string
  readonly ip4: string
  readonly ip6: string
  readonly podCidr4: string
  readonly podCidr6: string
  readonly labels: Readonly<Record<string, string>>
}

export interface PodPlan {
  readonly spec: PodSpec
  /** `namespace/name` */
  readonly ref: string
  readonly uid: string
  readonly node: NodePlan
  readonly netns: string
  /** Node's side of the pod's link. */
  readonly device: string
  readonly ip4: string
  readonly ip6: string
  /** Addresses of services that are routed to this pod; on its loopback device. */
  readonly serviceIps: readonly string[]
  readonly linkLocal: string
}

/** Addresses and names of one lab. Hands out pod addresses; everything else is computed from the description. */
export class LabLayout {
  readonly id: string
  readonly spec: LabSpec
  readonly nodes: readonly NodePlan[]
  readonly worldNetns: string
  readonly #hosts = new Map<string, Set<number>>()

  /** @param id names the lab on this machine: 1 to 40 of a-z, 0-9 and - */
  constructor(id: string, spec: LabSpec) {
    if (!/^[a-z0-9][-a-z0-9]{0,39}$/.test(id)) {
      throw new SluiceError('SLUICE_LAB', `Cannot name a lab "${id}": want 1 to 40 of a-z, 0-9 and -`, {
        remedy: 'Give another --id',
      })
    }
    this.id = id
    this.spec = spec
    this.worldNetns = `${netnsPrefix(id)}world`
    this.nodes = spec.nodes.map((node, i) => ({
      name: node.name,
      index: i + 1,
      netns: `${netnsPrefix(id)}node.${node.name}`,
      ip4: `10.240.0.${i + 1}`,
      ip6: `fd00:240::${(i + 1).toString(16)}`,
      podCidr4: `10.244.${i + 1}.0/24`,
      podCidr6: `fd00:244:${(i + 1).toString(16)}::/64`,
      labels: node.labels,
    }))
    for (const node of this.nodes) this.#hosts.set(node.name, new Set())
  }

  /** Gives a pod its addresses. @throws SluiceError SLUICE_LAB when its node has none left */
  place(spec: PodSpec): PodPlan {
    const node = spec.node === undefined ? this.nodes[0]! : this.nodes.find((each) => each.name === spec.node)
    if (!node) {
      throw new SluiceError('SLUICE_LAB', `Cannot place pod "${spec.name}": "${spec.node}" is no node of this lab`)
    }
    const used = this.#hosts.get(node.name)!
    let host = FIRST_HOST
    while (used.has(host)) host++
    if (host > LAST_HOST) {
      throw new SluiceError(
        'SLUICE_LAB',
        `Cannot place pod "${spec.name}": node "${node.name}" has ${LAST_HOST - FIRST_HOST + 1} pods, which is the most`,
        { remedy: 'Put the pod on another node' },
      )
    }
    used.add(host)
    const ref = `${spec.namespace}/${spec.name}`
    return {
      spec,
      ref,
      uid: podUid(this.id, ref),
      node,
      netns: `${netnsPrefix(this.id)}pod.${spec.namespace}.${spec.name}`,
      device: `lxc${createHash('sha256').update(ref).digest('hex').slice(0, 12)}`,
      ip4: `10.244.${node.index}.${host}`,
      ip6: `fd00:244:${node.index.toString(16)}::${host.toString(16)}`,
      serviceIps: this.spec.services.filter((s) => s.ip && s.pods[0] === ref).map((s) => s.ip!),
      linkLocal: `fe80::2:${host.toString(16)}`,
    }
  }

  /** The pod's addresses are free again. */
  release(pod: PodPlan): void {
    this.#hosts.get(pod.node.name)?.delete(Number(pod.ip4.slice(pod.ip4.lastIndexOf('.') + 1)))
  }

  /** Cluster address of the lab's DNS server, empty when no pod is one. */
  dnsServer(pods: Iterable<PodPlan>): string {
    for (const pod of pods) {
      if (pod.spec.run.some((run) => run.kind === 'dns-server')) return pod.serviceIps[0] ?? pod.ip4
    }
    return ''
  }

  /** What the lab's DNS server answers. */
  zone(pods: ReadonlyMap<string, PodPlan>): DnsZone {
    const zone: Record<string, string[]> = {}
    for (const service of this.spec.services) {
      const name = `${service.name}.${service.namespace}.svc.cluster.local`
      zone[name] = service.ip
        ? [service.ip]
        : service.pods.flatMap((ref) => {
            const pod = pods.get(ref)
            return pod ? [pod.ip4, pod.ip6] : []
          })
    }
    for (const host of this.spec.world) zone[host.name] = [...host.ips]
    return zone
  }
}

/** The same for the same pod of the same lab, in the form of a version 4 UUID. */
function podUid(id: string, ref: string): string {
  const hex = createHash('sha256').update(`${id}/${ref}`).digest('hex')
  const variant = '89ab'[Number.parseInt(hex[16]!, 16) & 3]
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** Commands in the root namespace that make a pod's namespace and link: `ip -batch`. */
export function podLinkCommands(pod: PodPlan): string[] {
  return [`link add name ${pod.device} netns ${pod.node.netns} type veth peer name eth0 netns ${pod.netns}`]
}

/** Commands inside the pod's namespace. */
export function podCommands(pod: PodPlan): string[] {
  const forged = pod.spec.run.flatMap((run) => (run.kind === 'udp-client' && run.from ? [run.from] : []))
  return [
    'link set lo up',
    'link set eth0 addrgenmode none',
    'link set eth0 up',
    `address add ${pod.ip4}/32 dev eth0`,
    `address add ${pod.ip6}/128 dev eth0 nodad`,
    `address add ${pod.linkLocal}/64 dev eth0 nodad`,
    ...[...pod.serviceIps, ...new Set(forged)].map((ip) => `address add ${host(ip)} dev lo${nodad(ip)}`),
    `route add ${POD_GATEWAY4} dev eth0 scope link`,
    `route add default via ${POD_GATEWAY4} dev eth0 src ${pod.ip4}`,
    `route add ::/0 via ${POD_GATEWAY6} dev eth0 src ${pod.ip6}`,
  ]
}

/** Commands inside the node's namespace for one pod. */
export function podNodeCommands(pod: PodPlan): string[] {
  const { device, node } = pod
  return [
    `link set ${device} addrgenmode none`,
    `link set ${device} up`,
    `address add ${POD_GATEWAY4}/32 dev ${device} scope link`,
    `address add ${POD_GATEWAY6}/64 dev ${device} nodad`,
    `route add ${pod.ip4}/32 dev ${device} scope link src ${node.ip4}`,
    `route add ${pod.ip6}/128 dev ${device} src ${node.ip6}`,
    ...pod.serviceIps.map((ip) => `route add ${ip}/32 dev ${device} scope link src ${node.ip4}`),
  ]
}

/** Commands inside a node's namespace for its uplink. */
export function nodeCommands(node: NodePlan): string[] {
  return [
    'link set lo up',
    'link set eth0 addrgenmode none',
    'link set eth0 up',
    `address add ${node.ip4}/32 dev eth0`,
    `address add ${node.ip6}/128 dev eth0 nodad`,
    `address add fe80::1${node.index.toString(16).padStart(2, '0')}/64 dev eth0 nodad`,
    `route add ${WORLD_GATEWAY4} dev eth0 scope link`,
    `route add default via ${WORLD_GATEWAY4} dev eth0 src ${node.ip4}`,
    `route add ::/0 via ${WORLD_GATEWAY6} dev eth0 src ${node.ip6}`,
    // What is in the node's range and has no pod ends here instead of going round through the world.
    `route add blackhole ${node.podCidr4}`,
    `route add blackhole ${node.podCidr6}`,
  ]
}

/** Commands inside the world's namespace. */
export function worldCommands(layout: LabLayout): string[] {
  const commands = ['link set lo up']
  for (const host of layout.spec.world) {
    for (const ip of host.ips) commands.push(`address add ${ip}/${isIP(ip) === 4 ? 32 : 128} dev lo${nodad(ip)}`)
  }
  for (const node of layout.nodes) {
    const device = worldDevice(node)
    commands.push(
      `link set ${device} addrgenmode none`,
      `link set ${device} up`,
      `address add ${WORLD_GATEWAY4}/32 dev ${device} scope link`,
      `address add ${WORLD_GATEWAY6}/64 dev ${device} nodad`,
      `route add ${node.ip4}/32 dev ${device} scope link`,
      `route add ${node.podCidr4} via ${node.ip4} dev ${device} onlink`,
      `route add ${node.ip6}/128 dev ${device}`,
      `route add ${node.podCidr6} via ${node.ip6} dev ${device} onlink`,
    )
  }
  for (const service of layout.spec.services) {
    const node = service.ip && layout.spec.pods.find((pod) => `${pod.namespace}/${pod.name}` === service.pods[0])?.node
    if (!service.ip || layout.nodes.length === 1) continue
    const plan = layout.nodes.find((each) => each.name === node) ?? layout.nodes[0]!
    commands.push(`route add ${service.ip}/32 via ${plan.ip4} dev ${worldDevice(plan)} onlink`)
  }
  return commands
}

/** The world's end of a node's uplink. */
export function worldDevice(node: NodePlan): string {
  return `n${node.index}`
}

function host(ip: string): string {
  return isIP(ip) === 4 ? `${ip}/32` : `${ip}/128`
}

function nodad(ip: string): string {
  return isIP(ip) === 4 ? '' : ' nodad'
}
