import { parseCidr, parseIp } from '../../base/ip.ts'
import { encodeSubject, type FilterMaps, type FilterSet, type KernelPrefix } from '../../collector/kernel/index.ts'
import { ADDRESS_ENTRY, EventKind, FILTER_CLASS, FILTER_RULES, FilterUse, RULE_MASK } from '../../model/layouts.gen.ts'

/** A rule of a test; what is left out accepts everything. */
export interface TableRule {
  /** Bit of its consumer. */
  readonly consumer: number
  readonly exclude?: boolean
  /** EventKind */
  readonly kinds?: readonly number[]
  /** IPPROTO_* */
  readonly protocols?: readonly number[]
  /** flow.proto TrafficDirection */
  readonly directions?: readonly number[]
  readonly ipVersions?: readonly (4 | 6)[]
  /** 0 stands for protocols without ports, too. */
  readonly srcPorts?: readonly number[]
  readonly dstPorts?: readonly number[]
  readonly srcCidrs?: readonly string[]
  readonly dstCidrs?: readonly string[]
  /** Classes */
  readonly from?: readonly number[]
  readonly to?: readonly number[]
}

export interface TableSet {
  readonly rules: readonly TableRule[]
  /** Consumers in force: bit to kinds (bit per EventKind). Those of the rules, for all kinds, unless given. */
  readonly consumers?: ReadonlyMap<number, number>
  /** Classes 0 to classes - 1 are written; 8 unless given. */
  readonly classes?: number
}

const MASK = RULE_MASK.SIZE

/** Writes a set's tables the plain way: each mask by asking every rule. The set must not be in force. */
export async function writeTables(maps: FilterMaps, set: FilterSet, tables: TableSet): Promise<void> {
  await maps.clearTables(set)
  await maps.resetMatches(set)
  const { rules, classes = 8 } = tables
  const consumers = tables.consumers ?? new Map(rules.map(({ consumer }) => [consumer, 0xff]))
  maps.writeRules(set, encodeRules(rules, consumers))
  const pair = (accepts: (rule: TableRule, side: 'src' | 'dst') => boolean) => {
    const masks = new Uint8Array(FILTER_CLASS.SIZE)
    fill(masks, FILTER_CLASS.from, rules, (rule) => accepts(rule, 'src'))
    fill(masks, FILTER_CLASS.to, rules, (rule) => accepts(rule, 'dst'))
    return masks
  }
  const classMasks = Array.from({ length: classes }, (_, id) =>
    pair((rule, side) => (side === 'src' ? rule.from : rule.to)?.includes(id) ?? true),
  )
  maps.writeClasses(set, 0, Buffer.concat(classMasks))
  const ports = portsOf(rules)
  const portMasks = ports.map((port) =>
    pair((rule, side) => (side === 'src' ? rule.srcPorts : rule.dstPorts)?.includes(port) ?? true),
  )
  maps.writePorts(set, ports, Buffer.concat(portMasks))
  const prefixes = prefixesOf(rules)
  const prefixMasks = prefixes.map((prefix) =>
    pair((rule, side) => {
      const cidrs = side === 'src' ? rule.srcCidrs : rule.dstCidrs
      return cidrs?.some((cidr) => covers(kernelPrefix(cidr), prefix)) ?? true
    }),
  )
  maps.writePrefixes(set, prefixes, Buffer.concat(prefixMasks))
}

/** Bits of a mask that are rules. */
export function rulesIn(masks: Uint8Array, at: number): number[] {
  const rules: number[] = []
  for (let i = 0; i < 8 * MASK; i++) if (((masks[at + (i >> 3)]! >> (i & 7)) & 1) === 1) rules.push(i)
  return rules
}

/** struct address_entry of one address. @param classes one for both sets, or one for each */
export function subjectBytes(identity: number, classes: number | readonly [number, number], flags = 0): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_ENTRY.SIZE)
  encodeSubject(bytes, 0, { identity, classes: typeof classes === 'number' ? [classes, classes] : classes }, flags)
  return bytes
}

/** 16 bytes, IPv4 mapped. */
export function ipBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(16)
  if (parseIp(text, bytes) === 0) throw new Error(`"${text}" is no address`)
  return bytes
}

