import { readdirSync, statSync } from 'node:fs'
import type { EndpointTotals, InterfaceEvent } from '../collector/kernel/index.ts'
import type { CollectorState } from '../collector/state.ts'
import type { DropCount, NodeCounters, PodOfCounter, TrafficTotals } from '../exporters/prometheus/index.ts'
import type { KernelPart } from './kernel-part.ts'

const NAMES = ['ingressPackets', 'ingressBytes', 'egressPackets', 'egressBytes'] as const

/** The kernel's counters, with pods' names from the collector: what the node-level metric families ask for. */
export class KernelNodeCounters implements NodeCounters {
  readonly #kernel: KernelPart
  readonly #state: CollectorState
  /** Of uplinks that have gone: what they counted stays in the kernel's sum, and is no pod's. */
  readonly #goneUplinks: Record<(typeof NAMES)[number], number> = {
    ingressPackets: 0,
    ingressBytes: 0,
    egressPackets: 0,
    egressBytes: 0,
  }

  constructor(kernel: KernelPart, state: CollectorState) {
    this.#kernel = kernel
    this.#state = state
    kernel.interfaces.onEvent((event) => this.#onEvent(event))
  }

  podTotals(): TrafficTotals {
    const { counters } = this.#kernel.datapath
    const sum = { ...counters.total() }
    subtract(sum, this.#goneUplinks)
    for (const { kind, slot } of this.#kernel.watched) if (kind === 'uplink') subtract(sum, counters.endpoint(slot))
    return sum
  }

  forEachPod(visit: (pod: PodOfCounter, totals: TrafficTotals) => void): void {
    const { counters } = this.#kernel.datapath
    for (const { kind, slot, ifindex, ips } of this.#kernel.watched) {
      if (kind === 'pod' && slot !== 0) visit(this.#pod(ifindex, ips), counters.endpoint(slot))
    }
  }

  forEachDrop(visit: (drop: DropCount) => void): void {
    const pods = new Map<number, PodOfCounter>()
    for (const { kind, slot, ifindex, ips } of this.#kernel.watched) {
      if (kind === 'pod' && slot !== 0) pods.set(slot, this.#pod(ifindex, ips))
    }
    this.#kernel.datapath.counters.forEachDrop(({ slot, reason, direction, packets, bytes }) => {
      const { name, hubble } = this.#kernel.reasons.reason(reason)
      visit({ kernelReason: name, reason: hubble, direction, packets, bytes, pod: pods.get(slot) })
    })
  }

  #pod(ifindex: number, ips: readonly string[]): PodOfCounter {
    const { endpoints } = this.#state
    const { namespace, podName, workloads } = endpoints.get(endpoints.byInterface(ifindex))
    const [workload] = workloads
    return {
      namespace,
      podName,
      ip: ips[0] ?? '',
      workloadKind: workload?.kind ?? '',
      workloadName: workload?.name ?? '',
    }
  }

  #onEvent(event: InterfaceEvent): void {
    if (event.kind !== 'removed' || event.interface.kind !== 'uplink' || event.interface.slot === 0) return
    for (const name of NAMES) this.#goneUplinks[name] += event.totals[name]
  }
}

function subtract(from: EndpointTotals, what: Readonly<EndpointTotals>): void {
  for (const name of NAMES) from[name] -= what[name]
}

/**
 * `/proc/<pid>/net` of some process in a network namespace, since that is the only way to its counters by path.
 *
 * @returns undefined when no process lives there
 */
export function procNetOf(netnsPath: string): string | undefined {
  const wanted = statSync(netnsPath).ino
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    try {
      if (statSync(`/proc/${pid}/ns/net`).ino === wanted) return `/proc/${pid}/net`
    } catch {
      // it ended meanwhile, or is not ours to look at
    }
  }
  return undefined
}
