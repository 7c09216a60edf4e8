import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import { messageSchema, type SchemaField } from './flow-schema.ts'
import type { WireWriter } from './wire.ts'

/** Which fields of a message are wanted, by field number. */
export type MaskTree = ReadonlyMap<number, MaskNode>

export interface MaskNode {
  readonly field: SchemaField
  /** Wanted parts of the field's message; undefined: all of it. */
  readonly parts: MaskTree | undefined
}

/** A client may send this many paths, of this many characters together. */
export const MAX_MASK_PATHS = 1000
export const MAX_MASK_CHARS = 20_000

/** What `hubble observe` 1.19 asks for when it prints text. */
const CLI_DEFAULT = [
  'time',
  'source.identity',
  'source.namespace',
  'source.pod_name',
  'destination.identity',
  'destination.namespace',
  'destination.pod_name',
  'source_service',
  'destination_service',
  'l4',
  'IP',
  'ethernet',
  'l7',
  'Type',
  'node_name',
  'is_reply',
  'event_type',
  'verdict',
  'Summary',
  'ip_trace_id',
]
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
 * Reads a field mask over flow.Flow. Paths below others are swallowed. The masks that the hubble command line sends by
 * itself get the fields added that it prints and does not ask for (DNS names, traffic direction).
 *
 * @returns undefined when everything is wanted
 * @throws Error naming the path that flow.Flow does not have
 */
export function parseFieldMask(paths: readonly string[]): MaskTree | undefined {
  if (paths.length === 0) return undefined
  if (paths.length > MAX_MASK_PATHS) {
    throw new Error(`invalid fieldmask: ${paths.length} paths, at most ${MAX_MASK_PATHS} are accepted`)
  }
  if (paths.reduce((sum, path) => sum + path.length, 0) > MAX_MASK_CHARS) {
    throw new Error(`invalid fieldmask: at most ${MAX_MASK_CHARS} characters are accepted`)
  }
  const root = new Map<number, MaskNode>()
  for (const path of isCliDefault(paths) ? [...paths, ...CLI_WIDENED] : paths) addPath(root, path)
  return root
}

function isCliDefault(paths: readonly string[]): boolean {
  const set = new Set(paths)
  if (!CLI_DEFAULT.every((path) => set.has(path))) return false
  if (set.size === CLI_DEFAULT.length) return true
  return set.size === CLI_DEFAULT.length + CLI_LATER.length && CLI_LATER.every((path) => set.has(path))
}

function addPath(root: Map<number, MaskNode>, path: string): void {
  let tree = root
  let message = 'flow.Flow'
  const names = path.split('.')
  for (const [i, name] of names.entries()) {
    const field = message === '' ? undefined : messageSchema(message).get(name)
    if (field === undefined) throw new Error(`invalid fieldmask: "${shorten(path)}" is not a field of flow.Flow`)
    const isLast = i === names.length - 1
    if (!isLast && field.isRepeated) {
      throw new Error(`invalid fieldmask: "${shorten(path)}" leads through the repeated field "${name}"`)
    }
    const known = tree.get(field.number)
    if (isLast) {
      tree.set(field.number, { field, parts: undefined })
      return
    }
    message = field.message
    // A parent that is wanted as a whole swallows the path, but the rest of the path must still exist.
    if (known !== undefined && known.parts === undefined) {
      tree = new Map()
      continue
    }
    const parts = (known?.parts as Map<number, MaskNode> | undefined) ?? new Map<number, MaskNode>()
    tree.set(field.number, { field, parts })
    tree = parts
  }
}

function shorten(path: string): string {
  return path.length > 100 ? `${path.slice(0, 100)}...` : path
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