/** A range as the kernel's maps have it. @param cidr with host bits 0 */
export function kernelPrefix(cidr: string): KernelPrefix {
  const [address, length] = cidr.split('/') as [string, string]
  if (parseCidr(cidr) === undefined) throw new Error(`"${cidr}" is no range`)
  return { bytes: ipBytes(address), bits: Number(length) + (address.includes(':') ? 0 : 96) }
}

function encodeRules(rules: readonly TableRule[], consumers: ReadonlyMap<number, number>): Uint8Array {
  const bytes = new Uint8Array(FILTER_RULES.SIZE)
  const view = new DataView(bytes.buffer)
  const setBit = (at: number, bit: number) => view.setUint32(at, (view.getUint32(at, true) | (1 << bit)) >>> 0, true)
  for (const [bit, kinds] of consumers) {
    setBit(FILTER_RULES.consumers, bit)
    if (!rules.some((rule) => rule.consumer === bit && !rule.exclude)) setBit(FILTER_RULES.everything, bit)
    for (let kind = 0; kind < EventKind.EVENT_KINDS; kind++) {
      if ((kinds >> kind) & 1) setBit(FILTER_RULES.byKind + 4 * kind, bit)
    }
    fill(bytes, FILTER_RULES.include + bit * MASK, rules, (rule) => rule.consumer === bit && !rule.exclude)
    fill(bytes, FILTER_RULES.exclude + bit * MASK, rules, (rule) => rule.consumer === bit && rule.exclude === true)
  }
  const each = (at: number, count: number, accepts: (rule: TableRule, value: number) => boolean | undefined) => {
    for (let i = 0; i < count; i++) fill(bytes, at + i * MASK, rules, (rule) => accepts(rule, i) ?? true)
  }
  each(FILTER_RULES.kind, EventKind.EVENT_KINDS, ({ kinds }, kind) => kinds?.includes(kind))
  each(FILTER_RULES.protocol, 256, ({ protocols }, protocol) => protocols?.includes(protocol))
  each(FILTER_RULES.direction, 4, ({ directions }, direction) => directions?.includes(direction))
  each(FILTER_RULES.ipVersion, 2, ({ ipVersions }, i) => ipVersions?.includes(i === 0 ? 4 : 6))
  each(FILTER_RULES.otherPort, 2, ({ srcPorts, dstPorts }, side) => (side === 0 ? srcPorts : dstPorts) === undefined)
  each(FILTER_RULES.noPrefix, 2, ({ srcCidrs, dstCidrs }, side) => (side === 0 ? srcCidrs : dstCidrs) === undefined)
  const without = ({ srcPorts, dstPorts }: TableRule) =>
    [srcPorts, dstPorts].every((ports) => ports?.includes(0) ?? true)
  fill(bytes, FILTER_RULES.noPorts, rules, without)
  const uses =
    (portsOf(rules).length > 0 ? FilterUse.PORTS : 0) | (prefixesOf(rules).length > 0 ? FilterUse.PREFIXES : 0)
  view.setUint32(FILTER_RULES.uses, uses, true)
  return bytes
}

function fill(bytes: Uint8Array, at: number, rules: readonly TableRule[], accepts: (rule: TableRule) => boolean) {
  rules.forEach((rule, i) => {
    if (accepts(rule)) bytes[at + (i >> 3)]! |= 1 << (i & 7)
  })
}

function portsOf(rules: readonly TableRule[]): number[] {
  return [...new Set(rules.flatMap(({ srcPorts = [], dstPorts = [] }) => [...srcPorts, ...dstPorts]))]
}

function prefixesOf(rules: readonly TableRule[]): KernelPrefix[] {
  const cidrs = new Set(rules.flatMap(({ srcCidrs = [], dstCidrs = [] }) => [...srcCidrs, ...dstCidrs]))
  return [...cidrs].map(kernelPrefix)
}

function covers(wide: KernelPrefix, narrow: KernelPrefix): boolean {
  if (wide.bits > narrow.bits || wide.bits >= 96 !== narrow.bits >= 96) return false
  for (let bit = 0; bit < wide.bits; bit++) {
    if (((wide.bytes[bit >> 3]! ^ narrow.bytes[bit >> 3]!) >> (7 - (bit & 7))) & 1) return false
  }
  return true
}
