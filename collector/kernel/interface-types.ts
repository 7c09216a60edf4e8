import type { EndpointTotals } from './counters.ts'

/** A device that is watched. */
export interface WatchedInterface {
  readonly ifindex: number
  readonly name: string
  readonly kind: 'pod' | 'uplink'
  /** Index of its counters; 0 = it shares them with others that found no slot. */
  readonly slot: number
  /** Of the pod; of the device itself for an uplink. Empty while not known. */
  readonly ips: readonly string[]
  readonly mac: string
  /** Of the pod's namespace; 0 while not known, and for an uplink. */
  readonly netnsCookie: bigint
  /** Name of the pod's own side, `eth0`; empty while not known. */
  readonly podInterface: string
}

export type InterfaceEvent =
  | { readonly kind: 'added' | 'changed'; readonly interface: WatchedInterface }
  /** With the last state of its counters. */
  | { readonly kind: 'removed'; readonly interface: WatchedInterface; readonly totals: EndpointTotals }

export interface InterfacesOptions {
  /** Names of the devices towards other nodes; `auto` = those with a default route. */
  readonly uplinks: 'auto' | readonly string[]
  readonly netnsDirectories?: readonly string[]
}

/** Since start. */
export interface InterfaceCounts {
  added: number
  removed: number
  /** Could not be attached; tried again every 10 s. */
  attachFailures: number
  /** More devices than the map `endpoints` holds: not watched. */
  unwatched: number
  /** Times that link events were lost and all devices were listed again. */
  overruns: number
  /** Pods whose namespace could not be found or entered. */
  uninspected: number
}
