import { status, type UntypedServiceImplementation } from '@grpc/grpc-js'
import type { Calls, StreamCall } from './calls.ts'
import { ChangeNotification, ChangeNotificationType, type NotifyRequest } from './gen/peer/peer.ts'
import { rpcError } from './rpc-error.ts'

/** A node of the cluster, as a relay wants to know it. */
export interface PeerNode {
  /** `node`, or `cluster/node` outside of the default cluster. */
  readonly name: string
  /** `ip:port` of its Observer service. */
  readonly address: string
  /** Name in its certificate; undefined: it speaks plain text. */
  readonly tlsServerName: string | undefined
}

/** The nodes that a relay should know of. */
export interface PeerSource {
  list(): readonly PeerNode[]
  /** Called when the list may have changed. */
  onChange(listener: () => void): Disposable
}

/** Notifications that wait for one client; a relay that is so far behind is cut off and starts again. */
const MAX_WAITING = 65_536

/** peer.Peer/Notify: every node, then every change, until the client leaves. */
export function peerService(calls: Calls, peers: PeerSource): UntypedServiceImplementation {
  return {
    notify: calls.stream<NotifyRequest, ChangeNotification>(
      'peer.Peer',
      'Notify',
      (call) => new PeerStream(call, peers),
    ),
  }
}

class PeerStream implements Disposable {
  readonly #call: StreamCall<NotifyRequest, ChangeNotification>
  readonly #peers: PeerSource
  readonly #known = new Map<string, PeerNode>()
  readonly #subscription: Disposable
  #waiting = 0

  constructor(call: StreamCall<NotifyRequest, ChangeNotification>, peers: PeerSource) {
    this.#call = call
    this.#peers = peers
    this.#subscription = peers.onChange(() => this.#update())
    this.#update()
  }

  /** Tells what has changed since the last look. */
  #update(): void {
    const current = new Map(this.#peers.list().map((peer) => [peer.name, peer]))
    for (const [name, peer] of this.#known) {
      if (current.has(name)) continue
      this.#known.delete(name)
      this.#send(peer, ChangeNotificationType.PEER_DELETED)
    }
    for (const [name, peer] of current) {
      const known = this.#known.get(name)
      if (known?.address === peer.address && known.tlsServerName === peer.tlsServerName) continue
      this.#known.set(name, peer)
      this.#send(peer, known === undefined ? ChangeNotificationType.PEER_ADDED : ChangeNotificationType.PEER_UPDATED)
    }
  }

  #send(peer: PeerNode, type: ChangeNotificationType): void {
    if (this.#waiting >= MAX_WAITING) {
      this.#call.fail(rpcError(status.RESOURCE_EXHAUSTED, `${MAX_WAITING} changes were not taken: start again`))
      return
    }
    this.#waiting++
    this.#call.sent(1)
    const notification = ChangeNotification.fromPartial({
      name: peer.name,
      address: peer.address,
      type,
      ...(peer.tlsServerName === undefined ? {} : { tls: { server_name: peer.tlsServerName } }),
    })
    this.#call.write(notification, () => {
      this.#waiting--
    })
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]()
  }
}

/** Name in the certificate of a node, as Hubble's relay expects it: dots would be read as levels of the domain. */
export function peerServerName(nodeName: string): string {
  const slash = nodeName.indexOf('/')
  const cluster = slash < 0 ? 'default' : nodeName.slice(0, slash)
  const node = nodeName.slice(slash + 1)
  return `${node.replaceAll('.', '-')}.${cluster.replaceAll('.', '-')}.hubble-grpc.cilium.io`
}
