import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ipText } from '../../model/flow-view.ts'
import { type AddressInfo, currentNetnsCookie, listAddresses, listLinks, Netns } from '../../native/index.ts'
import type { NodeNamespace } from './node-namespace.ts'

/** Where container runtimes and iproute2 keep namespaces by name; /var/run is /run on most systems. */
export const NETNS_DIRECTORIES: readonly string[] = ['/run/netns', '/var/run/netns', '/run/docker/netns']

const SCOPE_GLOBAL = 0

/** What a pod's own side of its veth tells. */
export interface PodFacts {
  /** Kernel's number of the namespace, never used twice. */
  readonly netnsCookie: bigint
  /** Name of the pod's device, `eth0`. */
  readonly name: string
  /** `aa:bb:cc:00:11:22` */
  readonly mac: string
  /** Text form; link-local ones are left out. */
  readonly ips: readonly string[]
}

/**
 * Finds namespaces by the node's numbers for them (LinkInfo.linkNetnsId): those with a name first, then those of
 * processes. Ones that can't be opened are passed over.
 *
 * @returns an open namespace per number that was found; the caller disposes them
 */
export function findNetns(
  wanted: ReadonlySet<number>,
  node: NodeNamespace,
  directories: readonly string[] = NETNS_DIRECTORIES,
): Map<number, Netns> {
  const found = new Map<number, Netns>()
  const seen = new Set<number>()
  node.run(() => {
    for (const path of candidates(directories)) {
      if (found.size === wanted.size) return
      const netns = openUnseen(path, seen)
      if (!netns) continue
      const id = idOf(netns)
      if (wanted.has(id) && !found.has(id)) found.set(id, netns)
      else netns[Symbol.dispose]()
    }
  })
  return found
}

/**
 * Reads a pod's side. Needs CAP_SYS_ADMIN.
 *
 * @param ifindex of the pod's device in its namespace (LinkInfo.iflink); undefined when it is not there
 */
export function inspectPod(netns: Netns, ifindex: number): PodFacts | undefined {
  return netns.run(() => {
    const link = listLinks().find((candidate) => candidate.ifindex === ifindex)
    if (!link) return undefined
    return { netnsCookie: currentNetnsCookie(), name: link.name, mac: macText(link.mac), ips: addressesOf(ifindex) }
  })
}

/** Addresses of a device of the calling thread's namespace, in text form; link-local ones are left out. */
export function addressesOf(ifindex: number): string[] {
  return listAddresses()
    .filter((address) => address.ifindex === ifindex && address.scope === SCOPE_GLOBAL)
    .map(addressText)
}

/** `aa:bb:cc:00:11:22`, empty for a device without one. */
export function macText(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}

function* candidates(directories: readonly string[]): Generator<string> {
  for (const directory of directories) for (const name of entries(directory)) yield join(directory, name)
  for (const name of entries('/proc')) if (/^\d+$/.test(name)) yield `/proc/${name}/ns/net`
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

function openUnseen(path: string, seen: Set<number>): Netns | undefined {
  try {
    const { ino } = statSync(path)
    if (seen.has(ino)) return undefined
    seen.add(ino)
    return Netns.open(path)
  } catch {
    return undefined
  }
}

/** -1 when it has no number here, or is no network namespace. */
function idOf(netns: Netns): number {
  try {
    return netns.idHere()
  } catch {
    return -1
  }
}

function addressText({ family, address }: AddressInfo): string {
  const bytes = new Uint8Array(16)
  if (family === 4) {
    bytes.fill(0xff, 10, 12)
    bytes.set(address, 12)
  } else {
    bytes.set(address)
  }
  return ipText(bytes, 0)
}
