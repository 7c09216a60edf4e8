import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ipText } from '../../model/flow-view.ts'

/** linux/route.h, linux/ipv6_route.h */
const RTF_UP = 0x0001
const RTF_ANYCAST = 0x0010_0000
const RTF_LOCAL = 0x8000_0000
const HOST_MASK = 'FFFFFFFF'
/** 128, as /proc writes prefix lengths. */
const HOST_PREFIX = '80'
/** fe80::/10 and ff00::/8: of every device, so nobody's own. */
const EVERYWHERE = /^(fe[89ab]|ff)/

/**
 * Addresses that the node routes to a device and to nothing beside it: those of the pod behind it, where the network
 * plugin makes a route for each pod. For agents that may not look into the pod's namespace. Tells nothing for pods
 * behind a bridge.
 *
 * @param procNet routes of the namespace whose device it is; the agent's own unless given
 * @returns text forms, IPv4 first; empty where there are none or /proc does not tell
 */
export function routedAddresses(device: string, procNet = '/proc/self/net'): string[] {
  return [...routed4(fields(procNet, 'route'), device), ...routed6(fields(procNet, 'ipv6_route'), device)]
}

/** `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`; addresses are words of this machine's byte order. */
function* routed4(lines: Iterable<string[]>, device: string): Generator<string> {
  const bytes = new Uint8Array(16).fill(0xff, 10, 12)
  for (const [name, destination = '', , flags = '', , , , mask] of lines) {
    if (name !== device || mask !== HOST_MASK || (Number.parseInt(flags, 16) & RTF_UP) === 0) continue
    new DataView(bytes.buffer).setUint32(12, Number.parseInt(destination, 16), true)
    yield ipText(bytes, 0)
  }
}

/** `destination prefix source prefix gateway metric refs use flags device`; addresses in network order. */
function* routed6(lines: Iterable<string[]>, device: string): Generator<string> {
  for (const [destination = '', prefix, , , , , , , flags = '', name] of lines) {
    const bits = Number.parseInt(flags, 16)
    if (name !== device || prefix !== HOST_PREFIX || EVERYWHERE.test(destination)) continue
    if ((bits & RTF_UP) === 0 || (bits & RTF_ANYCAST) !== 0 || bits >= RTF_LOCAL) continue
    yield ipText(Uint8Array.from(Buffer.from(destination, 'hex')), 0)
  }
}

function* fields(directory: string, file: string): Generator<string[]> {
  let text: string
  try {
    text = readFileSync(join(directory, file), 'latin1')
  } catch {
    return // without IPv6 there is no such file
  }
  for (const line of text.split('\n')) yield line.trim().split(/\s+/)
}
