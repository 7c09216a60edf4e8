import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import { type FieldMask, HUBBLE_CLI_MASK, parseFieldMask } from '../model/field-mask.ts'
import { messageSchema, type SchemaField } from './flow-schema.ts'
import type { WireWriter } from './wire.ts'

/** Which fields of a message are wanted, by field number. */
export type MaskTree = ReadonlyMap<number, MaskNode>

export interface MaskNode {
  readonly field: SchemaField
  /** Wanted parts of the field's message; undefined: all of it. */
  readonly parts: MaskTree | undefined
}

/** What later versions add to it. */
const CLI_LATER = [
  'traffic_direction',
  'policy_match_type',
  'ingress_allowed_by',
  'egress_allowed_by',
  'ingress_denied_by',
  'egress_denied_by',
]
/** What the command line prints when it is there, and forgets to ask for. */
const CLI_WIDENED = [
  ...CLI_LATER,
  'source_names',
  'destination_names',
  'sock_xlate_point',
  'debug_capture_point',
  'auth_type',
]

/**
 * Reads a client's field mask. The masks that the hubble command line sends by itself get the fields added that it
 * prints and does not ask for (DNS names, traffic direction).
 *
 * @returns undefined when everything is wanted
 * @throws SluiceError SLUICE_FIELD_MASK_INVALID as parseFieldMask()
 */
export function parseMaskTree(paths: readonly string[]): MaskTree | undefined {
  const mask = parseFieldMask(isCliDefault(paths) ? [...paths, ...CLI_WIDENED] : paths)
  return mask && treeOf(mask, 'flow.Flow')
}

/** Names as field numbers. The schema of model/ has what flow.proto has: a test compares them. */
function treeOf(mask: FieldMask, message: string): MaskTree {
  const schema = messageSchema(message)
  const tree = new Map<number, MaskNode>()
  for (const [name, parts] of Object.entries(mask)) {
    const field = schema.get(name)!
    tree.set(field.number, { field, parts: parts === true ? undefined : treeOf(parts, field.message) })
  }
  return tree
}

function isCliDefault(paths: readonly string[]): boolean {
  if (paths.length > HUBBLE_CLI_MASK.length + CLI_LATER.length) return false
  const set = new Set(paths)
  if (!HUBBLE_CLI_MASK.every((path) => set.has(path))) return false
  if (set.size === HUBBLE_CLI_MASK.length) return true
  return set.size === HUBBLE_CLI_MASK.length + CLI_LATER.length && CLI_LATER.every((path) => set.has(path))
}

/** The same mask in a form that two equal masks share: the key of caches. */
export function maskKey(tree: MaskTree): string {
  return [...tree.entries()]
    .sort(([a], [b]) => a - b)
    .map(([number, node]) => (node.parts === undefined ? `${number}` : `${number}(${maskKey(node.parts)})`))
    .join(',')
}

/**
 * Keeps the wanted fields of an encoded message. As Hubble does it, a message that is absent but has wanted parts is
 * there and empty afterwards, unless it is a member of a oneof.
 */
export function projectMessage(message: Uint8Array, parts: MaskTree, out: WireWriter): void {
  const reader = new BinaryReader(message)
  let seen: Set<number> | undefined
  while (reader.pos < reader.len) {
    const start = reader.pos
    const tag = reader.uint32()
    const number = tag >>> 3
    const node = parts.get(number)
    if (node?.parts !== undefined && (tag & 7) === WireType.LengthDelimited) {
      seen ??= new Set()
      seen.add(number)
      writePart(reader.bytes(), node.parts, number, out)
      continue
    }
    reader.skip(tag & 7)
    if (node !== undefined) out.raw(message.subarray(start, reader.pos))
  }
  for (const [number, node] of parts) {
    if (node.parts !== undefined && !node.field.isOneof && !seen?.has(number)) {
      writePart(new Uint8Array(), node.parts, number, out)
    }
  }
}

function writePart(inner: Uint8Array, parts: MaskTree, number: number, out: WireWriter): void {
  out.ensure(16)
  out.tag(number, 2)
  const mark = out.begin()
  projectMessage(inner, parts, out)
  out.end(mark)
}
