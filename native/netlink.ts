import { disposable } from '../base/lifetime.ts'
import { type AddressInfo, addon, type LinkInfo } from './addon.ts'

/** IFF_UP, IFF_LOOPBACK */
export const LinkFlag = { UP: 1, LOOPBACK: 8 } as const

/** The devices of the calling thread's network namespace. */
export function listLinks(): LinkInfo[] {
  return addon().netlinkLinks()
}

/** The addresses of the calling thread's network namespace. */
export function listAddresses(): AddressInfo[] {
  return addon().netlinkAddresses()
}

/** Ifindexes of the devices that default routes of the main table, IPv4 or IPv6, lead to. */
export function defaultRouteDevices(): number[] {
  return [...new Set(addon().netlinkDefaultDevices())]
}

/**
 * Follows the devices of the network namespace that the calling thread is in now.
 *
 * @param listener takes what changed, in order; `overrun` = some was lost, list all again
 */
export function watchLinks(listener: (change: readonly LinkInfo[] | 'overrun') => void): Disposable {
  const watch = addon().netlinkWatch((links) => listener(links ?? 'overrun'))
  return disposable(() => addon().netlinkUnwatch(watch))
}
