/** Packets and bytes (link-layer length) by the endpoint's own view: ingress = towards it. Only ever grow. */
export interface TrafficTotals {
  readonly ingressPackets: number
  readonly ingressBytes: number
  readonly egressPackets: number
  readonly egressBytes: number
}

/** A pod, as far as it is known: empty text where it is not. */
export interface PodOfCounter {
  readonly namespace: string
  readonly podName: string
  readonly ip: string
  readonly workloadKind: string
  readonly workloadName: string
}

/** Packets that the kernel dropped, for one reason and direction. */
export interface DropCount {
  /** The kernel's own name of the reason, `NO_SOCKET`. */
  readonly kernelReason: string
  /** flow.proto DropReason. */
  readonly reason: number
  /** 0 unknown, 1 towards the endpoint, 2 from it. */
  readonly direction: number
  readonly packets: number
  readonly bytes: number
  /** Whose packets; undefined for an uplink, and for a pod that has gone. */
  readonly pod: PodOfCounter | undefined
}

/**
 * The kernel's counters as the node-level families need them. They are exact: independent of the flow table, of
 * aggregation and of filters. Every call reads; a call that fails throws, and its families are missing from that
 * scrape.
 */
export interface NodeCounters {
  /** Sum over all pods that are and have been: must never go back. Uplinks are left out, as they see packets again. */
  podTotals(): TrafficTotals
  /** Pods that are watched now. */
  forEachPod(visit: (pod: PodOfCounter, totals: TrafficTotals) => void): void
  /** Drops of all endpoints that are and have been; several rows may agree in all but their pod. */
  forEachDrop(visit: (drop: DropCount) => void): void
}
