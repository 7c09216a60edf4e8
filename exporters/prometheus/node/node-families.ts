import { arch } from 'node:os'
import { errorText } from '../../../base/errors.ts'
import { type Logger, LogLimiter } from '../../../base/logger.ts'
import type { TelemetrySink } from '../../../model/contracts.ts'
import { DROP_REASONS } from '../../../model/drop-reasons.ts'
import type { RefreshingSource } from '../scrape.ts'
import type { NodeCounters, PodOfCounter, TrafficTotals } from './counters.ts'
import { SocketFamilies } from './socket-families.ts'

export interface NodeFamiliesOptions {
  readonly counters: NodeCounters
  readonly logger: Logger
  /** Version for cilium_version, which dashboards list clusters by. */
  readonly version: string
  readonly revision?: string
  /** Whether each pod gets adv_* series of its own: 4 and one per drop reason. Default true. */
  readonly perPod?: boolean
  /** `/proc/<pid>/net` of a process in the node's network namespace. Default `/proc/self/net`. */
  readonly procNet?: string
}

const RETINA = 'networkobservability_'
const RETINA_DIRECTIONS = ['unknown', 'ingress', 'egress'] as const
const CILIUM_DIRECTIONS = ['UNKNOWN', 'INGRESS', 'EGRESS'] as const

/** Retina has few names of its own; where the kernel's reason means one of them it is used, else the kernel's name. */
const RETINA_REASONS: Readonly<Record<string, string>> = { NETFILTER_DROP: 'IPTABLE_RULE_DROP' }

/** Pods that get series of their own at one scrape; a node runs 250 at most by default. */
const PODS_MAX = 2000
/** Distinct pairs of reason and direction, and pods' triples, at one scrape. */
const DROPS_MAX = 5000

/**
 * Retina's and Cilium's node-level families from the kernel's own counters, and the node's socket statistics. All of
 * the pods' view: ingress = to pods, egress = from pods.
 */
export class NodeFamilies implements RefreshingSource {
  readonly #options: NodeFamiliesOptions
  readonly #sockets: SocketFamilies
  readonly #limiter = new LogLimiter()

  constructor(options: NodeFamiliesOptions) {
    this.#options = options
    this.#sockets = new SocketFamilies(options.procNet ?? '/proc/self/net')
  }

  async refresh(): Promise<void> {
    await this.#sockets.refresh()
  }

