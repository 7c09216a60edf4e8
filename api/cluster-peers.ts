import { disposable } from '../base/lifetime.ts'
import { hostPortText } from '../base/listen-address.ts'
import { type PeerNode, type PeerSource, peerServerName } from './peer.ts'

/** How often the list is looked at while a relay follows it; relays themselves try again within a minute. */
const POLL_MS = 5000

/** A node of the cluster, as metadata tells it. */
export interface ClusterNode {
  readonly name: string
  /** Its own address first. */
  readonly ips: readonly string[]
  readonly labels: Readonly<Record<string, string>>
}

export interface ClusterPeersOptions {
  /** All nodes that are known at present. */
  readonly nodes: () => Iterable<ClusterNode>
  /** This node as flows name it: `node`, or `cluster/node` outside of the default cluster. */
  readonly ownName: string
  /** Where a relay reaches this node, whatever its addresses are; undefined: as it reaches the others. */
  readonly advertise?: string | undefined
  /** Port of the API: the same on every node, as a DaemonSet's configuration is. */
  readonly port: number
  readonly isTls: boolean
  readonly pollMs?: number
}

/**
 * The agents of a cluster, one a node, for a relay that asks any one of them. In a pod names of nodes mostly lead nowhere,
 * so a relay is told addresses. Nodes without an address and nodes of another system have no agent. This node is always
 * among them: by its name, as long as metadata has no address of it.
 */
export class ClusterPeers implements PeerSource {
  readonly #options: ClusterPeersOptions
  /** `cluster/`, or empty. */
  readonly #prefix: string

  constructor(options: ClusterPeersOptions) {
    this.#options = options
    this.#prefix = options.ownName.slice(0, options.ownName.indexOf('/') + 1)
  }

  list(): readonly PeerNode[] {
    const { nodes, ownName, advertise } = this.#options
    const peers = new Map<string, PeerNode>()
    for (const { name, ips, labels } of nodes()) {
      const [ip] = ips
      if (ip === undefined || (labels['kubernetes.io/os'] ?? 'linux') !== 'linux') continue
      const known = this.#prefix + name
      peers.set(known, this.#peer(known, known === ownName ? advertise : undefined, ip))
    }
    if (!peers.has(ownName)) peers.set(ownName, this.#peer(ownName, advertise, ownName.slice(this.#prefix.length)))
    return [...peers.values()]
  }

  onChange(listener: () => void): Disposable {
    const timer = setInterval(listener, this.#options.pollMs ?? POLL_MS)
    timer.unref()
    return disposable(() => clearInterval(timer))
  }

  #peer(name: string, address: string | undefined, host: string): PeerNode {
    const { port, isTls } = this.#options
    return {
      name,
      address: address ?? hostPortText({ host, port }),
      tlsServerName: isTls ? peerServerName(name) : undefined,
    }
  }
}