  collect(sink: TelemetrySink): void {
    const { version, revision = '', counters } = this.#options
    sink.gauge('cilium_version', 'Version of the agent', 1, { version, revision, arch: arch() })
    this.#sockets.collect(sink)
    this.#guarded('forward', () => collectForward(sink, counters.podTotals()))
    this.#guarded('drop', () => this.#collectDrops(sink))
    if (this.#options.perPod !== false) this.#guarded('pods', () => this.#collectPods(sink))
  }

  /** One source that cannot be read must not take the others with it. */
  #guarded(what: string, collect: () => void): void {
    try {
      collect()
    } catch (error) {
      this.#limiter.run(what, (held) => {
        this.#options.logger.warn({ what, error: errorText(error), held }, 'Cannot read the kernel’s counters')
      })
    }
  }

  #collectDrops(sink: TelemetrySink): void {
    const byName = new DropSums()
    const byText = new DropSums()
    const byPod = new DropSums()
    this.#options.counters.forEachDrop((drop) => {
      const name = RETINA_REASONS[drop.kernelReason] ?? drop.kernelReason
      const direction = RETINA_DIRECTIONS[drop.direction] ?? 'unknown'
      byName.add({ reason: name, direction }, drop.packets, drop.bytes)
      byText.add(
        { reason: reasonText(drop.reason), direction: CILIUM_DIRECTIONS[drop.direction] ?? 'UNKNOWN' },
        drop.packets,
        drop.bytes,
      )
      if (drop.pod !== undefined && drop.pod.podName !== '' && this.#options.perPod !== false) {
        byPod.add({ reason: name, direction, ...podLabels(drop.pod) }, drop.packets, drop.bytes)
      }
    })
    for (const { labels, packets, bytes } of byName) {
      sink.gauge(`${RETINA}drop_count`, 'Total dropped packets', packets, labels)
      sink.gauge(`${RETINA}drop_bytes`, 'Total dropped bytes', bytes, labels)
    }
    for (const { labels, packets, bytes } of byText) {
      sink.counter('cilium_drop_count_total', 'Total dropped packets', packets, labels)
      sink.counter('cilium_drop_bytes_total', 'Total dropped bytes', bytes, labels)
    }
    for (const { labels, packets, bytes } of byPod) {
      sink.gauge(`${RETINA}adv_drop_count`, 'Total dropped packets of a pod', packets, labels)
      sink.gauge(`${RETINA}adv_drop_bytes`, 'Total dropped bytes of a pod', bytes, labels)
    }
  }

  #collectPods(sink: TelemetrySink): void {
    let pods = 0
    this.#options.counters.forEachPod((pod, totals) => {
      if (pod.podName === '' || ++pods > PODS_MAX) return
      const labels = podLabels(pod)
      const count = (direction: string, packets: number, bytes: number) => {
        const all = { direction, ...labels }
        sink.gauge(`${RETINA}adv_forward_count`, 'Total packets of a pod', packets, all)
        sink.gauge(`${RETINA}adv_forward_bytes`, 'Total bytes of a pod', bytes, all)
      }
      count('ingress', totals.ingressPackets, totals.ingressBytes)
      count('egress', totals.egressPackets, totals.egressBytes)
    })
  }
}

function collectForward(sink: TelemetrySink, totals: TrafficTotals): void {
  const { ingressPackets, ingressBytes, egressPackets, egressBytes } = totals
  for (const [direction, packets, bytes] of [
    ['ingress', ingressPackets, ingressBytes],
    ['egress', egressPackets, egressBytes],
  ] as const) {
    sink.gauge(`${RETINA}forward_count`, 'Total forwarded packets', packets, { direction })
    sink.gauge(`${RETINA}forward_bytes`, 'Total forwarded bytes', bytes, { direction })
    const upper = { direction: direction.toUpperCase() }
    sink.counter('cilium_forward_count_total', 'Total forwarded packets', packets, upper)
    sink.counter('cilium_forward_bytes_total', 'Total forwarded bytes', bytes, upper)
  }
}

/** Cilium's text of a reason; 0 is its success, which no drop is. */
function reasonText(reason: number): string {
  return reason === 0 ? 'Unknown' : (DROP_REASONS[reason]?.text ?? String(reason))
}

/** Retina's local context: what is not known reads `unknown`. */
function podLabels(pod: PodOfCounter): Record<string, string> {
  return {
    ip: pod.ip || 'unknown',
    namespace: pod.namespace || 'unknown',
    podname: pod.podName || 'unknown',
    workload_kind: pod.workloadKind || 'unknown',
    workload_name: pod.workloadName || 'unknown',
  }
}

interface DropSum {
  readonly labels: Readonly<Record<string, string>>
  packets: number
  bytes: number
}

/** Adds up rows that agree in their labels. */
class DropSums implements Iterable<DropSum> {
  readonly #sums = new Map<string, DropSum>()

  add(labels: Readonly<Record<string, string>>, packets: number, bytes: number): void {
    const key = Object.values(labels).join('\0')
    const sum = this.#sums.get(key)
    if (sum !== undefined) {
      sum.packets += packets
      sum.bytes += bytes
    } else if (this.#sums.size < DROPS_MAX) {
      this.#sums.set(key, { labels, packets, bytes })
    }
  }

  [Symbol.iterator](): Iterator<DropSum> {
    return this.#sums.values()
  }
}
